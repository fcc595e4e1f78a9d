"""Users, identities and settings of the kernel around a partition. docs/security.md lists each."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from people import lab, make_lab, needs_root, propagation, reachable_build, users  # noqa: F401
from support import MIB, PATIENCE, PYTHON, REFUSED, built, poll
from test_setup import Machine

pytestmark = [built, needs_root]


# --- settings of the kernel ---------------------------------------------------------------------

@pytest.fixture(params=[("protected_regular", 0), ("protected_regular", 2),
                        ("protected_symlinks", 0), ("protected_symlinks", 1),
                        ("protected_hardlinks", 1)],
                ids=lambda pair: f"{pair[0]}={pair[1]}")
def sysctl(request):
    name, value = request.param
    path = Path("/proc/sys/fs") / name
    before = path.read_text(encoding="ascii").strip()
    try:
        path.write_text(str(value), encoding="ascii")
    except OSError as error:
        pytest.skip(f"{path} cannot be changed here: {error.strerror}")
    yield name, value
    path.write_text(before, encoding="ascii")


def test_whatever_the_kernel_protects(lab, sysctl):
    """A stranger's file, link or directory under one's own names changes nothing, whatever the
    kernel does about such files."""
    for uid in (lab.alice.uid, 0):
        for kind in ("counter", "grant", "tmp"):
            path = lab.state / f"chronos.{uid}.{'0' * 32}.{kind}"
            lab.bob.python("import sys; open(sys.argv[1], 'w').write('x'); "
                           "__import__('os').chmod(sys.argv[1], 0o666)", path)
            lab.bob.python("import os, sys; os.symlink(sys.argv[2], sys.argv[1])",
                           lab.state / f"chronos.{uid}.{'1' * 32}.{kind}", path)
    lab.alice("create", 0, "64MiB", "1h", "--name", "p1")
    lab.chronos("create", 0, "64MiB", "1h", "--name", "p2", "--user", lab.alice.name)
    session = lab.alice.session()
    assert session(f"make({MIB})") == 0
    lab.alice("extend", "p1", "1h")
    refused = lab.bob("release", "p1", status=1)
    assert refused.stderr == f"Permission denied: partition owned by {lab.alice.name}\n"
    assert all(path.read_text(encoding="utf-8") == "x"
               for path in lab.state.glob(f"chronos.*.{'0' * 32}.*"))


class HiddenProc:
    """/proc with hidepid=2, in a mount namespace of its own."""

    def __init__(self, lab):
        self.lab = lab
        self.keeper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", propagation(), "sh", "-ec",
             # Mounted anew: a remount would change the one of all.
             "mount -t proc -o hidepid=2 proc /proc; echo ready; exec sleep 3600"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.ready = self.keeper.stdout.readline() == "ready\n"

    def enter(self, person, *command):
        drop = [] if person is None else ["setpriv", f"--reuid={person.uid}",
                                          f"--regid={person.gid}", "--clear-groups"]
        return ["nsenter", f"--target={self.keeper.pid}", "--mount", "--root", "--wd",
                *drop, *map(str, command)]

    def chronos(self, person, *arguments, status=0):
        done = subprocess.run(self.enter(person, self.lab.command, *arguments), env=self.lab.env,
                              text=True, capture_output=True, timeout=PATIENCE, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def close(self):
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()
        self.keeper.stderr.close()


@pytest.fixture
def hidden(lab):
    made = HiddenProc(lab)
    if not made.ready:
        errors = made.keeper.stderr.read()
        made.close()
        pytest.skip(f"cannot mount /proc with hidepid=2: {errors.strip()}")
    yield made
    made.close()


def test_processes_of_others_that_cannot_be_seen(lab, hidden):
    """With hidepid=2 the lock on a slot says whether its process lives: numbers stay right."""
    hidden.chronos(lab.alice, "create", 0, "64MiB", "1h", "--name", "p1")
    _, env = lab.through("named", ["x"])
    program = subprocess.Popen(hidden.enter(lab.alice, PYTHON, lab.scripts / "session.py"), env=env,
                               text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        program.stdout.readline()
        program.stdin.write(json.dumps(f"make({MIB})") + "\n")
        program.stdin.flush()
        assert program.stdout.readline() == "0\n"
        def used(person):
            listed = json.loads(hidden.chronos(person, "list", "--json").stdout)
            return listed["partitions"][0]["used_bytes"]
        assert used(lab.bob) == used(lab.alice) == used(None) == MIB
        refused = hidden.chronos(lab.bob, "release", "p1", status=1)
        assert refused.stderr == f"Permission denied: partition owned by {lab.alice.name}\n"
        program.kill()
        program.wait()
        poll("the death to be seen", lambda: used(lab.bob) == 0)
    finally:
        program.kill()
        program.wait()
        program.stdin.close()
        program.stdout.close()


# --- files that go away -------------------------------------------------------------------------

def remove_files_of(person):
    """As logind does at the end of a user's last session, where RemoveIPC applies."""
    subprocess.run(["find", str(person.lab.state), "-user", person.name, "-delete"], check=True)


