"""The README's first command: it shows what it promises, notices when it does not, leaves nothing."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def demo(*prefix, **environment):
    return subprocess.run(
        [*prefix, str(ROOT / "scripts/demo")],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )


def state_dir(output):
    (path,) = re.findall(r"CHRONOS_STATE_DIR=(/dev/shm/\S+)", output)
    return Path(path)


def test_demo_shows_the_main_job_and_leaves_nothing(tmp_path):
    done = demo(TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout
    assert not state_dir(done.stdout).exists()
    assert list(tmp_path.iterdir()) == []

    lines = done.stdout.splitlines()
    commands = [line[2:] for line in lines if line.startswith("$ ")]
    assert "chronos create 0 1GiB 1h --name demo" in commands
    assert "chronos run --partition demo -- python3 examples/train.py" in commands
    # Each command stands before what it printed.
    assert lines.index("$ chronos release demo") < lines.index("Partition demo released")
    assert lines[-1] == "All as it should be."
    assert "\x1b[" not in done.stdout


def test_demo_fails_where_something_is_not_as_shown(tmp_path):
    """Without any OpenCL driver the first command fails already, and the demo says which it was."""
    done = demo(TMPDIR=str(tmp_path), OCL_ICD_VENDORS=str(tmp_path), OCL_ICD_FILENAMES="")
    assert done.returncode == 1
    assert "demo: `chronos stats` ended with status 1, expected 0" in done.stdout
    assert not state_dir(done.stdout).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to hide /sys")
@pytest.mark.skipif(
    not Path("/etc/OpenCL/vendors/pocl.icd").exists(), reason="needs PoCL, as Debian installs it"
)
def test_demo_says_that_pocl_needs_sys():
    hide = 'mount -t tmpfs none /sys && exec "$0"'
    try:
        subprocess.run(["unshare", "-m", "true"], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        pytest.skip("no mount namespaces here")
    done = demo("unshare", "-m", "sh", "-c", hide)
    assert done.returncode == 1
    assert "/sys is not mounted" in done.stdout
