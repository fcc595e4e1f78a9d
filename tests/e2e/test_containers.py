"""Partitions over containers: pid, mount and user namespaces that share the state directory."""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from people import lab, make_lab, needs_root, propagation, reachable_build, users  # noqa: F401
from support import (CHRONOS, FULL, MIB, PATIENCE, PYTHON, REFUSED, Session, built,  # noqa: F401
                     box, fake_box, own_lines, poll)

pytestmark = [built, needs_root]

# The session is the second process of its pid namespace, which stays when it ends.
SECOND = ["sh", "-c", '"$@"; exec sleep 3600', "sh"]


def children_of(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text(encoding="ascii").split()]


def container(proc=True):
    """Root's, as Docker makes them but for what it takes away."""
    own_proc = ["--mount-proc", "--propagation", propagation()] if proc else []
    return ["unshare", "--pid", "--fork", "--ipc", "--uts", *own_proc, *SECOND]


# include/uapi/linux/nsfs.h: the number of the initial one.
INITIAL_PID_NAMESPACE = 0xEFFFFFFC
outermost = pytest.mark.skipif(os.stat("/proc/self/ns/pid").st_ino != INITIAL_PID_NAMESPACE,
                               reason="is in a pid namespace already, and cannot see the machine")


class Contained(Session):
    """A session in a container: `init` and `pid` are its processes' numbers outside."""

    def __init__(self, box, prefix=None, **options):  # noqa: F811
        self.prefix = container() if prefix is None else prefix
        super().__init__(Prefixed(box, self.prefix), **{"door": "named", **options})
        self.init = children_of(self.process.pid)[0]
        self.pid = children_of(self.init)[0]

    def inside(self, *command):
        # Its root is not that of the mount namespace where these tests themselves run in a chroot.
        enter = ["nsenter", f"--target={self.init}", "--pid", "--mount", f"--root=/proc/{self.init}/root"]
        return subprocess.run([*enter, *map(str, command)], env=self.box.env, text=True,
                              capture_output=True, timeout=PATIENCE, check=False)

    def kill(self):
        os.kill(self.init, signal.SIGKILL)
        self.process.wait(timeout=PATIENCE)


class Prefixed:
    """A box whose programs are started by another command."""

    def __init__(self, box, prefix):  # noqa: F811
        self.box, self.prefix = box, prefix

    def __getattr__(self, name):
        return getattr(self.box, name)

    def start(self, *command, **options):
        return self.box.start(*self.prefix, *command, **options)


# --- pid namespaces -----------------------------------------------------------------------------

def test_two_containers_share_a_limit(box):  # noqa: F811
    box.create(64 * MIB)
    one, two = Contained(box), Contained(box)
    assert one("os.getpid()") == two("os.getpid()") == 2
    assert one(f"make({40 * MIB})") == 0
    assert two(f"make({30 * MIB})") == REFUSED
    assert two(f"make({24 * MIB})") == 0
    # Outside they have numbers of their own, and whoever can see them is told these.
    assert box.used_by() == {one.pid: 40 * MIB, two.pid: 24 * MIB}
    # In the other container it would be another process: no number.
    seen = json.loads(two.inside(CHRONOS, "list", "--json").stdout)["partitions"][0]["processes"]
    assert sorted(seen, key=lambda entry: entry["used_bytes"]) == [
        {"pid": 2, "used_bytes": 24 * MIB},
        {"pid": None, "used_bytes": 40 * MIB, "pid_inside": 2}]
    one.kill()
    assert two(f"make({40 * MIB})") == 0
    assert box.used_by() == {two.pid: 64 * MIB}
    two.kill()
    assert box.used_by() == {}


def test_force_ends_who_holds_and_nobody_else(box):  # noqa: F811
    """From outside it reaches into containers; from one container not into another, though the
    numbers are the same."""
    box.create(64 * MIB)
    one, two = Contained(box), Contained(box)
    for session in (one, two):
        assert session(f"make({MIB})") == 0
    refused = one.inside(CHRONOS, "release", "--force", "--grace", "0", "p1")
    assert refused.returncode == 1
    assert refused.stderr == (f"Process 2 still holds 1 MiB of partition p1 (it is in another pid "
                              "namespace: end it there)\n")
    poll("the program to be gone", lambda: not Path(f"/proc/{one.pid}").exists())
    assert two("1 + 1") == 2
    done = box.chronos("release", "--force", "--grace", "0", "p1")
    assert done.stdout == "Partition p1 released\n"
    poll("the program to be gone", lambda: not Path(f"/proc/{two.pid}").exists())
    assert two.process.poll() is None  # its container lives on
    assert box.partitions() == {}


