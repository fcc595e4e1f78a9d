"""Enforcement for a whole machine, on a machine of the test's own: every program has the shim, none
is harmed by it, nobody is free of it by accident, and it can always be switched off."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from enforced_root import Root
from people import needs_root
from support import (BUILD, CLIENTS, FULL, MIB, PATIENCE, POCL, REFUSED, SCRIPTS, built, own_lines,
                     poll)

pytestmark = [built, needs_root]

PRELOAD = "/etc/ld.so.preload"
ENTRY = "/usr/lib/chronos/before-libasan.so/libchronos_shim.so"
LIBRARY = "/usr/lib/chronos/enforced/libchronos_shim.so"
RECORD = "/etc/chronos/ld.so.preload.before"
LAYER = "/etc/OpenCL/layers/chronos.lay"
OTHER = "/usr/lib/chronos-other.so"
NOISE = "ERROR: ld.so"
POLICY = 'unassigned = "deny"\n'

needs_pocl = pytest.mark.skipif(not POCL.exists(), reason="no PoCL")


@pytest.fixture(scope="module")
def machine():
    """One for all tests, with Chronos installed as a package would."""
    root = Root()
    library = root.path("/usr/lib")
    for name in ("bin/chronos", "libexec/chronos/chronos-probe"):
        target = root.path(f"/usr/{name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(BUILD / name, target)
    shutil.copy(BUILD / "lib/libchronos_shim.so", library)
    (library / "clients").mkdir()
    for name in ("linked_c", "dlopen_c", "open_c", "plugin_system.so"):
        if (CLIENTS / name).exists():
            shutil.copy(CLIENTS / name, library / "clients")
    shutil.copy(SCRIPTS / "opencl.py", library / "clients")
    # A library that does nothing, for the list to have another one.
    subprocess.run(["gcc", "-shared", "-x", "c", "/dev/null", "-o", str(library / "chronos-other.so")],
                   check=True)
    # Numbers that no other suite on this machine makes a user with, and ends all processes of.
    for number, name in enumerate(("ann", "ben"), 30000 + os.getpid() % 10000 * 2):
        root.run("useradd", "--create-home", "--shell", "/bin/bash", "--uid", number, name)
    yield root
    root.close()


@pytest.fixture
def root(machine):
    yield machine
    preload = machine.path(PRELOAD)
    if preload.is_dir():
        preload.rmdir()
    machine.run("chronos", "enforce", "off", "--quiet")
    preload.unlink(missing_ok=True)
    shutil.rmtree(machine.path("/etc/chronos"), ignore_errors=True)


@pytest.fixture
def enforced(root):
    root.run("chronos", "enforce", "on")
    return root


def state(root):
    result = root.run("chronos", "enforce", "status", "--json", status=None)
    answer = json.loads(result.stdout)
    assert result.returncode == (0 if answer["state"] == "on" else 1), result.stdout
    return answer


def has_shim(root, *command, **options):
    """A program that prints its own /proc/self/maps."""
    result = root.run(*command, **options)
    assert NOISE not in result.stderr
    return LIBRARY in result.stdout


def test_on_and_off_say_what_they_do(root):
    done = root.run("chronos", "enforce", "status", status=1)
    assert done.stdout == "Enforcement: off\n"
    done = root.run("chronos", "enforce", "on")
    assert done.stdout.startswith("Enforcement is on: every program that starts from now on")
    assert root.path(PRELOAD).read_text(encoding="utf-8") == ENTRY + "\n"
    assert root.path(LAYER).read_text(encoding="utf-8") == ENTRY + "\n"
    answer = state(root)
    assert (answer["state"], answer["healthy"], answer["problems"]) == ("on", True, [])
    assert answer["library_version"] == answer["version"]
    assert "already" in root.run("chronos", "enforce", "on").stdout
    assert has_shim(root, "cat", "/proc/self/maps")
    # A set-uid program, started by somebody for whom that makes a difference.
    root.sh("cp /bin/cat /usr/bin/raised-cat && chmod 4755 /usr/bin/raised-cat")
    assert has_shim(root, "raised-cat", "/proc/self/maps", user="ann")
    assert root.run("chronos", "enforce", "off").stdout.startswith("Enforcement is off")
    assert not has_shim(root, "cat", "/proc/self/maps")
    assert not root.path(PRELOAD).exists()
    for path in ("/usr/lib/chronos", "/etc/chronos", LAYER):
        assert not root.path(path).exists(), path
    assert "already" in root.run("chronos", "enforce", "off").stdout
    assert root.run("chronos", "enforce", "on", "--only-if-on").stdout == ""
    assert state(root)["state"] == "off"


BEFORE = {"empty": b"", "one": f"{OTHER}\n".encode(), "no newline": f"{OTHER}".encode(),
          "comments": f"# mine\n{OTHER} # that\n\n# end".encode(), "blanks": f" \n\t{OTHER}:\n\n".encode()}


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_off_restores_byte_for_byte(root, before):
    file = root.path(PRELOAD)
    file.write_bytes(before)
    file.chmod(0o664)
    os.chown(file, 0, 7)
    root.run("chronos", "enforce", "on", "--quiet")
    assert file.read_bytes().startswith(before)
    maps = root.run("cat", "/proc/self/maps")
    assert LIBRARY in maps.stdout
    assert (OTHER in maps.stdout) == (OTHER.encode() in before)
    root.run("chronos", "enforce", "off", "--quiet")
    assert file.read_bytes() == before
    assert (file.stat().st_mode & 0o7777, file.stat().st_uid, file.stat().st_gid) == (0o664, 0, 7)


def test_what_others_changed_meanwhile_stays(root):
    root.run("chronos", "enforce", "on", "--quiet")
    file = root.path(PRELOAD)
    file.write_text(f"{OTHER}:{ENTRY}\n# later\n", encoding="utf-8")
    done = root.run("chronos", "enforce", "off")
    assert "changed by others meanwhile" in done.stderr
    assert file.read_text(encoding="utf-8") == f"{OTHER}:\n# later\n"


def test_programs_start_as_ever(enforced):
    """Login, su, sudo, apt, cron, a compiler and what it makes."""
    root = enforced
    maps = "cat /proc/self/maps"
    assert has_shim(root, "bash", "-c", maps)
    assert has_shim(root, "python3", "-c", "print(open('/proc/self/maps').read())")
    assert has_shim(root, "su", "ann", "-c", maps)
    assert has_shim(root, "su", "-", "ann", "-c", maps)
    assert has_shim(root, "runuser", "-u", "ann", "--", "env", "-i", "/bin/cat", "/proc/self/maps")
    if root.path("/usr/bin/sudo").exists():
        assert has_shim(root, "sudo", "-u", "ann", "cat", "/proc/self/maps")
    for command in (("apt-get", "--version"), ("apt-get", "check"), ("perl", "-e", "exit 0"),
                    ("dpkg", "--audit"), ("ps", "aux")):
        assert NOISE not in root.run(*command).stderr
    # The environment of programs that do not use OpenCL is what it was.
    assert root.run("env", "-i", "/usr/bin/env").stdout == ""
    assert "OPENCL_LAYERS" not in root.run("python3", "-c", "import subprocess, ctypes;"
                                           "subprocess.run(['env'])").stdout


def maps_of_a_login(root):
    """What the shell of `login -f ann` has mapped, at a terminal; None: it comes to no shell."""
    home = root.path("/home/ann")
    (home / "login").unlink(missing_ok=True)
    (home / ".bash_profile").write_text("cat /proc/self/maps >~/part; mv ~/part ~/login; exit\n",
                                        encoding="utf-8")
    root.sh("timeout -k 1 5 script -qec 'login -f ann' /dev/null", status=None)
    (home / ".bash_profile").unlink()
    return (home / "login").read_text(encoding="utf-8") if (home / "login").exists() else None


def test_login(enforced):
    root = enforced
    if not (root.path("/usr/bin/script").exists() and root.path("/bin/login").exists()):
        pytest.skip("no login, or no script to give it a terminal")
    maps = maps_of_a_login(root)
    if maps is None:
        root.run("chronos", "enforce", "off")
        assert maps_of_a_login(root) is None, "it works, but not under enforcement"
        pytest.skip("login does not come to a shell in this root, enforcement or not")
    assert LIBRARY in maps


HELLO = '#include <stdio.h>\n#include <stdlib.h>\nint main(void){char*p=malloc(9);puts("hello");free(p);}\n'


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler")
@pytest.mark.parametrize("flags", ["", "-fsanitize=address", "-fsanitize=address -static-libasan"],
                         ids=["plain", "asan", "static asan"])
def test_a_compiler_and_its_programs(enforced, flags):
    """AddressSanitizer looks who comes before it."""
    root = enforced
    root.path("/tmp/hello.c").write_text(HELLO, encoding="utf-8")
    built_one = root.sh(f"cd /tmp && gcc {flags} hello.c -o hello", status=None)
    if flags and built_one.returncode != 0:
        pytest.skip("no such sanitizer here")
    assert (built_one.returncode, built_one.stderr) == (0, "")
    done = root.run("/tmp/hello")
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_cron(enforced):
    root = enforced
    if not FULL:
        pytest.skip("takes a minute: CHRONOS_TEST_LEVEL=full")
    if not root.path("/usr/sbin/cron").exists():
        pytest.skip("no cron")
    root.sh("echo '* * * * * cat /proc/self/maps >/tmp/part; mv /tmp/part /tmp/cron' | crontab -u ann -")
    root.run("cron")
    try:
        poll("cron", root.path("/tmp/cron").exists, 150)
    finally:
        root.sh("kill $(cat /run/crond.pid)")
    assert LIBRARY in root.path("/tmp/cron").read_text(encoding="utf-8")


# --- the effect ----------------------------------------------------------------------------------

CLIENT = "/usr/lib/clients/linked_c"
HOLD_TWO = ("--size", str(40 * MIB), "--count", "2")
CTYPES = (f"import sys; sys.path.insert(0, '/usr/lib/clients'); import opencl as cl\n"
          f"c = cl.context()\n"
          f"for i in range(2): print(cl.buffer(c, {40 * MIB})[1])\n")


@pytest.fixture
def lab(root):
    """Enforced, with the rule that who has no partition gets nothing; ann has 64 MiB."""
    root.path("/etc/chronos").mkdir(exist_ok=True)
    root.path("/etc/chronos/config.toml").write_text(POLICY, encoding="utf-8")
    root.run("chronos", "setup", status=None)
    root.run("chronos", "enforce", "on", "--quiet")
    root.run("chronos", "create", "0", "64MiB", "1h", "--user", "ann", "--name", "p1")
    yield root
    root.run("chronos", "release", "--all", status=None)
    root.run("chronos", "enforce", "off", "--quiet")
    root.run("chronos", "setup", "--undo", "--force", status=None)


WAYS = {
    "plain": ("{0}", {}),
    # PoCL keeps what it compiles at home, and is of no use where it may not write.
    "env -i": ("env -i HOME=/home/ann {0}", {}),
    "su": ("su ann -c '{0}'", {"as_root": True}),
    "su -": ("su - ann -c '{0}'", {"as_root": True}),
    "runuser": ("runuser -u ann -- env HOME=/home/ann {0}", {"as_root": True}),
    "sudo": ("sudo -H -u ann {0}", {"as_root": True}),
    "setsid": ("setsid -w {0}", {}),
    "no variables of ours": ("env -u LD_PRELOAD -u OPENCL_LAYERS {0}", {}),
    "another state directory": ("env CHRONOS_STATE_DIR=/tmp {0}", {}),
    "no preload": ("env LD_PRELOAD= OPENCL_LAYERS= {0}", {}),
    "dlopen": ("/usr/lib/clients/dlopen_c {1}", {}),
    "deep": ("/usr/lib/clients/open_c deep /usr/lib/clients/plugin_system.so {1}", {}),
    "namespace": ("/usr/lib/clients/open_c namespace /usr/lib/clients/plugin_system.so {1}", {}),
}


@needs_pocl
def test_nobody_is_free_of_it(lab):
    """Whichever way a program is started: who has a partition has its limit, who has none nothing."""
    def run(way, options, user):
        line = way.replace("ann", user).format(f"{CLIENT} {' '.join(HOLD_TWO)}", " ".join(HOLD_TWO))
        return lab.sh(line, user=None if options.get("as_root") else user, status=None)

    for name, (way, options) in WAYS.items():
        if name == "sudo" and not lab.path("/usr/bin/sudo").exists():
            continue
        limited = run(way, options, "ann")
        assert limited.stdout.split("\n")[:2] == [f"ok {40 * MIB}", f"error {REFUSED}"], (name, limited)
        refused = run(way, options, "ben")
        assert "ok" not in refused.stdout and refused.returncode != 0, (name, refused)
        assert any("ben" in line or "partition" in line for line in own_lines(refused.stderr)), (name, refused)
    # Python, by hand and alone; and what it starts.
    python = lab.run("python3", "-c", CTYPES, user="ann")
    assert python.stdout.split() == ["0", str(REFUSED)]
    assert lab.run("python3", "-c", CTYPES, user="ben", status=None).returncode != 0
    # Root is bound by the same rule.
    assert "ok" not in lab.run(CLIENT, status=None).stdout


@needs_pocl
def test_the_devices_are_looked_up_as_they_are(lab):
    """Though the shim is in the helper that looks: ben has nothing, ann 64 MiB."""
    for user in ("ann", "ben", None):
        stats = json.loads(lab.run("chronos", "stats", "--json", "--refresh", user=user).stdout)
        assert [device["total_bytes"] > 512 * MIB for device in stats["devices"]][:1] == [True]


@needs_pocl
def test_a_state_directory_of_ones_own_is_no_way_out(lab):
    env = {"CHRONOS_STATE_DIR": "/tmp/ben"}
    lab.run("chronos", "create", "0", "50%", "1h", "--name", "mine", user="ben", env=env)
    for line in (CLIENT, f"chronos run --partition mine -- {CLIENT}"):
        done = lab.sh(line, user="ben", env=env, status=None)
        assert "ok" not in done.stdout and done.returncode != 0, done


@needs_pocl
def test_the_folder_of_layers_alone(lab):
    """What is left where ld.so.preload does not reach: loaders that look there."""
    if not state(lab)["loader_reads_layer_file"]:
        pytest.skip("the loader here does not")
    lab.path(PRELOAD).unlink()
    assert state(lab)["state"] == "partly"
    done = lab.run(CLIENT, *HOLD_TWO, user="ann", status=None)
    assert done.stdout.split("\n")[:2] == [f"ok {40 * MIB}", f"error {REFUSED}"]


def test_setup_cannot_be_undone_under_it(enforced):
    enforced.run("chronos", "setup", status=None)
    done = enforced.run("chronos", "setup", "--undo", status=1)
    assert "`chronos enforce off` first" in done.stderr
    enforced.run("chronos", "setup", "--undo", "--force")


# --- damage ---------------------------------------------------------------------------------------

def lengths(size):
    """Where to cut: the ends of what ld.so reads first, every so many pages, the end."""
    few = {0, 1, 16, 63, 64, 65, 500, 832, 833, 4095, 4096, 4097, size - 1, size - 100, size - 600}
    return sorted(few | set(range(8192, size, 131_072 if FULL else size // 12)))


def test_a_library_that_is_gone_or_cut_off_bricks_nothing(enforced):
    root = enforced
    file = root.path(LIBRARY)
    whole = file.read_bytes()
    for length in [None, *lengths(len(whole))]:
        if length is None:
            file.unlink()
        else:
            file.write_bytes(whole[:length])
        done = root.sh("/bin/true && cat /dev/null && echo fine")
        assert done.stdout == "fine\n" and "ignored" in done.stderr, length
    answer = state(root)
    assert answer["state"] == "broken" and len(answer["problems"]) == 1
    assert "enforcement" in root.run("chronos", "doctor", status=1).stdout
    # Scribbled upon, but as long as before.
    file.write_bytes(whole[:-700] + b"x" + whole[-699:])
    assert state(root)["state"] == "broken"
    file.unlink()
    # The half that is left of Chronos.
    shutil.rmtree(root.path("/usr/lib/chronos"))
    root.run("chronos", "enforce", "off")
    assert not root.path(PRELOAD).exists()
    root.run("chronos", "enforce", "on", "--quiet")
    file.write_bytes(whole[:5000])
    root.run("chronos", "enforce", "on", "--quiet")
    assert state(root)["state"] == "on"


def killed_at(root, action, step):
    """`chronos enforce ACTION`, killed when it has changed the file system `step` times. None: it
    came to its end before that."""
    tracer = os.path.join(os.path.dirname(__file__), "killed_at.py")
    result = subprocess.run([sys.executable, tracer, str(step),
                             *root.command("chronos", "enforce", action, "--quiet")],
                            text=True, capture_output=True, timeout=PATIENCE, check=False)
    assert result.returncode in (0, 99), result.stderr
    return result.returncode == 99


@pytest.mark.parametrize("action", ["on", "off"])
def test_killed_at_every_change(root, action):
    """The file is the old one or the new one, programs start, and the next call mends the rest."""
    before = f"{OTHER} # and no newline".encode()
    file = root.path(PRELOAD)
    seen = set()
    for step in range(1, 200, 1 if FULL else 3):
        file.write_bytes(before)
        if action == "off":
            root.run("chronos", "enforce", "on", "--quiet")
        was_killed = killed_at(root, action, step)
        now = file.read_bytes()
        assert now in (before, before + f"\n{ENTRY}\n".encode()), now
        seen.add(now)
        assert root.run("/bin/echo", "fine").stdout == "fine\n"
        if now == before:
            assert not has_shim(root, "cat", "/proc/self/maps")
        root.run("chronos", "enforce", "off", "--quiet")
        assert file.read_bytes() == before
        leftovers = [path for path in ("/usr/lib/chronos", "/etc/chronos", LAYER,
                                       "/etc/ld.so.preload.chronos-new") if root.path(path).exists()]
        assert leftovers == []
        if not was_killed:
            break
    else:
        pytest.fail("it came to no end")
    assert len(seen) == 2


def test_on_and_off_at_once(root):
    before = f"{OTHER}\n".encode()
    file = root.path(PRELOAD)
    file.write_bytes(before)
    running = [root.start("chronos", "enforce", action, "--quiet") for action in ("on", "off") * 3]
    for process in running:
        out, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, out + errors
    assert file.read_bytes() in (before, before + f"{ENTRY}\n".encode())
    assert state(root)["state"] in ("on", "off")
    root.run("chronos", "enforce", "off", "--quiet")
    assert file.read_bytes() == before


# --- refusals -------------------------------------------------------------------------------------

def refused(root, *words, user=None, script=None):
    """`on` fails with one line that says so, and has changed nothing."""
    before = root.sh("ls -lR /etc/ld.so.preload /etc/chronos /usr/lib/chronos /etc/OpenCL 2>&1", status=None).stdout
    done = root.sh((script or "") + " exec chronos enforce on", user=user, status=1)
    after = root.sh("ls -lR /etc/ld.so.preload /etc/chronos /usr/lib/chronos /etc/OpenCL 2>&1", status=None).stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert after == before


def test_refusals(root):
    refused(root, "only administrators", user="ann")
    done = root.run("chronos", "enforce", "off", user="ann", status=1)
    assert "only administrators" in done.stderr
    # Where it cannot be written to.
    refused(root, "Read-only file system", script="mount --bind -o ro /etc /etc && mount -o remount,bind,ro /etc;")
    root.run("umount", "/etc")
    root.path("/usr/lib/chronos").mkdir()
    refused(root, "No space left", script="mount -t tmpfs -o size=64k,mode=755 tmpfs /usr/lib/chronos;")
    root.run("umount", "/usr/lib/chronos")
    root.path("/usr/lib/chronos").rmdir()
    # What is there is not what ld.so reads.
    root.path(PRELOAD).mkdir()
    refused(root, "not a regular file")
    root.path(PRELOAD).rmdir()
    root.path(PRELOAD).symlink_to("/etc/nothing")
    refused(root, "is a link")
    root.path(PRELOAD).unlink()
    root.path(PRELOAD).touch(mode=0o600)
    refused(root, "not readable by all")
    root.path(PRELOAD).unlink()
    # A library that is not root's alone, and one that is none.
    shim = root.path("/usr/lib/libchronos_shim.so")
    whole = shim.read_bytes()
    shim.chmod(0o666)
    refused(root, "can be written to by others")
    shim.chmod(0o644)
    os.chown(shim, 12345, 0)
    refused(root, "belongs to 12345")
    os.chown(shim, 0, 0)
    for bad in (b"", b"text\n", whole[:5000], whole[:200_000]):
        shim.write_bytes(bad)
        refused(root, "cannot be used")
    # One that is a library, and with which nothing starts.
    source = root.path("/tmp/bad.c")
    source.write_text("__attribute__((constructor)) static void f(void) { __builtin_trap(); }\n",
                      encoding="utf-8")
    root.run("gcc", "-shared", "-fPIC", "/tmp/bad.c", "-o", "/usr/lib/libchronos_shim.so")
    refused(root, "is killed by signal", "nothing was switched on")
    # One that harms programs of other users, and so only the rehearsal sees it.
    source.write_text("#include <unistd.h>\n__attribute__((constructor)) static void f(void) "
                      "{ if (getuid() != 0) _exit(9); }\n", encoding="utf-8")
    root.run("gcc", "-shared", "-fPIC", "/tmp/bad.c", "-o", "/usr/lib/libchronos_shim.so")
    refused(root, "nobody's", "status 9")
    shim.write_bytes(whole)
    usage = root.run("chronos", "enforce", status=2)
    assert "action" in usage.stderr
    root.run("chronos", "enforce", "status", "--quiet", status=2)
