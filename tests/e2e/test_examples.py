"""The examples that people paste: a classroom, a CI step, a JupyterHub. Those of training, sharing and
checkpoints have tests of their own."""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest

from people import make_user, unmake_user
from support import BUILD, FULL, GIB, MIB, PYTHON, ROOT, built, poll
from support import box, fake_box  # noqa: F401

pytestmark = built
EXAMPLES = ROOT / "examples"
HUB = ROOT / "build" / "hub" / "venv" / "bin"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root makes partitions for others")


def variables(box, **more):
    return {**box.env, "PYTHONPATH": str(ROOT / "python"),
            "CHRONOS_LIBRARY": str(BUILD / "lib" / "libchronos.so"), **more}


def partitions(box):
    listed = subprocess.run([box.command, "list", "--json"], env=box.env, check=True, text=True,
                            capture_output=True).stdout
    return [entry for entry in json.loads(listed)["partitions"] if entry["state"] == "active"]


def ran(box, *command, **more):
    return subprocess.run([str(word) for word in command], env=variables(box, **more), text=True,
                          capture_output=True, check=False, timeout=120)


@needs_root
def test_classroom(fake_box):
    box = fake_box(devices=[{"name": "A", "memory_bytes": 10 * GIB},
                            {"name": "B", "memory_bytes": 10 * GIB}])
    done = ran(box, PYTHON, EXAMPLES / "classroom.py", "nobody", "daemon", "nosuch-student", "bin",
               "--memory", "0.6")
    assert done.returncode == 1, done.stderr
    assert done.stdout, done.stderr
    assert done.stdout == ("nobody: partition_0001 on device 0, 6144 MiB\n"
                           "daemon: partition_0002 on device 1, 6144 MiB\n")
    unknown, full = done.stderr.splitlines()
    assert unknown.startswith("nosuch-student: unknown user")
    assert full.startswith("bin: Not enough available memory on device 1")
    again = ran(box, PYTHON, EXAMPLES / "classroom.py", "bin", "sys")
    assert (again.returncode, again.stderr) == (0, "")


def test_ci_step(box):
    path = f"{BUILD / 'bin'}:{os.environ['PATH']}"
    client = BUILD / "tests" / "clients" / "linked_c"
    for size, status in ((40, 0), (80, 3)):
        done = ran(box, EXAMPLES / "ci.sh", client, "--size", size * MIB, PATH=path,
                   GPU_MEMORY="64MiB")
        assert done.returncode == status, done.stderr
    assert partitions(box) == []
    assert ran(box, EXAMPLES / "ci.sh", "sh", "-c", "exit 7", PATH=path).returncode == 7
    none = ran(box, EXAMPLES / "ci.sh", "true", PATH=path, GPU_MEMORY="1000GiB")
    assert none.returncode == 125 and "Not enough" in none.stderr
    assert ran(box, EXAMPLES / "ci.sh", PATH=path).returncode == 2


CONFIG = """
load_subconfig({example!r})
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub}
c.JupyterHub.db_url = "sqlite:///hub.sqlite"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api}"
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.services = [{{"name": "test", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [{{"name": "test", "services": ["test"],
                             "scopes": ["admin:users", "admin:servers"]}}]
c.JupyterHub.spawner_class = "localprocess"
c.Spawner.http_timeout = c.Spawner.start_timeout = 200
c.Spawner.environment = {environment!r}
"""


class Hub:
    """A JupyterHub that has loaded the example."""

    def __init__(self, box, folder):
        import socket

        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        port, hub, api = (one.getsockname()[1] for one in sockets)
        for one in sockets:
            one.close()
        self.token, self.url = uuid.uuid4().hex, f"http://127.0.0.1:{hub}/hub/api"
        own = ("OCL_ICD_VENDORS", "CHRONOS_STATE_DIR", "CHRONOS_LIBRARY", "PYTHONPATH")
        env = variables(box, PATH=f"{HUB}:{os.environ['PATH']}")
        for name in ("CHRONOS_PARTITION", "OPENCL_LAYERS", "LD_PRELOAD"):
            env.pop(name, None)
        environment = {name: value for name, value in env.items()
                       if name in own or "FAKE" in name}
        (folder / "config.py").write_text(CONFIG.format(
            example=str(EXAMPLES / "jupyterhub_config.py"), port=port, hub=hub, api=api,
            proxy=str(HUB / "configurable-http-proxy"), token=self.token,
            environment=environment), encoding="utf-8")
        self.log = folder / "hub.log"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen([HUB / "jupyterhub", "-f", "config.py"], cwd=folder,
                                            env=env, stdout=log, stderr=log)

    def ask(self, path, method="GET"):
        request = urllib.request.Request(self.url + path, method=method,
                                         headers={"Authorization": f"token {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=240) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read()}\n{self.log.read_text()}") from None

    def up(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("/") is not None
        except OSError:
            return False

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()


def environments(uid):
    """What the processes of a user have in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == uid:
                found.append(dict(
                    entry.split("=", 1) for entry in
                    (folder / "environ").read_text(errors="replace").split("\0") if "=" in entry))
        except OSError:
            pass
    return found


@pytest.fixture
def open_folder():
    """One that other users reach; pytest closes its own."""
    folder = Path(tempfile.mkdtemp(prefix="chronos-hub-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@needs_root
@pytest.mark.long
@pytest.mark.skipif(not FULL, reason="starts a JupyterHub and two servers")
def test_jupyterhub(box, open_folder):
    if not (HUB / "jupyterhub").exists():
        pytest.skip("JupyterHub is not there")
    state = open_folder / "state"
    state.mkdir()
    state.chmod(0o1777)
    box.env["CHRONOS_STATE_DIR"] = str(state)
    users = [make_user("alice"), make_user("bob")]
    hub = None
    try:
        for user in users:  # the Hub starts a server in its user's home
            home = open_folder / user.pw_name
            home.mkdir()
            os.chown(home, user.pw_uid, user.pw_gid)
            subprocess.run(["usermod", "-d", str(home), user.pw_name], check=True)
        hub = Hub(box, open_folder)
        poll("the Hub", hub.up, 240)
        for user in users:
            hub.ask(f"/users/{user.pw_name}", "POST")
            hub.ask(f"/users/{user.pw_name}/server", "POST")
        for user in users:
            poll("a server", lambda: hub.ask(f"/users/{user.pw_name}")["servers"]  # noqa: B023
                 .get("", {}).get("ready"), 240)
        made = {entry["owner"]: entry for entry in partitions(box)}
        assert set(made) == {user.pw_name for user in users}
        for user in users:
            entry = made[user.pw_name]
            held = [env for env in environments(user.pw_uid)
                    if env.get("CHRONOS_PARTITION", "").startswith(entry["partition_id"] + "@")
                    and "libchronos_shim.so" in env.get("LD_PRELOAD", "")]
            assert held, (entry, environments(user.pw_uid), hub.log.read_text())
            assert entry["memory_fraction"] == pytest.approx(0.2, abs=0.001)
        first, second = (user.pw_name for user in users)
        hub.ask(f"/users/{first}/server", "DELETE")
        poll("the end of a partition", lambda: len(partitions(box)) == 1)
        assert partitions(box)[0]["owner"] == second
        hub.ask(f"/users/{second}/server", "DELETE")
        poll("the end of the other", lambda: partitions(box) == [])
    finally:
        if hub is not None:
            hub.close()
        for user in users:
            unmake_user(user)