def test_force_without_procfs_of_ones_own(box):  # noqa: F811
    """Such containers do not know which namespace is theirs: no number counts as here."""
    box.create(64 * MIB)
    holder = Contained(box, container(proc=False))
    assert holder("os.getpid()") == 2
    assert holder(f"make({MIB})") == 0
    script = f"sleep 60 & {CHRONOS} release --force --grace 0 p1; kill -0 2 && echo spared; kill $!"
    other = subprocess.run([*container(proc=False)[:-len(SECOND)], "sh", "-c", script], env=box.env, text=True,
                           capture_output=True, timeout=PATIENCE, check=False)
    assert other.stdout.endswith("spared\n"), other.stderr
    assert "it is in another pid namespace" in other.stderr
    assert holder(f"make({MIB})") == REFUSED  # it has been released
    holder.kill()
    assert box.partitions() == {}


@outermost
def test_a_held_partition_ends_with_its_container(box):  # noqa: F811
    box.chronos("available", 0)
    process = box.start(*container(), CHRONOS, "run", "--device", 0, "--memory", "1GiB", "--duration",
                        "1h", "--", "sh", "-c", "echo started; exec sleep 3600", door=None)
    assert process.stdout.readline() == "started\n"
    assert [entry["state"] for entry in box.partitions().values()] == ["active"]
    os.kill(children_of(process.pid)[0], signal.SIGKILL)
    process.wait(timeout=PATIENCE)
    assert box.partitions() == {}


def test_a_program_is_ended_without_procfs_of_ones_own(box):  # noqa: F811
    """The tree of a command is found in /proc. Where that is another namespace's, its numbers are those
    of others here (the kernel's threads 3, 4, ... are the children of 2): none is signalled."""
    box.create(MIB, duration="2s")
    script = (f"{CHRONOS} run --partition p1 --on-expiry kill -- sleep 3600 & run=$!; "
              "for i in 1 2 3 4 5 6 7 8; do sleep 60 & all=\"$all $!\"; done; "
              "wait $run; echo $?; kill -0 $all && echo spared; kill $all")
    done = subprocess.run([*container(proc=False)[:-len(SECOND)], "sh", "-c", script], env=box.env,
                          text=True, capture_output=True, timeout=PATIENCE, check=False)
    assert done.stdout == "124\nspared\n", done.stderr
    assert "could not be ended" not in done.stderr


# --- user namespaces ----------------------------------------------------------------------------

def bwrap(*options):
    return ["bwrap", "--unshare-user", "--unshare-pid", *options, "--dev-bind", "/", "/", "--proc",
            "/proc"]


USER_NAMESPACES = {
    "root": ["unshare", "--user", "--map-root-user"],
    "same": ["unshare", "--user", "--map-current-user"],
    "container": ["unshare", "--user", "--map-root-user", "--pid", "--mount", "--fork", "--mount-proc"],
    "nested": ["unshare", "--user", "--map-root-user"] * 2,
    "bwrap": bwrap(),
    "bwrap-uid": bwrap("--uid", "1234"),
}


@pytest.fixture(params=USER_NAMESPACES)
def inside(request, lab):  # noqa: F811
    prefix = USER_NAMESPACES[request.param]
    if shutil.which(prefix[0]) is None:
        pytest.skip(f"no {prefix[0]}")
    tried = lab.alice.run(*prefix, "true")
    if tried.returncode != 0:
        pytest.skip(f"users may not make such namespaces here: {tried.stderr.strip()}")
    return prefix