def test_a_program_whose_files_are_removed(lab):
    """It keeps its last limit and its deadline: files that are gone are no way out."""
    lab.alice("create", 0, "64MiB", "12s", "--name", "p1")
    session = lab.alice.session()
    assert session(f"make({MIB})") == 0
    remove_files_of(lab.alice)
    assert lab.partitions() == {}
    assert session(f"make({63 * MIB})") == 0
    assert session(f"make({MIB})") == REFUSED
    assert session("drop()") == 0
    assert session(f"in_child('make({MIB})')[1]") == REFUSED  # a child has no place any more
    poll("the deadline", lambda: session(f"make({MIB})") == REFUSED)
    assert session(f"make({MIB})") == REFUSED


def test_files_removed_under_a_listing(lab):
    lab.bob("create", 0, "64MiB", "1h", "--name", "bobs")
    for round_ in range(10):
        for number in range(3):
            lab.alice("create", 0, "1MiB", "1h", "--name", f"p{round_}{number}")
        remover = subprocess.Popen(["find", str(lab.state), "-user", lab.alice.name, "-delete"])
        try:
            listed = json.loads(lab.bob("list", "--json").stdout)["partitions"]
            assert "bobs" in {one["partition_id"] for one in listed}
        finally:
            remover.wait()
    assert set(lab.partitions()) == {"bobs"}


def test_what_logind_will_do_is_said_once(lab):
    """A user's first partition of a boot, in /dev/shm, where logind runs."""
    machine = Machine(lab)
    try:
        shutil.copy("/bin/sleep", lab.folder / "systemd-logind")
        machine.sh("mkdir -p /etc/systemd")
        script = (f"mount -t proc proc /proc; {lab.folder}/systemd-logind 60 & "
                  f"as='setpriv --reuid={lab.alice.uid} --regid={lab.alice.gid} --clear-groups'; "
                  "for n in 1 2; do $as {c} create 0 1MiB 1h >/dev/null; echo next >&2; done; "
                  "$as {c} list >/dev/null; {c} create 0 1MiB 1h >/dev/null; rm /dev/shm/chronos.*; "
                  "CHRONOS_LOG=error $as {c} create 0 1MiB 1h >/dev/null").replace(
                      "{c}", str(lab.command))
        done = machine.run("unshare", "--pid", "--fork", "--kill-child", "--mount",
                           "--propagation", propagation(), "sh", "-ec",
                           script)
        lines = done.stderr.splitlines()
        assert lines == ["logind removes your files in /dev/shm, and so your partitions, when you "
                         "log out (`sudo chronos setup` mends that)", "next", "next"]
    finally:
        machine.close()


# --- who somebody is ----------------------------------------------------------------------------

def test_the_effective_user_decides(lab):
    machine = Machine(lab)
    # Where the two differ the environment is not trusted: the fake driver is installed instead.
    # (PoCL has no device for the second user without a home: the first has its /tmp/pocl.)
    machine.sh(f"mkdir -p /etc/OpenCL/vendors; mount --bind {lab.driver.folder}/vendors "
               "/etc/OpenCL/vendors")

    def acting(real, effective, *arguments, status=0):
        return machine.run("setpriv", f"--ruid={real}", f"--euid={effective}", "--clear-groups",
                           lab.command, *arguments, status=status)

    def listed():
        done = machine.chronos("list", "--json")
        return {one["partition_id"]: (one["owner"], one["creator"])
                for one in json.loads(done.stdout)["partitions"]}

    try:
        create = ("create", 0, "1MiB", "1h", "--name")
        acting(lab.alice.uid, lab.bob.uid, *create, "p1")
        assert listed() == {"p1": (lab.bob.name, lab.bob.name)}
        refused = acting(lab.bob.uid, lab.alice.uid, "release", "p1", status=1)
        assert refused.stderr == f"Permission denied: partition owned by {lab.bob.name}\n"
        # A real user of root's is no root.
        refused = acting(0, lab.alice.uid, "release", "--user", lab.bob.name, status=1)
        assert refused.stderr.startswith("Permission denied: only administrators")
        assert set(listed()) == {"p1"}
    finally:
        machine.close()


