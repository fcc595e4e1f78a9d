"""The pytest plugin: real runs of pytest, whose tests allocate with PyOpenCL on PoCL."""

import json
import re

import pytest

from inside import variables
from support import GIB, PATIENCE, PYTHON, ROOT, built, poll
from support import fake_box, pocl  # noqa: F401

pytestmark = built

TOOLS = """
import pyopencl as cl, pytest
context = cl.create_some_context(interactive=False)
def make(mib):
    return cl.Buffer(context, cl.mem_flags.READ_WRITE, mib << 20)
def swallow(mib):
    with pytest.raises(cl.MemoryError):
        make(mib)
"""


def run_pytest(box, tests, *options, env=(), start=False, **files):
    folder = box.folder / "suite"
    folder.mkdir(exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / "tools.py").write_text(TOOLS, encoding="utf-8")
    (folder / "test_it.py").write_text(tests, encoding="utf-8")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    more = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "COLUMNS": "200",
            "PYTHONDONTWRITEBYTECODE": "1", **dict(env)}
    command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-p", "chronos.pytest_plugin",
               "-q", "-rA", "--strict-markers", *options]
    if start:
        return box.start(*command, door=None, variables=variables(box, **more), cwd=folder)
    return box.run(*command, door=None, variables=variables(box, **more), cwd=folder)


def outcomes(done):
    found = re.findall(r"^(PASSED|FAILED|ERROR|XFAIL|XPASS) test_it\.py::(\w+)", done.stdout, re.M)
    return {name: outcome for outcome, name in found}


def rows(done):
    """{test: (peak, limit, refused)} of the summary."""
    found = re.findall(r"^ *(\S+ \S+)  +(\S+ \S+)  +(\d+)  +\d+  (.+)$", done.stdout, re.M)
    return {name.rpartition("::")[2]: tuple(figures) for *figures, name in found}


MARKED = """
import pytest
from tools import *

pytestmark = pytest.mark.gpu_memory("64MiB")  # a marker of the test's own comes before it

@pytest.fixture
def weights():
    buffer = make(24)
    yield buffer
    buffer.release()

@pytest.fixture
def greedy():
    swallow(65)

@pytest.fixture
def greedy_at_the_end():
    yield
    swallow(65)

def test_fits(weights):
    assert context.devices[0].global_mem_size == 64 << 20
    make(32).release()

def test_swallows():
    make(16).release()
    swallow(65)

def test_raises():
    kept = make(48)
    make(65)

@pytest.mark.gpu_memory("100%")
def test_all_of_it_is_free_after_a_failure():
    make(65).release()  # what the test above left in its variables has gone

@pytest.mark.gpu_memory("32MiB", may_exceed=True)
def test_may():
    swallow(33)

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    swallow(65)

def test_in_setup(greedy):
    assert False, "not reached"

def test_in_teardown(greedy_at_the_end):
    pass

@pytest.mark.gpu_memory("90%")
def test_needs_nearly_all():
    pass

@pytest.mark.skip
@pytest.mark.gpu_memory("nonsense")
def test_skipped():
    pass

@pytest.mark.gpu_memory("nonsense")
def test_bad_size():
    pass

@pytest.mark.gpu_memory("1GiB", devcie=1)
def test_bad_keyword():
    pass

@pytest.mark.gpu_memory(device="0", memory="1GiB")
def test_bad_device():
    pass

@pytest.mark.gpu_memory
def test_no_argument():
    pass

@pytest.mark.gpu_memory("1GiB", device=7)
def test_no_such_device():
    pass

def test_release_of_a_partition_that_ended():
    import chronos, os
    chronos.Partitioner().release(os.environ["CHRONOS_PARTITION"])

@pytest.mark.gpu_memory("400%")
def test_too_much():
    pass

def test_nothing_is_left():
    import chronos, os
    (only,) = chronos.Partitioner().list()
    assert only.handle == os.environ["CHRONOS_PARTITION"]
"""


