"""The scripts that install, build and test: they parse, they do what they say, and nothing more."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [*sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file()), ROOT / ".ci/run"]


def run(command, **options):
    """A finished process with its stdout and stderr as text; never reads the terminal."""
    defaults = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 120}
    return subprocess.run([str(word) for word in command], **{**defaults, **options})


def shell(folder, code, **options):
    """Runs bash code that has sourced the scripts' library of the clone in `folder`."""
    return run(["bash", "-c", f"set -euo pipefail; source '{folder}/scripts/lib.sh'; {code}"], **options)


@pytest.fixture
def clone():
    """A copy of the scripts that every user may read, and that tests may write in."""
    folder = Path(tempfile.mkdtemp(prefix="chronos-scripts-"))
    folder.chmod(0o755)
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for part in ("tests", "docs"):
        for path in (ROOT / part).rglob("*requirements.txt"):
            there = folder / path.relative_to(ROOT)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, there)
    (folder / "bin").mkdir()
    yield folder
    shutil.rmtree(folder)


def fake(folder, name, code):
    """A command that is found before the real one by whoever runs with fakes_first(folder)."""
    path = folder / "bin" / name
    path.write_text(f"#!/bin/bash\n{code}\n")
    path.chmod(0o755)


def fakes_first(folder, **extra):
    return {**os.environ, "PATH": f"{folder}/bin:/usr/bin:/bin", "FAKES": str(folder / "bin"), **extra}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_parses(script):
    assert run(["bash", "-n", script]).stderr == ""


def test_shellcheck_has_nothing_to_say():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    checked = run(["shellcheck", "-x", *SCRIPTS], cwd=ROOT)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", ["deps", "build", "test", "demo", "install", "package"])
def test_help_and_bad_usage(name):
    shown = run([ROOT / "scripts" / name, "--help"])
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"scripts/{name}")
    assert "set -euo" not in shown.stdout
    refused = run([ROOT / "scripts" / name, "--nonsense"])
    assert refused.returncode == 2
    assert "--nonsense" in refused.stderr


def test_ci_runs_the_same_test_script():
    text = (ROOT / ".ci/run").read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert "scripts/test" in text
    assert os.access(ROOT / ".ci/run", os.X_OK)


# --- deps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [["--build"], ["--demo"], []], ids=["build", "demo", "all"])
def test_deps_touches_nothing_when_all_is_there(clone, scope):
    if not scope and not (ROOT / "build/venv/.stamp").exists():
        pytest.skip("PyOpenCL's wheel could not be fetched: scripts/deps has something left to do")
    for name in ["apt-get", "apt", "sudo", "pip", "pip3", "mkdir", "rm"]:
        fake(clone, name, 'echo "$0 $*" >>"$FAKES/called"; exit 1')
    took = []
    for _ in range(3):
        start = time.monotonic()
        done = run([ROOT / "scripts/deps", *scope], env=fakes_first(clone))
        took.append(time.monotonic() - start)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (clone / "bin/called").exists()
    assert min(took) < 0.5


def as_stranger():
    """The words that make a command run as somebody without rights, whoever runs the tests."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def test_deps_names_what_an_administrator_must_install(clone):
    fake(clone, "dpkg-query", '/usr/bin/dpkg-query "$@" | grep -v " cmake$"')
    fake(clone, "sudo", "exit 1")
    fake(clone, "apt-get", 'echo called >>"$FAKES/called"; exit 1')
    done = run([*as_stranger(), clone / "scripts/deps", "--build"], env=fakes_first(clone), cwd="/")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].strip() == "apt-get install --no-install-recommends cmake"
    assert not (clone / "bin/called").exists()


FAKE_APT = """
echo "$*" >>"$FAKES/apt"
case " $* " in
  *" update "*) [[ -e $FAKES/updated ]] && exit 0; touch "$FAKES/updated"; exit 100 ;;
  *" install "*) [[ -e $FAKES/broken ]] && { echo "E: the disk is full"; exit 100; }
    touch "$FAKES/installed" ;;
