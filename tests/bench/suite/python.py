"""The Python package: what its import adds to an interpreter's start, and its calls in process."""

import shutil
import subprocess

from .setting import ROOT

IMPORTS = {"bare": "pass", "import chronos": "import chronos",
           "from chronos import Partitioner": "from chronos import Partitioner"}


def interpreters():
    """{version: path} of those from 3.9 on that can be found, Debian's own first."""
    found = {}
    for name in ("/usr/bin/python3", *(f"python3.{minor}" for minor in range(9, 15))):
        path = shutil.which(name)
        asked = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
        done = subprocess.run([path or "false", "-c", asked], capture_output=True, text=True)
        if done.returncode == 0:  # the interpreter itself, where the path has a script for it
            version, executable = done.stdout.split(maxsplit=1)
            found.setdefault(version, executable.strip())
    return dict(sorted(found.items(), key=lambda item: int(item[0].partition(".")[2])))


def python(setting):
    variables = {"PYTHONPATH": str(ROOT / "python"), "CHRONOS_LIBRARY": setting.library}
    for version, interpreter in interpreters().items():
        setting.spawn(f"Python {version}, start", 20 if setting.quick else 150,
                      {name: (variables, [interpreter, "-c", code])
                       for name, code in IMPORTS.items()})
        with setting.fresh_state() as state:
            setting.lines(f"Python {version}, calls", interpreter,
                          setting.programs_source / "python_calls.py",
                          20 if setting.quick else 150, **variables, CHRONOS_STATE_DIR=state)