def test_marked_tests_are_held_to_their_partitions(pocl):
    done = run_pytest(pocl, MARKED)
    assert outcomes(done) == {
        "test_fits": "PASSED", "test_swallows": "FAILED", "test_raises": "FAILED",
        "test_all_of_it_is_free_after_a_failure": "PASSED", "test_may": "PASSED",
        "test_expected_to_fail": "XFAIL", "test_in_setup": "ERROR", "test_in_teardown": "ERROR",
        "test_needs_nearly_all": "PASSED", "test_bad_size": "ERROR", "test_bad_keyword": "ERROR",
        "test_bad_device": "ERROR", "test_no_argument": "ERROR", "test_too_much": "ERROR",
        "test_release_of_a_partition_that_ended": "FAILED", "test_nothing_is_left": "PASSED",
    }, done.stdout + done.stderr
    out = done.stdout
    seen = re.search(r"_ test_swallows _.*?\n(gpu_memory: [^\n]*)", out, re.S)[1]
    assert re.fullmatch(r"gpu_memory: \d+ allocations? refused on device 0: asked for 64MiB, "
                        r"limit 64 MiB, peak 16 MiB, now 0 bytes", seen)
    own = out[out.index("_ test_raises _"):out.index("_ test_release_of_")]
    assert "MEM_OBJECT_ALLOCATION_FAILURE" in own and "- GPU memory -" in own
    assert re.search(r"refused on device 0: asked for 64MiB, limit 64 MiB, peak 48 MiB, now 48 MiB",
                     own)
    assert "at teardown of test_release_of_a_partition_that_ended" not in out, "said twice"
    for text in ("gpu_memory: invalid memory 'nonsense'",
                 "gpu_memory: gpu_memory() got an unexpected keyword argument 'devcie'",
                 "gpu_memory: device must be int, not str",
                 "missing 1 required positional argument: 'memory'",
                 "gpu_memory: the partition is gone: "):
        assert text in out, out
    assert re.search(r"^SKIPPED \[1\] .*: gpu_memory: .*device 7", out, re.M), out
    assert "chronos/pytest_plugin.py\", line" not in out and "Traceback" not in out
    assert "During handling" not in out
    figures = rows(done)
    assert figures["test_fits"] == ("56 MiB", "64 MiB", "0")
    assert figures["test_swallows"][:2] == ("16 MiB", "64 MiB")
    assert int(figures["test_may"][2]) > 0 and figures["test_may"][1] == "32 MiB"
    assert "test_skipped" not in figures and "test_bad_size" not in figures
    assert pocl.partitions() == {}


DEVICES = """
import os, pytest, chronos
@pytest.mark.gpu_memory("1MiB", device=1)
@pytest.mark.gpu_memory("2MiB", device=0)
class TestIt:
    @pytest.mark.gpu_memory("3MiB", device=0, wait="1m", duration="90s")
    def test_two(self):
        found = [chronos.Partitioner().find(handle)
                 for handle in os.environ["CHRONOS_PARTITION"].split(",")]
        assert {p.device: (p.limit_bytes >> 20, p.duration) for p in found} == {
            0: (3, 90), 1: (1, 3600)}

@pytest.mark.gpu_memory("1MiB", device=0)
@pytest.mark.gpu_memory("900%", device=1)
def test_the_second_fails():
    pass

def test_nothing_is_left():
    assert "CHRONOS_PARTITION" not in os.environ and not chronos.Partitioner().list()
"""


def test_a_test_on_two_devices(fake_box):
    box = fake_box(devices=[{"memory_bytes": GIB, "uuid": "1" * 32},
                            {"memory_bytes": GIB, "uuid": "2" * 32}])
    done = run_pytest(box, DEVICES)
    assert "2 passed, 1 error" in done.stdout, done.stdout
    assert {figures[1] for figures in re.findall(r"^ *(\d+ \S+)  +(\d+ \S+)  +0 .*test_two$",
                                                 done.stdout, re.M)} == {"1 MiB", "3 MiB"}


