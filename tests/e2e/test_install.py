"""`cmake --install` gives a tree that works from wherever it is moved to; scripts/install replaces
every file as a whole, and takes away what it has put there and nothing else."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from conftest import BUILD
from enforced_root import Root
from support import FULL, PATIENCE, ROOT
from support import box, fake_box  # noqa: F401


@pytest.fixture
def moved_tree(tmp_path):
    if not (BUILD / "CMakeCache.txt").exists():
        pytest.skip("the build has no CMakeCache.txt: it is an installed tree itself")
    first = tmp_path / "first"
    subprocess.run(["cmake", "--install", BUILD, "--prefix", first], check=True,
                   stdout=subprocess.DEVNULL)
    second = tmp_path / "moved" / "here"
    second.parent.mkdir()
    shutil.move(first, second)
    return second


def test_a_moved_installation_works(moved_tree, chronos, fake_driver):
    program = next(moved_tree.glob("bin/chronos"))
    env = {name: value for name, value in chronos.env.items() if not name.startswith("CHRONOS_LIB")}

    def run(*args):
        return subprocess.run([program, *args], env=env, capture_output=True, text=True, timeout=60)

    made = run("create", "0", "0.5", "1h", "--name", "p1")
    assert made.returncode == 0, made.stderr
    seen = run("run", "--partition", "p1", "--", "sh", "-c", 'echo "$LD_PRELOAD"')
    shim = Path(seen.stdout.strip())
    assert shim.is_relative_to(moved_tree) and shim.exists()
    refused = run("run", "--partition", "p1", "--", BUILD / "tests" / "clients" / "linked_c",
                  "--size", str(6 << 30))
    assert refused.returncode == 3 and "partition p1: refused" in refused.stderr
    assert run("release", "p1").returncode == 0


def test_nothing_in_it_names_where_it_was_built(moved_tree):
    build = os.fsencode(BUILD)
    for file in moved_tree.rglob("*"):
        if file.is_file() and file.suffix != ".debug" and os.access(file, os.X_OK):
            dynamic = subprocess.run(["readelf", "-d", file], capture_output=True, check=False).stdout
            assert b"RUNPATH" not in dynamic and b"RPATH" not in dynamic
            assert build not in dynamic


# --- scripts/install --------------------------------------------------------------------------------

INSTALL = ROOT / "scripts" / "install"
MANIFEST = "share/chronos/manifest"
PARTS = ("bin/chronos", "bin/chronosd", "lib/libchronos_shim.so", "lib/libchronos.so.0", "include/chronos.h",
         "libexec/chronos/chronos-probe", "lib/pkgconfig/chronos.pc",
         "share/bash-completion/completions/chronos", "share/zsh/site-functions/_chronos",
         "share/fish/vendor_completions.d/chronos.fish", "share/man/man1/chronos-run.1",
         "share/man/man5/chronos-policy.5", "share/systemd/user/chronosd.service")


def script(*arguments, status=0, build=BUILD, **options):
    options.setdefault("env", {**os.environ, "CHRONOS_BUILD": str(build)})
    done = subprocess.run([str(word) for word in (INSTALL, *arguments)], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=2 * PATIENCE, check=False, **options)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def tree(folder):
    """Everything in it, with what files hold."""
    return {str(path.relative_to(folder)):
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))}


@pytest.fixture
def prefix():
    if not (BUILD / "CMakeCache.txt").exists():
        pytest.skip("the build has no CMakeCache.txt: it is an installed tree itself")
    # In memory: what is installed is synced to the disk, which others may keep busy.
    folder = Path(tempfile.mkdtemp(prefix="chronos-install-", dir="/dev/shm"))
    yield folder / "made" / "prefix"
    shutil.rmtree(folder)


def test_install_and_uninstall_without_a_trace(prefix, tmp_path, box):
    said = script("--prefix", prefix).stdout
    assert f"Installed Chronos 0.1.0 in {prefix}\n" in said
    assert [part for part in PARTS if not (prefix / part).exists()] == []
    assert f"ExecStart={prefix}/bin/chronosd\n" in (prefix / PARTS[-1]).read_text()
    installed = tree(prefix)
    box.command = prefix / "bin" / "chronos"
    box.chronos("create", 0, "50%", "1h", "--name", "p1")
    # Again, over a program that runs: nothing changes, and its library is not touched.
    program = subprocess.Popen([prefix / "bin" / "chronos", "run", "--partition", "p1", "--", "cat"],
                               env=box.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    before = (prefix / "lib/libchronos_shim.so").stat().st_ino
    script("--prefix", prefix)
    assert tree(prefix) == installed
    assert (prefix / "lib/libchronos_shim.so").stat().st_ino != before  # a file of its own
    program.communicate(b"", timeout=PATIENCE)
    assert program.returncode == 0
    # Nothing but the list is needed to take it away.
    done = script("--prefix", prefix, "--uninstall", build=tmp_path / "gone")
    assert done.stdout == f"Chronos is no longer in {prefix}\n"
    assert not prefix.parent.exists()
    again = script("--prefix", prefix, "--uninstall", status=1)
    assert "has installed nothing in" in again.stderr


def test_what_is_not_its_own_stays(prefix):
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "chronos").write_text("somebody's")
    (prefix / "share" / "man").mkdir(parents=True)
    before = tree(prefix)
    refused = script("--prefix", prefix, status=1)
    assert f"{prefix}/bin/chronos is there and is not of scripts/install" in refused.stderr
    assert tree(prefix) == before
    (prefix / "bin" / "chronos").unlink()
    script("--prefix", prefix)
    (prefix / "include" / "chronos.h").write_text("changed since")
    (prefix / "share" / "man" / "man1" / "own.1").write_text("own")
    kept = script("--prefix", prefix, "--uninstall", status=1)
    assert kept.stderr == f"install: kept {prefix}/include/chronos.h, which is not as it was installed\n"
    assert {path for path, text in tree(prefix).items() if text is not None} == \
        {"include/chronos.h", "share/man/man1/own.1"}
    assert (prefix / "bin").is_dir()  # it was there before


def test_bad_input(prefix, tmp_path):
    for arguments, said in [(["--prefix", "relative"], "--prefix needs an absolute path"),
                            (["--prefix"], "--prefix needs a folder"),
                            (["--user", "--prefix", "/x"], "contradict"),
                            (["--nonsense"], "unknown argument --nonsense")]:
        assert script(*arguments, status=2).stderr.startswith("install: ") and said
        assert said in script(*arguments, status=2).stderr
    assert "without blanks and colons" in script("--prefix", "/a b", status=1).stderr
    (tmp_path / "file").write_text("")
    assert "it is no folder" in script("--prefix", tmp_path / "file" / "x", status=1).stderr
    assert "there is no build in" in script("--prefix", prefix, status=1, build=tmp_path).stderr
    (prefix / "share" / "chronos").mkdir(parents=True)
    for line in ("f\tabc\t../../etc/passwd", "f\tabc\t/etc/passwd", "x\ty\tz", "d\ta/../../b"):
        (prefix / MANIFEST).write_text(f"chronos\t0.1.0\n{line}\n")
        refused = script("--prefix", prefix, "--uninstall", status=1)
        assert refused.stderr == f"install: {prefix}/{MANIFEST} is damaged in line 2; nothing was changed\n"


def test_for_packagers(prefix, tmp_path):
    script("--prefix", "/opt/x", "--destdir", tmp_path / "stage")
    assert "ExecStart=/opt/x/bin/chronosd\n" in (tmp_path / "stage/opt/x" / PARTS[-1]).read_text()
    assert not Path("/opt/x").exists()
    script("--prefix", "/opt/x", "--destdir", tmp_path / "stage", "--uninstall")
    assert not (tmp_path / "stage").exists()


def test_an_older_version_is_replaced(prefix):
    """What it had and this one has not goes; what is interrupted is finished by the next."""
    script("--prefix", prefix)
    new = tree(prefix)
    lines = (prefix / MANIFEST).read_text().splitlines()
    (prefix / "bin" / "chronos").write_text("old")
    (prefix / "lib" / "old.so").write_text("old")
    old = "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"  # of "old"
    lines = [f"f\t{old}\tbin/chronos" if line.endswith("\tbin/chronos") else line for line in lines]
    (prefix / MANIFEST).write_text("\n".join([*lines, f"f\t{old}\tlib/old.so"]) + "\n")
    (prefix / "bin" / ".chronos.chronos-new").write_text("half")  # of one that was killed
    script("--prefix", prefix)
    assert tree(prefix) == new


def killer(folder, call):
    """kill_at(N, prefix) installs there, and kills the script at its Nth `call`; that itself is made
    half of the times."""
    count = folder / "count"
    (folder / call).write_text(f"""#!/bin/bash
