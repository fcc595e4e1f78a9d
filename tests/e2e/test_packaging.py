"""The Debian packages: what is in them, and that a machine of the test's own takes them, puts a newer
version over an older one under programs that run, and is as it was once they are gone."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from enforced_root import Root
from support import BUILD, FULL, LIBRARY, PATIENCE, ROOT, built

PACKAGES = ("chronos", "libchronos0", "libchronos-dev", "python3-chronos")
pytestmark = [built, pytest.mark.skipif(
    not (BUILD / "CPackConfig.cmake").exists() or not shutil.which("dpkg-shlibdeps"),
    reason="no build to pack, or no dpkg-dev")]


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=4 * PATIENCE, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages_in(folder, **options):
    env = {**os.environ, "CHRONOS_BUILD": str(BUILD), "CHRONOS_PACKAGE_COMPRESSION": "gzip"}
    return [Path(line) for line in run(ROOT / "scripts/package", "--into", folder, env=env).splitlines()]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    made = packages_in(folder)
    # The second time there is nothing to do.
    before = [path.stat().st_mtime_ns for path in made]
    assert packages_in(folder) == made
    assert [path.stat().st_mtime_ns for path in made] == before
    by_name = {path.name.split("_")[0]: path for path in made}
    assert set(by_name) == set(PACKAGES)
    return by_name


def field(package, name):
    return run("dpkg-deb", "-f", package, name).strip()


def listing(package):
    return {line.split(maxsplit=5)[5].split(" -> ")[0].removeprefix("."): line.split()
            for line in run("dpkg-deb", "-c", package).splitlines()}


def test_what_is_in_them(packages):
    triplet = run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()
    library = f"/usr/lib/{triplet}"
    inside = {name: listing(path) for name, path in packages.items()}
    for name, paths in {
        "chronos": ["/usr/bin/chronos", "/usr/bin/chronosd", f"{library}/chronos/libchronos_shim.so",
                    "/usr/libexec/chronos/chronos-probe", "/usr/lib/tmpfiles.d/chronos.conf",
                    "/usr/lib/systemd/user/chronosd.service", "/usr/share/man/man1/chronos-run.1.gz",
                    "/usr/share/man/man5/chronos-policy.5.gz",
                    "/usr/share/bash-completion/completions/chronos",
                    "/usr/share/zsh/vendor-completions/_chronos",
                    "/usr/share/fish/vendor_completions.d/chronos.fish"],
        "libchronos0": [f"{library}/libchronos.so.0"],
        "libchronos-dev": [f"{library}/libchronos.so", f"{library}/pkgconfig/chronos.pc",
                           "/usr/include/chronos.h"],
        "python3-chronos": ["/usr/lib/python3/dist-packages/chronos/__init__.py",
                            "/usr/lib/python3/dist-packages/chronos/pytest_plugin.py"],
    }.items():
        paths += [f"/usr/share/doc/{name}/copyright", f"/usr/share/doc/{name}/changelog.Debian.gz"]
        assert [path for path in paths if path not in inside[name]] == []
    # Each file is in one package, root's, and for all to read.
    files = [path for one in inside.values() for path in one if not path.endswith("/")]
    assert len(files) == len(set(files))
    for one in inside.values():
        for path, words in one.items():
            assert words[1] == "root/root" and words[0][7] == "r", path
            assert words[0][0] == "l" or "w" not in words[0][4:], path
    assert not [path for path in files if "__pycache__" in path or path.startswith("/etc")]
    assert re.search(r"libc6 \(>= 2\.\d+\)", field(packages["chronos"], "Depends"))
    assert "libopencl1" in field(packages["chronos"], "Recommends")
    assert field(packages["python3-chronos"], "Architecture") == "all"
    for path in packages.values():
        description = field(path, "Description").splitlines()
        assert len(description) > 3 and not description[0].startswith(("A ", "The "))
        assert len(description[0]) <= 80


@pytest.fixture
def machine():
    root = Root()
    yield root
    root.close()


def state_of(machine):
    """What this machine's copy has that the machine has not, but for dpkg's own notes and caches."""
    upper = Path(f"/proc/{machine.pid}/root{machine.folder}/upper")
    found = set()
    for path in upper.rglob("*"):
        name = "/" + str(path.relative_to(upper))
        if path.is_dir() and not path.is_symlink():
            continue
        if name.startswith(("/var/lib/dpkg/", "/var/cache/", "/var/log/", "/etc/ld.so.cache",
                            "/root/.cache/")):
            continue
        found.add(name)
    return found


def newer(package, folder, libraries=()):
    """The same package as version 0.1.1, with a few bytes more at the end of its libraries."""
    tree = folder / package.name
    run("dpkg-deb", "-R", package, tree)
    control = tree / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("0.1.0-1", "0.1.1-1"))
    for library in libraries:
        for path in tree.rglob(library):
            with path.open("ab") as file:
                file.write(b"newer")
    made = folder / package.name.replace("0.1.0-1", "0.1.1-1")
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, made)
    return made


def test_a_machine_takes_them_and_lets_them_go(packages, machine, tmp_path):
    if machine.sh("dpkg-query -W chronos libchronos0", status=None).returncode == 0:
        pytest.skip("Chronos is installed on this machine")
    place = machine.path("/tmp/packages")
    place.mkdir()
    for path in packages.values():
        shutil.copy(path, place)
    update = [newer(packages[name], tmp_path, ["libchronos_shim.so"]) for name in PACKAGES]
    before = state_of(machine)
    inside = [f"/tmp/packages/{packages[name].name}" for name in PACKAGES]
    machine.run("dpkg", "-i", *inside, timeout=3 * PATIENCE)
    if machine.sh("command -v systemd-tmpfiles", status=None).returncode == 0:
        assert machine.sh("stat -c '%a %U' /run/chronos").stdout == "1777 root\n"
        machine.sh("rmdir /run/chronos; systemd-tmpfiles --create chronos.conf; test -d /run/chronos")
        # `chronos setup` agrees with the package: it adds no file of its own.
        said = machine.sh("chronos setup; ls /etc/tmpfiles.d/chronos.conf", status=None)
        assert "(/usr/lib/tmpfiles.d/chronos.conf)" in said.stdout and said.returncode != 0
    machine.sh("mkdir -p /run/chronos; chmod 1777 /run/chronos; python3 -c '"
               "import chronos; chronos.Partitioner().list(); print(chronos.__file__)' |"
               " grep dist-packages; chronosd --version; chronos queue list; man -w chronos-run"
               " 2>/dev/null || true")
    machine.path("/tmp/use.c").write_text('#include <chronos.h>\n#include <stdio.h>\n'
                                          "int main(void) { return puts(chronos_version()) < 0; }\n")
    if shutil.which("pkg-config") and shutil.which("cc"):
        built = machine.sh("cc -o /tmp/use /tmp/use.c $(pkg-config --cflags --libs chronos) && /tmp/use")
        assert built.stdout == "0.1.0\n"
        assert "libchronos.so.0 " in machine.sh("ldd /tmp/use").stdout

    # A program under the shim, while a newer version comes.
    env = fake_driver(machine)
    machine.run("chronos", "create", "0", "64MiB", "1h", "--name", "p1", env=env)
    program = machine.start("chronos", "run", "--partition", "p1", "--", "/usr/bin/python3", "-c", HOLD, env=env)
    held = json.loads(program.stdout.readline())
    assert held["refused"] and held["shim"].endswith("/chronos/libchronos_shim.so")
    for path in update:
        shutil.copy(path, place)
    machine.run("dpkg", "-i", *(f"/tmp/packages/{path.name}" for path in update), timeout=3 * PATIENCE)
    assert machine.run("dpkg-query", "-W", "-f", "${Version}", "chronos").stdout == "0.1.1-1"
    program.stdin.write("again\n")
    program.stdin.flush()
    after = json.loads(program.stdout.readline())
    assert after["refused"] and after["fits"] and after["inode"] == held["inode"]  # its own library
    fresh = machine.run("chronos", "run", "--partition", "p1", "--", "/usr/bin/python3", "-c", HOLD, env=env)
    assert json.loads(fresh.stdout.splitlines()[0])["inode"] != held["inode"]
    assert json.loads(fresh.stdout.splitlines()[0])["refused"]
    program.stdin.close()
    assert program.wait(timeout=PATIENCE) == 0
    machine.run("chronos", "release", "p1", env=env)

    machine.sh("mkdir -p /etc/chronos; echo > /etc/chronos/config.toml")
    machine.run("dpkg", "-r", *PACKAGES, timeout=3 * PATIENCE)
    assert "/etc/chronos/config.toml" in state_of(machine)
    assert machine.path("/run/chronos").is_dir()
    machine.run("dpkg", "-P", *PACKAGES, timeout=3 * PATIENCE)
    assert not machine.path("/run/chronos").exists()
    machine.sh("rm -rf /root/.local/state/chronos /tmp/*")  # the queue is its user's
    left = {path for path in state_of(machine) - before if not is_whiteout(machine, path)}
    assert left == set()


def is_whiteout(machine, name):
    path = Path(f"/proc/{machine.pid}/root{machine.folder}/upper{name}")
    return path.is_char_device()


def fake_driver(machine):
    """A GPU on that machine. Returns the variables that name it."""
    folder = machine.path("/tmp/fake/vendors")
    folder.mkdir(parents=True)
    # A copy: where this is built may be hidden from that machine.
    driver = folder.parent / LIBRARY.name
    shutil.copy(LIBRARY, driver)
    (folder / "fake.icd").write_text(f"/tmp/fake/{LIBRARY.name}\n", encoding="utf-8")
    (folder.parent / "fake.json").write_text('{"back_memory": false}\n', encoding="utf-8")
    return {"OCL_ICD_VENDORS": "/tmp/fake/vendors/", "CHRONOS_FAKE_DRIVER": "/tmp/fake/fake.json"}


# Allocates what does not fit and what does, and says which file the shim is.
HOLD = r"""
import ctypes, json, os, sys
cl = ctypes.CDLL("libOpenCL.so.1")
def call(name, *arguments):
    function = getattr(cl, name); function.restype = ctypes.c_void_p
    return function(*arguments)