@pytest.mark.parametrize("creator", ["alice", "root"])
def test_ones_partitions_hold_in_a_user_namespace(lab, inside, creator):  # noqa: F811
    lab.bob("create", 0, "64MiB", "1h", "--name", "bobs")
    if creator == "alice":
        lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    else:
        lab.chronos("create", 0, "64MiB", "1h", "--name", "p1", "--user", lab.alice.name)
    first = lab.alice.session()
    assert first(f"make({20 * MIB})") == 0
    for door in ("named", "owned"):
        session = Session(Prefixed(lab, inside), **{"door": door, **lab.alice.identity})
        assert session(f"make({40 * MIB})") == 0
        assert session(f"make({5 * MIB})") == REFUSED
        assert first(f"make({5 * MIB})") == REFUSED
        assert lab.used() == 60 * MIB
        assert len(lab.used_by()) == 2 and None not in lab.used_by()
        session.end()
        assert lab.used() == 20 * MIB
    listed = lab.alice.run(*inside, lab.command, "list", "--json")
    assert [one["partition_id"] for one in json.loads(listed.stdout)["partitions"]] == ["p1"]
    assert listed.stderr == ("1 partition of users whom this user namespace does not show is not "
                             "counted here\n")
    refused = lab.alice.run(*inside, lab.command, "create", 0, "1MiB", "1h")
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    assert refused.stderr.startswith("Permission denied: in this user namespace nobody can tell")
    refused = lab.alice.run(*inside, lab.command, "release", "bobs")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Partition not found or already released: bobs")
    done = lab.alice.run(*inside, lab.command, "release", "--force", "p1")
    assert "Partition p1 released" in done.stdout, done.stderr
    first.process.wait(timeout=PATIENCE) if "--pid" not in inside and "bwrap" not in inside else first.kill()
    poll("its end", lambda: set(lab.partitions()) == {"bobs"})


def test_what_root_did_not_grant_is_not_taken_for_it(lab):  # noqa: F811
    """There root's file looks like bob's. Alice's own ledger names the one that root made with it."""
    prefix = USER_NAMESPACES["root"]
    if lab.alice.run(*prefix, "true").returncode != 0:
        pytest.skip("users may not make user namespaces here")

    def make(mebibytes):
        command, env = lab.through("owned", [*prefix, PYTHON, "-c", "import opencl as cl\n"
                                             f"print(cl.buffer(cl.context(), {mebibytes * MIB})[1])"])
        done = subprocess.run(command, env=env, text=True, capture_output=True, check=False,
                              timeout=PATIENCE, **lab.alice.identity)
        return int(done.stdout)

    lab.chronos("create", 0, "64MiB", "1h", "--name", "p1", "--user", lab.alice.name)
    assert (make(1), make(65)) == (0, REFUSED)
    grant, = lab.files("grant")
    content = grant.read_bytes()
    grant.unlink()
    code = "import sys; open(sys.argv[1], 'wb').write(bytes.fromhex(sys.argv[2]))"
    written = lab.bob.python(code, grant, content.hex())
    assert written.returncode == 0, written.stderr
    assert make(1) == REFUSED
    # A ledger that names no grant, as those made by earlier versions: it cannot be told.
    grant.unlink()
    lab.chronos("create", 0, "64MiB", "1h", "--name", "p2", "--user", lab.alice.name)
    ledger = next(path for path in lab.files("ledger") if path.with_suffix(".grant").exists())
    with open(ledger, "r+b") as file:
        file.seek(56)
        assert int.from_bytes(file.read(8), "little") == os.stat(ledger.with_suffix(".grant")).st_ino
        file.seek(56)
        file.write(bytes(8))
    assert make(1) == REFUSED


