"""The end of a partition as a program may use it: SIGTERM, a checkpoint, and on from there."""

import re

import pytest

from support import PATIENCE, PYTHON, ROOT, built
from support import pocl  # noqa: F401

pytestmark = built
EXAMPLE = ROOT / "examples" / "checkpoint.py"
ENDED = 124


def command(pocl, folder, steps, *options):
    return [pocl.command, "run", *options, "--", PYTHON, EXAMPLE, "--steps", steps, "--size", 64,
            "--file", folder / "heat.npz"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "work"
    made.mkdir()
    return made


def test_what_is_stopped_goes_on_where_it_was(pocl, folder):
    pocl.create("256MiB")
    program = pocl.start(*command(pocl, folder, 10**9, "--partition", "p1", "--on-expiry",
                                  "terminate", "--grace", "60s"), door=None)
    assert program.stdout.readline().startswith("starting at step 0 of ")
    pocl.chronos("release", "p1")
    out, errors = program.communicate(timeout=2 * PATIENCE)
    assert program.returncode == ENDED, errors
    assert "told to end (SIGTERM, then SIGKILL after 1m)" in errors
    step = int(re.fullmatch(r"stopped and saved at step (\d+)\n", out)[1])
    assert [path.name for path in folder.iterdir()] == ["heat.npz"]

    more = step + 50
    pocl.create("256MiB", "p2")
    resumed = pocl.run(*command(pocl, folder, more, "--partition", "p2"), door=None)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.startswith(f"starting at step {step} of {more}\n")

    alone = folder / "alone"
    alone.mkdir()
    straight = pocl.run(*command(pocl, alone, more, "--partition", "p2"), door=None)
    assert straight.stdout.splitlines()[0] == f"starting at step 0 of {more}"
    assert straight.stdout.splitlines()[1] == resumed.stdout.splitlines()[1]
    assert pocl.used("p2") == 0


@pytest.mark.long
def test_it_saves_when_its_time_is_up(pocl, folder):
    """The real thing: the deadline passes, and the grace is enough however slow the machine is."""
    for seconds in (8, 40, 200):  # until it is not over before the program has compiled its kernel
        program = pocl.run(*command(pocl, folder, 10**9, "--device", 0, "--memory", "256MiB",
                                    "--duration", seconds, "--on-expiry", "terminate",
                                    "--terminate-after", "0.5s", "--grace", "1h"), door=None,
                           timeout=400)
        assert program.returncode == ENDED, program.stderr
        if program.stdout:
            break
    started, stopped = program.stdout.splitlines()
    assert started.startswith("starting at step 0 of ")
    assert re.fullmatch(r"stopped and saved at step \d+", stopped)
    assert [path.name for path in folder.iterdir()] == ["heat.npz"]


def test_the_example_fits_or_says_so(pocl, folder):
    refused = pocl.run(pocl.command, "run", "--device", 0, "--memory", "1MiB", "--duration", "1h",
                       "--", PYTHON, EXAMPLE, "--size", 2048, "--file", folder / "x.npz", door=None)
    assert refused.returncode == 3
    assert "checkpoint.py: create_buffer failed" in refused.stderr or "MEM_OBJECT" in refused.stderr
    assert list(folder.iterdir()) == []