platform, device, error = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
cl.clGetPlatformIDs(1, ctypes.byref(platform), None)
cl.clGetDeviceIDs(platform, ctypes.c_uint64(0xFFFFFFFF), 1, ctypes.byref(device), None)
context = ctypes.c_void_p(call("clCreateContext", None, 1, ctypes.byref(device), None, None, ctypes.byref(error)))
def allocate(mib):
    made = call("clCreateBuffer", context, ctypes.c_uint64(1), ctypes.c_size_t(mib << 20), None, ctypes.byref(error))
    if made: cl.clReleaseMemObject(ctypes.c_void_p(made))
    return error.value
def say():
    for line in open("/proc/self/maps"):
        if "libchronos_shim.so" in line: break
    words = line.split()
    print(json.dumps({"refused": allocate(100) == -4, "fits": allocate(32) == 0,
                      "shim": words[5], "inode": words[4]}), flush=True)
say()
for _ in sys.stdin: say()
"""


def test_lintian(packages):
    if not FULL or shutil.which("lintian") is None:
        pytest.skip("full level, with lintian")
    said = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", *packages.values()],
                          text=True, capture_output=True, timeout=5 * PATIENCE, check=False)
    assert (said.returncode, said.stdout) == (0, "")
    overridden = run("lintian", "--allow-root", "--show-overrides", *packages.values())
    assert {line.split(": ")[2].split()[0] for line in overridden.splitlines() if line.startswith("O:")} \
        <= {"initial-upload-closes-no-bugs", "maintscript-calls-ldconfig"}
