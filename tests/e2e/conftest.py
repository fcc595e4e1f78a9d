"""Fixtures of the end-to-end tests: the built `chronos`, a state directory and a driver each.

CHRONOS_BUILD names the build to test (default build/release).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fake import BUILD, GIB, LIBRARY, FakeDriver  # noqa: E402

# What a caller's own shell may have set and a test must not depend on.
CLEARED = ("CHRONOS_PARTITION", "CHRONOS_STATE_DIR", "CHRONOS_CONFIG", "CHRONOS_LOG", "LD_PRELOAD",
           "OPENCL_LAYERS", "OCL_ICD_VENDORS", "OCL_ICD_FILENAMES", "NO_COLOR", "LC_ALL",
           "PYTHONPATH")


def pytest_collection_modifyitems(items):
    """With several workers, spreads the long tests over the starts of the chunks that these get."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0))
    if workers < 2 or len(items) < 20 * workers:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    chunk = len(items) // workers // 4  # of pytest-xdist's first distribution
    for worker in range(workers):
        others[worker * chunk:worker * chunk] = long[worker::workers]
    items[:] = others


class Chronos:
    """Calls the command line: `chronos("create", 0, 0.5, 60)` returns a CompletedProcess.

    `env` is the environment of each call; a test may change it.
    """

    def __init__(self, path, env):
        self.path = str(path)
        self.env = env

    def command(self, *arguments):
        return [self.path, *(str(argument) for argument in arguments)]

    def __call__(self, *arguments, timeout=60, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("text", True)
        return subprocess.run(self.command(*arguments), env=self.env, timeout=timeout, check=False,
                              **options)

    def start(self, *arguments, **options):
        """The command as a Popen with pipes of text."""
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen(self.command(*arguments), env=self.env, text=True, **options)


@pytest.fixture(scope="session")
def chronos_path():
    path = BUILD / "bin" / "chronos"
    assert path.exists(), f"{path} is not built"
    return path


@pytest.fixture
def state_dir():
    """A state directory of the test's own, in shared memory, open to all users as /dev/shm is."""
    path = Path(tempfile.mkdtemp(prefix="chronos-e2e-", dir="/dev/shm"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def base_env(chronos_path, state_dir):
    """The environment without any particular driver: what the system has (PoCL)."""
    env = {name: value for name, value in os.environ.items() if name not in CLEARED}
    env["CHRONOS_STATE_DIR"] = str(state_dir)
    env["PATH"] = f"{chronos_path.parent}:{env['PATH']}"
    env["LANG"] = "C.UTF-8"
    return env


@pytest.fixture
def fake_driver(tmp_path):
    """A driver with one GPU of 10 GiB; `fake_driver.witness()` tells what it really holds."""
    if not LIBRARY.exists():
        pytest.skip(f"{LIBRARY} is not built")
    gpu = {"name": "NVIDIA GeForce RTX 3080", "memory_bytes": 10 * GIB}
    return FakeDriver(tmp_path / "driver", devices=[gpu],
                      platform={"name": "Fake", "vendor": "NVIDIA Corporation",
                                "version": "OpenCL 3.0 fake"})


@pytest.fixture
def chronos(chronos_path, base_env, fake_driver):
    """The command line on the fake driver."""
    return Chronos(chronos_path, {**base_env, **fake_driver.variables})


@pytest.fixture
def chronos_pocl(chronos_path, base_env):
    """The command line on the system's own drivers."""
    return Chronos(chronos_path, base_env)
