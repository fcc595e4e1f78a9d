"""The fake driver for tests: a folder, an environment and its witness."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("CHRONOS_BUILD", ROOT / "build" / "release")).resolve()
LIBRARY = BUILD / "lib" / "libchronos_fake_driver.so"
CLIENTS = BUILD / "tests" / "clients"

sys.path.insert(0, str(ROOT / "tests" / "fake_driver"))
from witness import Witness, write_driver  # noqa: E402

MIB = 1 << 20
GIB = 1 << 30


class FakeDriver:
    """A configured fake driver in `folder`, for processes run with its `env`."""

    def __init__(self, folder, library=LIBRARY, **config):
        self.folder = Path(folder)
        config.setdefault("witness", "witness")
        self.variables = write_driver(self.folder, library, config)
        self.env = {**os.environ, **self.variables}
        self.witness_path = self.folder / config["witness"]

    def witness(self):
        """The witness's counters; the file exists once a process has used the driver."""
        return Witness(self.witness_path)

    def start(self, *command, **options):
        """Start a program under this driver, with pipes of text on all three streams."""
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen([str(part) for part in command], env=self.env, text=True, **options)

    def run(self, *command, timeout=60, **options):
        """Run a program under this driver and return its CompletedProcess."""
        return subprocess.run([str(part) for part in command], env=self.env, text=True,
                              capture_output=True, timeout=timeout, check=False, **options)

    def python(self, code, **options):
        """Run Python code (as `python3 -c`) under this driver."""
        return self.run(sys.executable, "-c", code, **options)