WHOLE = """
import os, pytest, time
import chronos
from tools import *

@pytest.mark.parametrize("number", range(2))
def test_in_the_partition_of_the_run(number):
    (only,) = chronos.Partitioner().list()
    assert os.environ["CHRONOS_PARTITION"] == only.handle
    kept = make(40)
    folder = os.environ["TEST_FOLDER"]
    open(f"{folder}/{number}", "w").close()
    deadline = time.monotonic() + 60
    while "-n" in os.environ["TEST_OPTIONS"] and not os.path.exists(f"{folder}/{1 - number}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    swallow(65)
    if "-n" in os.environ["TEST_OPTIONS"]:  # both hold their 40 MiB of 100
        swallow(30)
    open(f"{folder}/{number}.done", "w").close()
    while "-n" in os.environ["TEST_OPTIONS"] and not os.path.exists(f"{folder}/{1 - number}.done"):
        assert time.monotonic() < deadline
        time.sleep(0.01)

@pytest.mark.gpu_memory("8MiB")
def test_a_marker_counts_before_the_run():
    swallow(9)
"""


@pytest.mark.parametrize("options", [(), ("-p", "xdist.plugin", "-n", "2")], ids=["one", "workers"])
def test_the_whole_run_in_one_partition(pocl, options):
    env = {"TEST_FOLDER": str(pocl.folder), "TEST_OPTIONS": " ".join(options)}
    done = run_pytest(pocl, WHOLE, "--gpu-memory", "100MiB", *options, env=env)
    found = outcomes(done)
    assert found == {"test_in_the_partition_of_the_run": "PASSED",
                     "test_a_marker_counts_before_the_run": "FAILED"}, done.stdout + done.stderr
    figures = rows(done)
    peak = "80 MiB" if options else "40 MiB"
    assert figures["(the whole run)"][:2] == (peak, "100 MiB")
    assert figures["test_a_marker_counts_before_the_run"][1] == "8 MiB"
    assert pocl.partitions() == {}


def test_a_run_that_cannot_have_its_partition_does_not_start(pocl):
    tests = "open('ran', 'w')\ndef test_it(): pass\n"
    pocl.create("80%", name="other")
    for options, words in (
            (("--gpu-memory", "0.3"), "--gpu-memory 0.3: Not enough available memory on device 0"),
            (("--gpu-memory", "much"), "--gpu-memory much: invalid memory 'much'"),
            (("--gpu-memory", "0.1", "--gpu-device", "7"), "--gpu-memory 0.1: ")):
        done = run_pytest(pocl, tests, *options)
        assert done.returncode == 4 and done.stdout + done.stderr != ""
        (line,) = [text for text in (done.stdout + done.stderr).splitlines() if text]
        assert line.startswith(f"ERROR: {words}"), line
        assert not (pocl.folder / "suite" / "ran").exists()
    assert list(pocl.partitions()) == ["other"]
    assert run_pytest(pocl, tests, "--gpu-memory", "0.3", "--collect-only").returncode == 0


def test_a_run_that_is_killed_leaves_no_partition(pocl):
    tests = "import time\ndef test_it():\n    open('ready', 'w').close()\n    time.sleep(600)\n"
    process = run_pytest(pocl, tests, "--gpu-memory", "0.3", start=True)
    poll("the test", (pocl.folder / "suite" / "ready").exists)
    assert len(pocl.partitions()) == 1
    process.kill()
    process.wait(timeout=PATIENCE)
    assert pocl.partitions() == {}


UNUSED = """
import json, sys
def test_it():
    names = [n for n in sys.modules if n.partition(".")[0] in ("chronos", "ctypes")]
    json.dump(names, open("modules", "w"))
"""


def test_where_it_is_not_used_it_does_nothing(pocl):
    done = run_pytest(pocl, UNUSED)
    assert done.returncode == 0 and "GPU memory" not in done.stdout
    names = json.loads((pocl.folder / "suite" / "modules").read_text(encoding="utf-8"))
    assert {name for name in names if name.startswith("chronos")} == {
        "chronos", "chronos._layer", "chronos._library", "chronos.pytest_plugin"}
    assert not pocl.files("*")
    listed = run_pytest(pocl, UNUSED, "--markers").stdout
    assert "@pytest.mark.gpu_memory(memory, device=0, duration='1h'" in listed


def test_the_package_registers_it():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points.pytest11]\nchronos = "chronos.pytest_plugin"\n' in text
