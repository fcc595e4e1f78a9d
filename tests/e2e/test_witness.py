"""Whom the fake driver's witness takes a process for: never for one that is gone."""

import sys

import pytest
from fake import CLIENTS, LIBRARY, ROOT, FakeDriver
from people import needs_root, propagation
from support import PATIENCE

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built")

LIMIT = 1000
HOLD = f"""
import os, signal, sys, time
import pyopencl as cl
sys.path.insert(0, {str(ROOT / "tests" / "fake_driver")!r})
from witness import Witness
devices = cl.get_platforms()[0].get_devices()
def hold():
    return cl.Buffer(cl.Context(devices), cl.mem_flags.READ_WRITE, {LIMIT})
"""


@pytest.fixture
def driver(tmp_path):
    made = FakeDriver(tmp_path / "fake", devices=[{"witness_limit_bytes": LIMIT}])
    made.env["WITNESS"] = str(made.witness_path)
    return made


def allocate_all(driver):
    """Another process gets all that there may be: that is not too much."""
    with driver.witness() as witness:
        assert witness.held() == 0
        result = driver.run(CLIENTS / "linked_c", "--size", LIMIT)
        assert result.returncode == 0, result.stderr
        assert (witness.over_limit(), witness.worst_excess()) == (0, 0)


def test_after_an_exec_a_process_that_maps_the_witness_again_holds_nothing(driver):
    driver.env["AGAIN"] = HOLD.partition("devices =")[0] + """
with Witness(os.environ["WITNESS"]):
    print("mapped", flush=True)
    sys.stdin.readline()
"""
    process = driver.start(sys.executable, "-c", HOLD + """
buffer = hold()
os.execv(sys.executable, [sys.executable, "-c", os.environ["AGAIN"]])
""")
    assert process.stdout.readline() == "mapped\n"
    allocate_all(driver)
    process.communicate("\n", timeout=PATIENCE)


@needs_root
def test_a_namesake_of_the_dead_does_not_hold_what_they_held(driver):
    """Of the same number, and with the witness at the same place in memory."""
    process = driver.start("unshare", "--pid", "--fork", "--mount", "--propagation", propagation(),
                           "--mount-proc", sys.executable, "-c", HOLD + """
import ctypes, mmap
def place():
    with open("/proc/self/maps") as maps:
        return [int(line.split("-")[0], 16) for line in maps
                if line.rstrip().endswith(os.environ["WITNESS"])][0]
reader, writer = os.pipe()
first = os.fork()
if first == 0:
    buffer = hold()
    os.write(writer, str(place()).encode())
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(first, 0)
wanted = int(os.read(reader, 100))
time.sleep(0.05)  # they are told apart by when they began, in ticks of 10 ms
with open("/proc/sys/kernel/ns_last_pid", "w") as file:
    file.write(str(first - 1))
second = os.fork()
if second == 0:
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
    file = os.open(os.environ["WITNESS"], os.O_RDWR)
    MAP_FIXED_NOREPLACE = 0x100000
    libc.mmap(wanted, 4096, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED_NOREPLACE, file, 0)
    assert place() == wanted and os.getpid() == first
    print("mapped", flush=True)
    sys.stdin.readline()
    os._exit(0)
held = os.fork()  # in this namespace, where the two can be seen
if held == 0:
    with Witness(os.environ["WITNESS"]) as witness:
        while True:  # until the second one is there
            try:
                with open(f"/proc/{second}/maps") as maps:
                    if os.environ["WITNESS"] in maps.read():
                        break
            except OSError:
                pass
        assert witness.held() == 0
        buffer = hold()
        assert (witness.over_limit(), witness.worst_excess()) == (0, 0)
    os._exit(0)
assert os.waitpid(held, 0)[1] == 0
os.waitpid(second, 0)
""")
    assert process.stdout.readline() == "mapped\n", process.communicate()
    _, errors = process.communicate("\n", timeout=PATIENCE)
    assert process.returncode == 0, errors