def test_another_user_of_ones_user_namespace(lab):  # noqa: F811
    """A rootless container has users of its own besides root, who is alice. They are no way out."""
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    libc = ctypes.CDLL(None, use_errno=True)
    ready, go = os.pipe(), os.pipe()
    command, env = lab.through("owned", [PYTHON, "-c", "import opencl as cl, os\n"
                                         f"print(os.geteuid(), cl.buffer(cl.context(), {MIB})[1])"])

    def enter():
        os.setresgid(lab.alice.gid, lab.alice.gid, lab.alice.gid)
        os.setresuid(lab.alice.uid, lab.alice.uid, lab.alice.uid)
        if libc.unshare(0x10000000) != 0:  # CLONE_NEWUSER
            os._exit(77)
        os.write(ready[1], b"%d\n" % os.getpid())
        os.read(go[0], 1)
        os.setresuid(1, 1, 1)

    def write_map():  # it is root's to write, while the child waits
        pid = int(os.read(ready[0], 16) or b"0")
        if pid:
            Path(f"/proc/{pid}/uid_map").write_text(f"0 {lab.alice.uid} 1\n1 3000000000 10\n",
                                                    encoding="ascii")
            os.write(go[1], b"x")

    writer = threading.Thread(target=write_map, daemon=True)
    writer.start()
    done = subprocess.run(command, env=env, text=True, capture_output=True, check=False,
                          timeout=PATIENCE, preexec_fn=enter)
    for end in (*ready, *go):
        os.close(end)
    if done.returncode == 77:
        pytest.skip("users may not make user namespaces here")
    assert done.stdout == f"1 {REFUSED}\n", done.stderr
    assert own_lines(done.stderr) == [
        "chronos: in this user namespace it cannot be told whether a partition is yours; every "
        "allocation is refused"]


# --- chronos doctor -----------------------------------------------------------------------------

def findings_in(box, script, status=0):  # noqa: F811
    """The container findings of `chronos doctor` in a mount namespace that `script` prepares."""
    env = {name: value for name, value in box.env.items() if name != "CHRONOS_STATE_DIR"}
    prepare = "mount -t tmpfs tmpfs /run; mount -t tmpfs shm /dev/shm; touch /run/.containerenv; "
    done = subprocess.run(["unshare", "--mount", "--propagation", propagation(), "sh", "-ec",
                           prepare + script + f'exec {CHRONOS} doctor --json', "sh", str(box.state)],
                          env=env, text=True, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return [(one["status"], one["text"]) for one in json.loads(done.stdout)["findings"]
            if one["topic"] == "container"]


@outermost
def test_doctor_says_whether_the_state_is_shared(box):  # noqa: F811
    box.create(MIB)
    assert findings_in(box, "") == [
        ("warning", "this is a container (podman), and /dev/shm is its own: the machine's partitions "
                    "do not hold in here")]
    assert findings_in(box, "mkdir /run/chronos; chmod 1777 /run/chronos; ") == [
        ("warning", "this is a container (podman), and /run/chronos is its own: the machine's "
                    "partitions do not hold in here")]
    assert findings_in(box, 'mkdir /run/chronos; chmod 1777 "$1"; mount --bind "$1" /run/chronos; ') == [
        ("ok", "this is a container (podman) that shares /run/chronos")]


# --- chronos cdi --------------------------------------------------------------------------------

def check_rules(document):
    """The rules of the CDI specification (SPEC.md 1.1.0) and of its library, which runtimes use."""
    assert set(document) == {"cdiVersion", "kind", "devices", "containerEdits"}
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9.-]*[a-zA-Z0-9]/[a-zA-Z][a-zA-Z0-9_-]*[a-zA-Z0-9]",
                        document["kind"])
    names = [device["name"] for device in document["devices"]]
    assert names and len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-zA-Z0-9]([a-zA-Z0-9_.:-]*[a-zA-Z0-9])?", name) for name in names)
    digits = any(name[0].isdigit() for name in names)
    assert document["cdiVersion"] == ("0.5.0" if digits else "0.3.0")
    for edits in [document["containerEdits"], *(one["containerEdits"] for one in document["devices"])]:
        assert edits and set(edits) <= {"env", "mounts"}
        assert all(re.fullmatch(r"[A-Z_]+=.+", setting) for setting in edits.get("env", []))
        for mount in edits.get("mounts", []):
            assert set(mount) == {"hostPath", "containerPath", "options"}
            assert mount["hostPath"].startswith("/") and mount["containerPath"].startswith("/")
            assert {"bind", "rbind"} & set(mount["options"])
            assert {"rw"} & set(mount["options"]) == (
                {"rw"} if mount["containerPath"] == "/run/chronos" else set())


def cdi(box, *arguments, **options):  # noqa: F811
    return json.loads(box.chronos("cdi", *arguments, **options).stdout)