echo >>{count}
if (($(wc -l <{count}) == $KILL_AT)); then ((KILL_AT % 2)) || /usr/bin/{call} "$@"; kill -9 $PPID; exit; fi
exec /usr/bin/{call} "$@"
""")
    (folder / call).chmod(0o755)

    def kill_at(at, prefix):
        count.unlink(missing_ok=True)
        return subprocess.run([INSTALL, "--prefix", prefix], capture_output=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=2 * PATIENCE,
                              env={**os.environ, "CHRONOS_BUILD": str(BUILD), "KILL_AT": str(at),
                                   "PATH": f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin"})
    return kill_at


def test_killed_the_first_time(prefix, tmp_path):
    """The list names everything before it is there, so that it can be taken away again."""
    kill_at = killer(tmp_path, "mv")
    assert kill_at(20, prefix).returncode == -signal.SIGKILL
    assert not (prefix / "bin" / "chronosd").exists() and (prefix / "lib" / "libchronos_shim.so").exists()
    script("--prefix", prefix, "--uninstall")
    assert not prefix.exists()


@pytest.mark.parametrize("call", ["cp", "mv", "sync", "mkdir"] if FULL else ["mv"])
def test_killed_at_any_call(prefix, tmp_path, call):
    """Every file is the old one or the new one, and the next call goes on from there."""
    script("--prefix", prefix)
    new = tree(prefix)
    (prefix / "lib" / "libchronos_shim.so").write_text("old")
    old = "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4"
    manifest = (prefix / MANIFEST).read_text().splitlines()
    (prefix / MANIFEST).write_text("\n".join(
        f"f\t{old}\tlib/libchronos_shim.so" if line.endswith("\tlib/libchronos_shim.so") else line
        for line in manifest if not line.endswith("\tbin/chronosd")) + "\n")
    (prefix / "bin" / "chronosd").unlink()
    (prefix / "bin").rename(prefix / "bin2")  # so that there is a folder to make
    shutil.rmtree(prefix / "bin2")
    kill_at = killer(tmp_path, call)
    killed = 0
    for at in (1, 2, 5, 30) if FULL else (25,):
        done = kill_at(at, prefix)
        killed += done.returncode == -signal.SIGKILL
        for path, content in tree(prefix).items():
            if path.endswith(".chronos-new") or path.startswith(MANIFEST):
                continue
            assert content == new[path] or (path, content) == ("lib/libchronos_shim.so", b"old"), path
    assert killed
    script("--prefix", prefix)
    assert tree(prefix) == new
    script("--prefix", prefix, "--uninstall")
    assert not prefix.exists()


@pytest.mark.skipif(not FULL, reason="full level")
def test_two_at_once(prefix):
    threads = [threading.Thread(target=script, args=("--prefix", prefix)) for _ in range(2)]
    script("--prefix", prefix)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    script("--prefix", prefix, "--uninstall")
    assert not prefix.exists()


def test_a_user_without_root_and_root():
    """All of it from ~/.local, by somebody who may write nowhere else; and /usr/local."""
    if not (BUILD / "CMakeCache.txt").exists():
        pytest.skip("the build has no CMakeCache.txt: it is an installed tree itself")
    root = Root()
    try:
        root.sh("useradd -m userone || exit 77")
        root.sh(f"chown userone {BUILD}; cd {BUILD}; touch install_manifest.txt; chown userone install_manifest.txt")
        if root.sh(f"test -r {INSTALL}", user="userone", status=None).returncode != 0:
            pytest.skip("others may not read the sources")
        env = {"CHRONOS_BUILD": str(BUILD)}
        refused = root.run(INSTALL, user="userone", status=1, env=env)
        assert refused.stderr.splitlines()[0] == \
            "install: cannot write to /usr/local as userone; nothing was changed" or \
            "cannot write to /usr/local/" in refused.stderr
        said = root.run(INSTALL, "--user", user="userone", env=env).stdout
        assert "Installed Chronos 0.1.0 in /home/userone/.local" in said
        home = root.path("/home/userone")
        assert [part for part in PARTS if not (home / ".local" / part).exists()] == []
        local = "/home/userone/.local/bin"
        made = root.sh(f"{local}/chronos create 0 64MiB 1h --name p1 && {local}/chronos run --partition p1"
                       f" -- sh -c 'echo $LD_PRELOAD' && {local}/chronos queue list &&"
                       f" {local}/chronos release p1 && {local}/chronos doctor | grep '^ok      installation'",
                       user="userone", status=None)
        if "no OpenCL" not in made.stderr:
            assert made.returncode == 0, made.stdout + made.stderr
            assert "/home/userone/.local/lib/libchronos_shim.so\n" in made.stdout
        root.run(INSTALL, "--user", "--uninstall", user="userone")
        left = root.sh("cd ~; find .local -type f -o -name chronos", user="userone").stdout
        assert set(left.split()) <= {".local/state/chronos"} or ".local/state/chronos/queue.db" in left
        assert "bin" not in os.listdir(home / ".local")
        # Root's, which is not taken away under programs that are made to load it.
        root.run(INSTALL, env=env)
        assert root.run("chronos", "--version").stdout == "chronos 0.1.0\n"
        root.sh("echo /usr/lib/chronos/libchronos_shim.so > /etc/ld.so.preload")
        refused = root.run(INSTALL, "--uninstall", status=1)
        assert "is made to load Chronos (/etc/ld.so.preload); nothing was changed" in refused.stderr
        assert root.path("/usr/local/bin/chronos").exists()
        root.sh("rm /etc/ld.so.preload")
        root.run(INSTALL, "--uninstall")
        assert not root.path("/usr/local/bin/chronos").exists()
    finally:
        root.close()