esac
"""


def deps_with_fake_apt(clone):
    fake(clone, "dpkg-query", 'out=$(/usr/bin/dpkg-query "$@"); '
         '[[ -e $FAKES/installed ]] || out=$(grep -v " cmake$" <<<"$out"); echo "$out"')
    fake(clone, "sudo", 'while [[ $1 == -* ]]; do shift; done; exec "$@"')
    fake(clone, "apt-get", FAKE_APT)
    return run([clone / "scripts/deps", "--build"], env=fakes_first(clone))


def test_deps_installs_only_what_is_missing_and_updates_again_once(clone):
    done = deps_with_fake_apt(clone)
    assert done.returncode == 0, done.stderr
    calls = (clone / "bin/apt").read_text().splitlines()
    assert [("update" in call, "install" in call) for call in calls] == [
        (True, False), (True, False), (False, True)]
    assert calls[-1].endswith("install -y --no-install-recommends cmake")
    assert all("-o DPkg::Lock::Timeout=120" in call for call in calls)


def test_deps_shows_why_apt_failed(clone):
    (clone / "bin/broken").touch()
    done = deps_with_fake_apt(clone)
    assert done.returncode == 1
    assert "E: the disk is full" in done.stderr


@pytest.mark.parametrize("ci, scope", [("", "--full"), ("true", "")], ids=["full", "ci"])
def test_deps_without_pypi(clone, ci, scope):
    """Skips the wheels with a word of each; where CI=true, that is an error."""
    fake(clone, "apt-cache", "[[ $2 == bash ]]")  # a distribution without the full matrix's programs
    clean = {key: value for key, value in os.environ.items()
             if not key.upper().endswith("_PROXY") and not key.startswith("PIP_")}
    # pip waits longer from retry to retry, which shows nothing here.
    deps = clone / "scripts/deps"
    text = deps.read_text()
    assert "retries=8" in text
    deps.write_text(text.replace("retries=8", "retries=2"))
    fakes = fakes_first(clone)
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_CONFIG_FILE": os.devnull, "CI": ci}
    done = run([clone / "scripts/deps", *scope.split()], timeout=300,
               env={**clean, **nowhere, "PATH": fakes["PATH"], "FAKES": fakes["FAKES"]})
    assert (done.returncode == 0) == (ci == "")
    assert "could not be fetched from PyPI" in (done.stderr if ci else done.stdout)
    if not ci:
        assert done.stdout.count("will be skipped") == 5
    assert not list(clone.glob("build/**/venv"))


# --- steps and counting -----------------------------------------------------------------------------


def test_a_failing_step_shows_the_end_of_its_log(clone):
    done = shell(clone, "prepare_build_folder; "
                 "step 'the title' it.log 10 bash -c 'echo early; echo late >&2; exit 7'")
    assert done.returncode == 7
    assert "FAILED the title (status 7" in done.stdout
    assert "   | late" in done.stdout
    assert (clone / "build/logs/it.log").read_text() == "early\nlate\n"


def test_a_step_is_bounded_and_gets_no_stdin(clone):
    done = shell(clone, "prepare_build_folder; step eof it.log 10 cat; step slow it.log 1 sleep 60",
                 stdin=subprocess.PIPE, timeout=30)
    assert done.returncode == 124
    assert "ok eof" in done.stdout
    assert "longer than 1 s" in done.stdout


def test_a_step_runs_with_default_signals(clone):
    ask = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = shell(clone, f"prepare_build_folder; step ask it.log 10 {sys.executable} -c '{ask}'")
    assert done.returncode == 0
    assert (clone / "build/logs/it.log").read_text() == "True\n"


def test_an_interrupted_step_leaves_nothing_running(clone):
    code = ("set -euo pipefail; source scripts/lib.sh; prepare_build_folder; "
            "step slow it.log 60 bash -c 'echo $$; exec sleep 60'")
    script = subprocess.Popen(["bash", "-c", code], cwd=clone, stdout=subprocess.PIPE, text=True)
    log = clone / "build/logs/it.log"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    pid = int(log.read_text())
    script.send_signal(signal.SIGTERM)
    # Ends only when everything that holds the pipe has ended.
    script.communicate(timeout=120)
    assert script.returncode == 143
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "kind, status, text, expected",
    [
        ("catch2", 0, "All tests passed (1,204 assertions in 37 test cases)", (37, 0, 0)),
        ("catch2", 0, "All tests passed (1 assertion in 1 test case)", (1, 0, 0)),
        ("catch2", 1, "test cases: 12 | 9 passed | 3 failed", (9, 3, 0)),
        ("catch2", 0, "test cases: 5 | 3 passed | 1 skipped | 1 failed as expected", (4, 0, 1)),
        ("catch2", 1, "test cases:  11 |  9 passed | 1 failed | 1 failed as expected", (10, 1, 0)),
        ("catch2", 0, "test cases: 2 | 2 skipped", (0, 0, 2)),
        ("catch2", 0, "No test cases matched '[threads]'", (0, 1, 0)),
        ("catch2", 139, "nothing but a crash", (0, 1, 0)),
        ("catch2", 1, "All tests passed (3 assertions in 2 test cases)\nleak!", (2, 1, 0)),
        ("pytest", 0, "40 passed in 75.31s (0:01:15)", (40, 0, 0)),
        ("pytest", 1, "== 3 failed, 41 passed, 2 skipped, 1 xfailed, 1 error in 3.21s ==", (42, 4, 2)),
        ("pytest", 5, "7 deselected in 0.12s", (0, 1, 0)),
        ("pytest", 2, "1 warning, 1 error in 0.50s", (0, 1, 0)),
        ("pytest", 124, "....", (0, 1, 0)),
        ("script", 0, "model\n14 passed, 0 failed", (14, 0, 0)),
        ("script", 1, "14 passed, 2 failed, 1 skipped", (14, 2, 1)),
        ("script", 0, "no closing line", (1, 0, 0)),
        ("script", 3, "no closing line", (0, 1, 0)),
        ("script", 1, "14 passed, 0 failed", (14, 1, 0)),
    ],
)
def test_counting(tmp_path, kind, status, text, expected):
    (tmp_path / "log").write_text(text + "\n")
    counted = run(["bash", "-euo", "pipefail", "-c",
                   f"source {ROOT}/scripts/counting.sh; count_{kind} {status} {tmp_path}/log; "
                   'echo "$passed $failed $skipped"'])
    assert counted.stdout.split() == [str(number) for number in expected], counted.stderr


# --- the repository ---------------------------------------------------------------------------------

NOT_OURS = {".git", "build", "dist", "__pycache__", ".pytest_cache", ".ruff_cache"}


def repository_files():
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.endswith(".egg-info")]
        for name in files:
            path = Path(folder, name)
            if name != ".git" and path.is_file():
                yield path


def lines_with(pattern):
    found = []
    for path in repository_files():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if re.search(pattern, line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return found


def test_no_path_of_the_machine_it_was_built_on():
    # Written in pieces, so that this file does not hold what it looks for.
    places = [re.escape(str(ROOT)), "/" + r"work/\w", "/" + r"home/(?!alice|ann|bob|user)\w", "/" + r"root/\w"]
    assert lines_with("|".join(places)) == []


def test_no_registry_of_packages_is_named():
    hosts = [r"pkg\.dev", "artifact" + r"(ory|registry)", r"jfrog\.", r"pypi\." + "org", "python" + "hosted",
             r"deb\.debian\." + "org", r"\.(internal|corp)\b", "trusted" + "-host", "index" + "-url"]
    assert [line for line in lines_with("(?i)" + "|".join(hosts)) if "test_scripts.py" not in line] == []