def test_cdi_has_a_device_for_each_partition(lab):  # noqa: F811
    assert [one["name"] for one in cdi(lab)["devices"]] == ["all"]
    for name in ("train", "7of9", "odd-", "all"):
        lab.create(MIB, name)
    lab.bob("create", 0, "1MiB", "1h", "--name", "train")
    lab.alice("create", 0, "1MiB", "1h")
    document = cdi(lab)
    check_rules(document)
    assert {one["name"]: one["containerEdits"].get("env") for one in document["devices"]} == {
        "all": None, "train": ["CHRONOS_PARTITION=train"], "7of9": ["CHRONOS_PARTITION=7of9"],
        "partition_0003": ["CHRONOS_PARTITION=partition_0003"],
        "partition_0006": ["CHRONOS_PARTITION=partition_0006"]}
    own = json.loads(lab.bob("cdi").stdout)
    assert [one["name"] for one in own["devices"]] == ["all", "train"]
    assert document["containerEdits"]["env"] == ["OPENCL_LAYERS=/usr/local/lib/libchronos_shim.so"]
    preload = cdi(lab, "--preload")
    check_rules(preload)
    assert preload["containerEdits"]["env"][1] == "LD_PRELOAD=/usr/local/lib/libchronos_shim.so"
    hosts = {one["containerPath"]: one["hostPath"] for one in document["containerEdits"]["mounts"]}
    assert hosts["/usr/local/lib/libchronos_shim.so"] == str(lab.shim)
    assert hosts["/usr/local/bin/chronos"] == str(lab.command)


def test_cdi_is_written_by_rename(box, tmp_path):  # noqa: F811
    box.create(MIB)
    path = tmp_path / "cdi" / "chronos.json"
    path.parent.mkdir()
    done = box.chronos("cdi", "--output", path)
    assert done.stdout == f"Wrote {path} with 2 devices\n"
    assert path.stat().st_mode & 0o777 == 0o644
    with open(path, encoding="utf-8") as old:
        before = old.read()
        box.chronos("release", "p1")
        box.chronos("cdi", "--output", path)
        old.seek(0)
        assert old.read() == before
    assert [one["name"] for one in json.loads(path.read_text(encoding="utf-8"))["devices"]] == ["all"]
    assert os.listdir(path.parent) == ["chronos.json"]


@pytest.mark.parametrize("arguments, status, words", [
    (["--output", "/nonexistent/chronos.json"], 1, "cannot write to '/nonexistent/chronos.json'"),
    (["--output", "/proc/chronos.json"], 1, "cannot write to '/proc/chronos.json'"),
    (["--output", "/tmp"], 1, "is not a regular file"),
    (["--output", ""], 2, "--output names no file"),
    (["--write", "--output", "x"], 2, "--write excludes --output"),
    (["train"], 2, "unexpected argument 'train'"),
    (["--device", "x"], 2, "--device")])
def test_cdi_says_what_is_wrong(box, arguments, status, words):  # noqa: F811
    box.create(MIB)
    refused = box.chronos("cdi", *arguments, status=status)
    assert refused.stdout == "" and len(refused.stderr.splitlines()) == 1
    assert words in refused.stderr


def test_cdi_needs_a_directory_that_can_be_shared(box):  # noqa: F811
    box.create(MIB)
    env = {**box.env, "CHRONOS_STATE_DIR": "/dev/shm"}
    refused = box.chronos("cdi", env=env, status=1)
    assert refused.stderr.startswith("the state is in /dev/shm, which a container has for itself")


def test_cdi_for_the_machine(box):  # noqa: F811
    box.create(MIB)
    script = ('mount -t tmpfs tmpfs "$1"; mkdir "$1/up" "$1/work"; '
              'mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/up,workdir=$1/work" /etc || exit 77; '
              f'umask 077; {CHRONOS} cdi --write; cat /etc/cdi/chronos.json; stat -c %a /etc/cdi/chronos.json')
    folder = box.folder / "etc"
    folder.mkdir()
    done = subprocess.run(["unshare", "--mount", "--propagation", propagation(), "sh", "-ec", script,
                           "sh", str(folder)], env=box.env, text=True, capture_output=True,
                          timeout=PATIENCE, check=False)
    if done.returncode == 77:
        pytest.skip(f"no overlay of /etc here: {done.stderr.strip()}")
    first, *text, mode = done.stdout.splitlines()
    assert first == "Wrote /etc/cdi/chronos.json with 2 devices", done.stderr
    assert mode == "644"
    check_rules(json.loads("\n".join(text)))