def test_sudo_is_root(lab):
    """SUDO_USER decides nothing; owner and creator are both shown."""
    sudo = {**lab.env, "SUDO_USER": lab.alice.name, "SUDO_UID": str(lab.alice.uid)}
    lab.chronos("create", 0, "1MiB", "1h", "--name", "roots", env=sudo)
    made = lab.chronos("create", 0, "1MiB", "1h", "--name", "hers", "--user", lab.alice.name,
                       env=sudo)
    assert f"Assigned to user: {lab.alice.name} (Created by: root, PID: " in made.stdout
    seen = {name: (one["owner"], one["creator"]) for name, one in lab.partitions().items()}
    assert seen == {"roots": ("root", "root"), "hers": (lab.alice.name, "root")}
    # Neither does it make anybody root.
    fake = {**lab.bob.env, "SUDO_USER": "root", "SUDO_UID": "0", "USER": "root"}
    for name in ("roots", "hers"):
        assert lab.bob("release", name, env=fake, status=1).stderr.startswith(
            "Permission denied: partition owned by ")


@pytest.mark.parametrize("options", [["--user"], ["--user", "--map-root-user"]],
                         ids=["nobody", "root"])
def test_a_user_namespace_is_no_way_out(lab, options):
    """There all strangers look alike. Nothing is given out, and who has a partition stays in it: is
    charged, or refused where the namespace does not even show who they are."""
    if lab.alice.run("unshare", *options, "true").returncode != 0:
        pytest.skip("users may not make user namespaces here")
    inside = ["unshare", *options]
    refused = lab.alice.run(*inside, lab.command, "create", 0, "1MiB", "1h")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Permission denied: in this user namespace nobody can tell")
    for creator in (lab.alice, lab.chronos):
        arguments = ("--user", lab.alice.name) if creator == lab.chronos else ()
        creator("create", 0, "64MiB", "1h", "--name", "p1", *arguments)
        code = ("import opencl as cl; context = cl.context()\n"
                f"print(cl.buffer(context, {MIB})[1], cl.buffer(context, {64 * MIB})[1])")
        command, env = lab.through("owned", [*inside, PYTHON, "-c", code])
        done = subprocess.run(command, env=env, text=True, capture_output=True, check=False,
                              timeout=PATIENCE, **lab.alice.identity)
        first = 0 if "--map-root-user" in options else REFUSED
        assert done.stdout == f"{first} {REFUSED}\n", done.stderr
        if creator == lab.chronos:
            refused = lab.alice.run(*inside, lab.command, "extend", "p1", "1h")
            assert refused.returncode == 1
        lab.chronos("release", "p1")


@pytest.mark.parametrize("how", ["set-uid", "capability"])
def test_a_raised_program_does_not_trust_its_environment(lab, reachable_build, how):
    """Under AT_SECURE: CHRONOS_STATE_DIR, CHRONOS_CONFIG, CHRONOS_PARTITION, CHRONOS_TRACE."""
    machine = Machine(lab)
    raised = reachable_build / "bin" / f"chronos-{how}"
    program = reachable_build / "bin" / f"python-{how}"
    try:
        for source, path in ((lab.command, raised), (os.path.realpath(PYTHON), program)):
            shutil.copy(source, path)
            if how == "set-uid":
                os.chown(path, lab.bob.uid, -1)
                path.chmod(0o4755)
            elif shutil.which("setcap") is None:
                pytest.skip("no setcap")
            else:
                subprocess.run(["setcap", "cap_net_bind_service=ep", str(path)], check=True)
        lab.env["CHRONOS_STATE_DIR"] = str(lab.state)
        machine.chronos("create", 0, "64MiB", "1h", "--name", "elsewhere")
        def names(command):
            done = machine.run(command, "list", "--json", user=lab.alice)
            return [one["partition_id"] for one in json.loads(done.stdout)["partitions"]]
        assert names(lab.command) == ["elsewhere"]
        if names(raised) != []:
            pytest.fail("CHRONOS_STATE_DIR was believed")
        config = lab.folder / "own.toml"
        config.write_text('nonsense = 1\n', encoding="utf-8")
        lab.env["CHRONOS_CONFIG"] = str(config)
        assert "nonsense" in machine.run(lab.command, "list", user=lab.alice).stderr
        assert machine.run(raised, "list", user=lab.alice).stderr == ""
        del lab.env["CHRONOS_CONFIG"]
        # A program: ocl-icd loads layers all the same.
        trace = lab.folder / "trace"
        trace.mkdir()
        os.chown(trace, lab.alice.uid, -1)
        lab.env.update(OPENCL_LAYERS=str(lab.shim), CHRONOS_PARTITION="nowhere",
                       CHRONOS_TRACE=str(trace / "t"))
        code = f"import opencl as cl; print(cl.buffer(cl.context(), {MIB})[1])"
        assert machine.run(PYTHON, "-c", code, user=lab.alice).stdout == f"{REFUSED}\n"
        assert machine.run(program, "-c", code, user=lab.alice).stdout == "0\n"
    finally:
        machine.close()
        raised.unlink(missing_ok=True)
        program.unlink(missing_ok=True)
