"""What the tests of the Python package share."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CHRONOS_BUILD", ROOT / "build" / "release")).resolve()
sys.path.insert(0, str(ROOT / "python"))
os.environ.setdefault("CHRONOS_LIBRARY", str(BUILD / "lib" / "libchronos.so"))

from chronos import Partitioner  # noqa: E402

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts as other users")


@pytest.fixture(autouse=True)
def state_dir(monkeypatch):
    path = tempfile.mkdtemp(prefix="chronos-e2e-", dir="/dev/shm")
    os.chmod(path, 0o1777)
    monkeypatch.setenv("CHRONOS_STATE_DIR", path)
    monkeypatch.delenv("CHRONOS_PARTITION", raising=False)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def partitioner():
    return Partitioner()


def python(code, interpreter=sys.executable, warnings=("-W", "error"), timeout=60, **kwargs):
    """A Python program of its own; its output."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    done = subprocess.run(
        [interpreter, *warnings, "-c", code],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        timeout=timeout,
        **kwargs,
    )
    assert done.returncode == 0
    return done.stdout


def as_nobody(code):
    """Runs Python code as `nobody`, with a copy of package and library that nobody can read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        installation = flat_installation(Path(folder))
        return python(
            f"import sys; sys.path.insert(0, {folder!r})\n"
            f"import os; os.environ['CHRONOS_LIBRARY'] = {str(installation)!r}\n" + code,
            interpreter="/usr/bin/python3",  # one under /root would be closed to nobody
            user=65534,
            group=65534,
            extra_groups=[],
            cwd="/",
        )


def flat_installation(folder):
    """Library, helper and shim and command in one folder, as in a wheel; the library's path."""
    shutil.copytree(ROOT / "python" / "chronos", folder / "chronos")
    home = folder / "chronos"
    shutil.copy(os.environ["CHRONOS_LIBRARY"], home / "libchronos.so")
    shutil.copy(BUILD / "libexec" / "chronos" / "chronos-probe", home)
    shutil.copy(BUILD / "lib" / "libchronos_shim.so", home)
    shutil.copy(BUILD / "bin" / "chronos", home)
    return home / "libchronos.so"