# A container by hand: what a runtime does with a device of the specification.
BY_HAND = r"""
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /usr/local
while read -r from to; do
    mkdir -p "$(dirname "$to")"
    if [ -d "$from" ]; then mkdir -p "$to"; else : > "$to"; fi
    mount --bind "$from" "$to"
done < "$1"
shift
exec "$@"
"""


def test_a_container_made_by_hand_from_the_specification(box, tmp_path):  # noqa: F811
    box.create(64 * MIB)
    document = cdi(box)
    device = next(one for one in document["devices"] if one["name"] == "p1")
    edits = [document["containerEdits"], device["containerEdits"]]
    mounts = [mount for one in edits for mount in one["mounts"]]
    table = tmp_path / "mounts"
    table.write_text("".join(f"{one['hostPath']} {one['containerPath']}\n" for one in mounts),
                     encoding="utf-8")
    env = {name: value for name, value in box.env.items() if name != "CHRONOS_STATE_DIR"}
    env.update(setting.split("=", 1) for one in edits for setting in one["env"])
    code = ("import opencl as cl; context = cl.context()\n"
            f"print(cl.buffer(context, {MIB})[1], cl.buffer(context, {64 * MIB})[1], flush=True)\n"
            "import subprocess; subprocess.run(['/usr/local/bin/chronos', 'list', '--json'])")
    done = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--propagation",
                           propagation(), "sh", "-ec", BY_HAND, "sh", str(table), PYTHON, "-c", code],
                          env=env, text=True, capture_output=True, timeout=PATIENCE, check=False)
    first, _, listed = done.stdout.partition("\n")
    assert first == f"0 {REFUSED}", done.stderr
    assert json.loads(listed)["partitions"][0]["used_bytes"] == MIB


# --- Podman -------------------------------------------------------------------------------------

# The root of the machine as an overlay that goes away, and one kind of control groups: crun wants no
# mixture of the two.
PODMAN = r"""
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root" || exit 77
umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 77
mount -t tmpfs tmpfs /run
mkdir /run/cdi
"$2" cdi --output /run/cdi/chronos.json >&2
shift 2
exec podman --storage-driver vfs --root /run/store --runroot /run/podman --cgroup-manager cgroupfs \
    run --rm --runtime crun --cgroups disabled --network host --security-opt seccomp=unconfined \
    --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 "$@"
"""


@pytest.mark.skipif(not FULL, reason="only with --full")
def test_podman(box, tmp_path):  # noqa: F811
    """`podman run --device chronos.dev/partition=p1 --rootfs ...` is in the partition."""
    for tool in ("podman", "crun"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    box.create(64 * MIB)
    folder = tmp_path / "podman"
    folder.mkdir()

    def run(device, *command):
        variables = [f"--env={name}={value}" for name, value in box.driver.variables.items()]
        return subprocess.run(
            ["unshare", "--mount", "--propagation", propagation(), "sh", "-e", "-c", PODMAN, "sh",
             str(folder), str(CHRONOS), *device, *variables,
             f"--volume={box.driver.folder}:{box.driver.folder}",
             f"--env=PYTHONPATH={box.scripts}", "--rootfs", f"{folder}/root", *command],
            env=box.env, text=True, capture_output=True, timeout=PATIENCE, check=False)

    tried = run([], "/bin/true")
    if tried.returncode != 0:
        pytest.skip(f"Podman does not run here: {tried.stderr.strip()}")
    code = ("import opencl as cl; context = cl.context()\n"
            f"print(cl.buffer(context, {MIB})[1], cl.buffer(context, {64 * MIB})[1])")
    for device in ("p1", "all"):
        done = run(["--device", f"chronos.dev/partition={device}"], PYTHON, "-c", code)
        assert done.stdout == f"0 {REFUSED}\n", done.stderr
    refused = run(["--device", "chronos.dev/partition=p2"], "/bin/true")
    assert refused.returncode != 0 and "chronos.dev/partition=p2" in refused.stderr
