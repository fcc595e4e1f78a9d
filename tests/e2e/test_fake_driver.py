"""The fake driver under a real ICD loader, and the soundness of its witness."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fake import CLIENTS, GIB, LIBRARY, MIB, ROOT, FakeDriver  # noqa: E402

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY} is not built")

IMPORTS = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests" / "fake_driver")!r})
import os
import numpy as np
import pyopencl as cl
from witness import Witness
devices = cl.get_platforms()[0].get_devices()
ctx = cl.Context(devices[:1])
flags = cl.mem_flags.READ_WRITE
"""


@pytest.fixture
def driver(tmp_path):
    """Makes a FakeDriver of the given configuration in the test's folder."""
    return lambda **config: FakeDriver(tmp_path / "fake", **config)


def hold(fake, size=MIB, count=1):
    """A process that has made its buffers and keeps them until its stdin is closed."""
    process = fake.start(CLIENTS / "linked_c", "--size", size, "--count", count, "--hold", 600)
    for _ in range(count):
        assert process.stdout.readline() == f"ok {size}\n"
    return process


def let_go(process):
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def good(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


# --- what it pretends to be ---------------------------------------------------------------------

def test_one_gpu_of_24_gib_without_a_configuration(driver):
    fake = driver()
    del fake.env["CHRONOS_FAKE_DRIVER"]
    out = good(fake.python(IMPORTS + "print(len(devices), devices[0].name, "
                                     "devices[0].global_mem_size)"))
    assert out == f"1 Fake GPU 0 {24 * GIB}\n"


def test_devices_are_as_configured(driver):
    fake = driver(platform={"name": "P", "vendor": "V", "version": "OpenCL 1.2 x"}, devices=[
        {"name": "Card", "memory_bytes": 8 * GIB, "max_alloc_bytes": 2 * GIB, "count": 2,
         "uuid": "000102030405060708090a0b0c0d0e0f", "pci": "0001:65:00.2"},
        {"type": "cpu", "memory_bytes": GIB}])
    out = good(fake.python(IMPORTS + """
import ctypes
lib = ctypes.CDLL("libOpenCL.so.1")
def raw(device, what, size):
    out = (ctypes.c_ubyte * size)()
    error = lib.clGetDeviceInfo(ctypes.c_void_p(device.int_ptr), what, size, out, None)
    return bytes(out).hex() if error == 0 else error
print(cl.get_platforms()[0].name, cl.get_platforms()[0].version)
for d in devices:
    print(d.name, d.vendor, d.type, d.global_mem_size, d.max_mem_alloc_size,
          raw(d, 0x106A, 16), raw(d, 0x410F, 16), "uuid" in d.extensions, "pci" in d.extensions)
"""))
    pci = "01000000{:02x}0000000000000002000000"
    assert out.splitlines() == [
        "P OpenCL 1.2 x",
        f"Card V 4 {8 * GIB} {2 * GIB} 000102030405060708090a0b0c0d0e0f {pci.format(0x65)} True True",
        f"Card V 4 {8 * GIB} {2 * GIB} 000102030405060708090a0b0c0d0e10 {pci.format(0x66)} True True",
        f"Fake GPU 2 V 2 {GIB} {GIB} -30 -30 False False",
    ]


def test_clinfo_finds_nothing_wrong(driver):
    fake = driver(devices=[{"uuid": "0" * 32, "pci": "0000:01:00.0", "count": 2}])
    result = fake.run("clinfo")
    assert good(result).count("Device Name  ") >= 2
    assert "error -" not in result.stdout and result.stderr == ""


@pytest.mark.parametrize("text, complaint", [
    ("{", "parse error"),
    ('{"devicse": []}', 'unknown key "devicse"'),
    ('{"devices": [{"memory_bytes": -1}]}', "memory_bytes must be a whole number"),
    ('{"devices": [{"uuid": "xyz"}]}', "uuid must be 32 hexadecimal digits"),
    ('{"faults": [{"call": "clCreateBuffer", "error": 0}]}', "a fault needs"),
    (None, "cannot be opened"),
])
def test_an_unusable_configuration_means_no_platform(driver, text, complaint):
    fake = driver()
    path = fake.folder / "fake.json"
    path.write_text(text) if text is not None else path.unlink()
    result = fake.run(CLIENTS / "linked_c")
    assert result.returncode == 4
    assert f"fake driver: {path}: " in result.stderr and complaint in result.stderr
    assert "clGetPlatformIDs failed: -1001" in result.stderr


def test_sub_devices_share_the_memory_of_their_device(driver):
    fake = driver()
    good(fake.python(IMPORTS + """
import ctypes
parts = devices[0].create_sub_devices([cl.device_partition_property.EQUALLY, 4])
assert len(parts) == 4 and parts[0].parent_device == devices[0], parts
shared = cl.Context(parts)
buffer = cl.Buffer(shared, flags, 4096)
assert Witness(sys.argv[1]).held() == 4096
""".replace("sys.argv[1]", repr(str(fake.witness_path)))))


# --- errors, faults and traps -------------------------------------------------------------------

def test_errors_are_those_of_the_specification(driver):
    out = good(driver().run(CLIENTS / "props"))
    assert out.partition("-- errors")[2].splitlines()[1:7] == [
        "size 0: -61", "bad flags: -30", "no host pointer: -37", "no context: -34",
        "nowhere to report: NULL", "release of NULL: -38"]


def test_buffer_lives_are_those_of_the_specification(driver):
    fake = driver()
    out = good(fake.run(CLIENTS / "props"))
    assert "callback second registered\ncallback first registered\nrelease twice: 0" in out
    assert "release parent: 0\npart size 4096\ncallback part 0\nrelease part 0: 0\n" \
           "callback part 1\ncallback parent\nrelease part 1: 0" in out
    assert "size 4096\ncallback orphan\nrelease orphan: 0" in out
    with fake.witness() as witness:
        assert witness.raw_total() == 0 and witness.high_water() == 65536


def test_what_it_lacks_is_refused_cleanly(driver):
    out = good(driver().python(IMPORTS + """
import ctypes
lib = ctypes.CDLL("libOpenCL.so.1")
lib.clCreateSampler.restype = ctypes.c_void_p
error = ctypes.c_int(0)
context = ctypes.c_void_p(ctx.int_ptr)
print(lib.clCreateSampler(context, 0, 0x1130, 0x1140, ctypes.byref(error)), error.value,
      lib.clCreateSampler(context, 0, 0x1130, 0x1140, None))
"""))
    assert out == "None -59 None\n"


def test_faults_come_when_configured(driver):
    fake = driver(faults=[{"call": "clCreateBuffer", "after": 2, "times": 3, "error": -6}])
    result = fake.run(CLIENTS / "dlopen_c", "--size", 10, "--count", 7)
    assert result.stdout.split("\n")[:-1] == ["ok 10"] * 2 + ["error -6"] * 3 + ["ok 10"] * 2
    assert result.returncode == 3
    with fake.witness() as witness:
        assert witness.allocations() == 4 and witness.raw_total() == 0


def test_delays(driver):
    fake = driver(delays=[{"call": "clCreateBuffer", "microseconds": 50000}])
    start = time.monotonic()
    good(fake.run(CLIENTS / "linked_c", "--count", 10))
    assert time.monotonic() - start >= 0.5


@pytest.mark.parametrize("call", ["clIcdGetPlatformIDsKHR", "clGetDeviceIDs"])
def test_crash_and_hang(driver, call):
    assert driver(crash_on=call).run(CLIENTS / "linked_c").returncode == -signal.SIGABRT
    with pytest.raises(subprocess.TimeoutExpired):
        driver(hang_on=[call]).run(CLIENTS / "linked_c", timeout=1)


def test_the_device_refuses_beyond_its_memory_unless_told_not_to(driver):
    command = (CLIENTS / "linked_c", "--size", 4 * MIB, "--count", 3)
    small = [{"memory_bytes": 10 * MIB}]
    assert driver(devices=small).run(*command).stdout.split() == ["ok", str(4 * MIB)] * 2 + [
        "error", "-4"]
    assert driver(devices=small, enforce_device_memory=False).run(*command).returncode == 0
    too_large = driver(devices=small).run(CLIENTS / "linked_c", "--size", 11 * MIB)
    assert too_large.stdout == "error -61\n"


def test_large_buffers_cost_nothing_until_they_are_used(driver):
    code = IMPORTS + """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
buffer = cl.Buffer(ctx, flags, SIZE)
print(resident() - before)
"""
    assert int(good(driver().python(code.replace("SIZE", str(24 * GIB))))) < 4 * MIB
    assert int(good(driver(back_memory=True).python(code.replace("SIZE", "2**26")))) >= 60 * MIB


def test_a_short_table_ends_where_it_says(driver):
    # Up to clCreateBuffer (entry 14) and clReleaseMemObject (18) suffices for linked_c.
    assert driver(table_entries=24).run(CLIENTS / "linked_c").returncode == 0
    assert driver(table_entries=24).run(CLIENTS / "props").returncode == -signal.SIGSEGV
    assert driver(table_read_only=True).run(CLIENTS / "props").returncode == 0


def test_memory_is_free_before_its_callback_tells(driver):
    fake = driver()
    good(fake.python(IMPORTS + f"""
import ctypes
lib = ctypes.CDLL("libOpenCL.so.1")
witness = Witness({str(fake.witness_path)!r})
seen = []
callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(
    lambda mem, data: seen.append(witness.held()))
buffer = cl.Buffer(ctx, flags, 64)
lib.clSetMemObjectDestructorCallback(ctypes.c_void_p(buffer.int_ptr), callback, None)
buffer.release()
assert seen == [0], seen
"""))


# --- data and queues ----------------------------------------------------------------------------

TRANSFERS = """
queue = cl.CommandQueue(ctx)
data = np.arange(1024, dtype=np.float32)
a = cl.Buffer(ctx, flags | cl.mem_flags.COPY_HOST_PTR, hostbuf=data)
b = cl.Buffer(ctx, flags, data.nbytes)
out = np.zeros_like(data)
cl.enqueue_copy(queue, b, a, byte_count=2048, src_offset=2048)
cl.enqueue_fill_buffer(queue, b, np.float32(7), 2048, 1024)
cl.enqueue_copy(queue, out, b)
assert (out[:512] == data[512:]).all() and (out[512:768] == 7).all() and (out[768:] == 0).all()
mapped, _ = cl.enqueue_map_buffer(queue, b, cl.map_flags.WRITE, 512, (4,), np.float32)
mapped[:] = 3
mapped.base.release(queue)
part = b.get_sub_region(512, 512)
small = np.zeros(128, np.float32)
cl.enqueue_copy(queue, small, part)
assert list(small[:5]) == [3, 3, 3, 3, data[512 + 128 + 4]], small[:5]
square = np.zeros((4, 4), np.float32)
cl.enqueue_copy(queue, square, a, buffer_origin=(0, 1, 0), host_origin=(4, 1, 0), region=(8, 2, 1),
                buffer_pitches=(128, 0), host_pitches=(16, 0))
assert list(square[1]) == [0, 32, 33, 0] and list(square[2]) == [0, 64, 65, 0], square
"""


@pytest.mark.parametrize("deferred", [False, True])
def test_transfers_move_the_right_bytes(driver, deferred):
    good(driver(deferred=deferred).python(IMPORTS + TRANSFERS))


def test_commands_wait_for_user_events(driver):
    good(driver().python(IMPORTS + """
queue, other = cl.CommandQueue(ctx), cl.CommandQueue(ctx)
buffer = cl.Buffer(ctx, flags, 4)
gate = cl.UserEvent(ctx)
first = cl.enqueue_fill_buffer(queue, buffer, np.int32(5), 0, 4, wait_for=[gate])
out = np.zeros(1, np.int32)
second = cl.enqueue_copy(other, out, buffer, is_blocking=False, wait_for=[first])
complete = cl.command_execution_status.COMPLETE
assert first.command_execution_status != complete != second.command_execution_status
gate.set_status(complete)
assert first.command_execution_status == complete == second.command_execution_status
assert out[0] == 5
"""))


@pytest.mark.parametrize("end", ["queue.finish()", "queue.flush()", "event.wait()"])
def test_deferred_commands_hold_their_buffers(driver, end):
    fake = driver(deferred=True)
    good(fake.python(IMPORTS + f"""
queue = cl.CommandQueue(ctx)
buffer = cl.Buffer(ctx, flags, 4096)
event = cl.enqueue_fill_buffer(queue, buffer, np.int32(5), 0, 4096)
buffer.release()
witness = Witness({str(fake.witness_path)!r})
assert witness.held() == 4096 == witness.raw_total()
{end}
assert witness.held() == 0 == witness.raw_total()
"""))


# --- the witness ----------------------------------------------------------------------------------

def test_every_device_of_a_context_is_counted(driver):
    fake = driver(devices=[{"count": 2}, {"name": "other"}])
    good(fake.python(IMPORTS + f"""
both = cl.Context(devices[:2])
buffer = cl.Buffer(both, flags, 1000)
witness = Witness({str(fake.witness_path)!r})
assert [witness.held(i) for i in range(3)] == [1000, 1000, 0]
assert witness.processes() == {{os.getpid(): [1000, 1000, 0]}}
assert [witness.name(i) for i in range(3)] == ["Fake GPU 0", "Fake GPU 0", "other"]
"""))


def test_processes_are_counted_apart_and_together(driver):
    fake = driver(devices=[{"witness_limit_bytes": 5 * MIB}])
    first, second = hold(fake, MIB, 2), hold(fake, 3 * MIB)
    with fake.witness() as witness:
        assert witness.processes() == {first.pid: [2 * MIB], second.pid: [3 * MIB]}
        assert witness.held() == witness.raw_total() == witness.high_water() == 5 * MIB
        assert witness.over_limit() == 0
        let_go(first)
        assert witness.held() == witness.raw_total() == 3 * MIB
        assert witness.high_water() == 5 * MIB
        let_go(second)
        assert witness.raw_total() == 0 and witness.allocations() == witness.frees() == 3


def test_one_byte_too_many_is_seen(driver):
    fake = driver(devices=[{"witness_limit_bytes": 2 * MIB}])
    holders = [hold(fake, MIB), hold(fake, MIB)]
    with fake.witness() as witness:
        assert witness.over_limit() == 0
        holders.append(hold(fake, 1))
        assert witness.over_limit() == 1 and witness.worst_excess() == 1
        for process in holders:
            let_go(process)
        assert witness.over_limit() == 1


def test_an_excess_is_on_record_even_if_the_offender_is_killed(driver):
    fake = driver(devices=[{"witness_limit_bytes": MIB}])
    process = hold(fake, MIB + 7)
    process.kill()
    process.communicate()
    with fake.witness() as witness:
        assert witness.over_limit() == 1 and witness.worst_excess() == 7 and witness.held() == 0


@pytest.mark.parametrize("buried", [True, False])
def test_the_dead_never_count(driver, buried):
    """Always 4 live holders of 10 MiB under a limit of 40 MiB, killed and replaced 40 times."""
    fake = driver(devices=[{"witness_limit_bytes": 40 * MIB, "memory_bytes": 40 * MIB}])
    living = [hold(fake, 10 * MIB) for _ in range(4)]
    zombies = []
    for _ in range(40):
        victim = living.pop(random.randrange(4))
        victim.kill()
        if buried:
            victim.communicate()
        else:
            os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)
            zombies.append(victim)
        living.append(hold(fake, 10 * MIB))
    with fake.witness() as witness:
        assert witness.over_limit() == 0 and witness.worst_excess() == 0
        assert witness.high_water() == 40 * MIB == witness.held()
    for process in living:
        let_go(process)
    for process in zombies:
        process.communicate()


def is_registered(fake, pid):
    try:
        with fake.witness() as witness:
            return pid in witness.processes()
    except (OSError, ValueError):  # the file is still being made
        return False


def test_a_stopped_process_counts_and_delays_nobody(driver):
    fake = driver(devices=[{"witness_limit_bytes": MIB}])
    stopped = fake.start(CLIENTS / "stress", "--threads", 4, "--seconds", 600, "--max-bytes", 100)
    # Only the making of the file is under a lock, in which nobody should be stopped.
    while not is_registered(fake, stopped.pid):
        assert stopped.poll() is None
    for _ in range(50):
        stopped.send_signal(signal.SIGSTOP)
        good(fake.run(CLIENTS / "linked_c", "--count", 100, "--size", 10, timeout=10))
        stopped.send_signal(signal.SIGCONT)
    stopped.send_signal(signal.SIGSTOP)
    process = hold(fake, MIB)
    with fake.witness() as witness:
        held = witness.processes()
        assert held[process.pid] == [MIB]
        assert witness.held() == MIB + held[stopped.pid][0]
        # It may have been stopped in an operation that others have carried on with for the total
        # and that its own slot does not show yet.
        assert abs(witness.raw_total() - witness.held()) <= 100
        assert witness.over_limit() == (1 if witness.raw_total() > MIB else 0)
    stopped.kill()
    stopped.communicate()
    let_go(process)


def test_a_forked_child_holds_nothing_of_its_parents(driver):
    fake = driver()
    good(fake.python(IMPORTS + f"""
buffer = cl.Buffer(ctx, flags, 1000)
witness = Witness({str(fake.witness_path)!r})
child = os.fork()
if child == 0:
    buffer.release()  # the parent's: the child's release gives nothing back
    own = cl.Buffer(ctx, flags, 10)
    ok = witness.processes() == {{os.getppid(): [1000], os.getpid(): [10]}}
    os._exit(0 if ok else 1)
assert os.waitpid(child, 0)[1] == 0
assert witness.processes() == {{os.getpid(): [1000]}}
"""))
    # The child's 10 bytes were not freed: the next process takes them out.
    good(fake.run(CLIENTS / "linked_c"))
    with fake.witness() as witness:
        assert witness.raw_total() == 0


def test_exec_gives_back_what_was_held(driver):
    fake = driver(devices=[{"witness_limit_bytes": 1000}])
    process = fake.start(sys.executable, "-c", IMPORTS + """
buffer = cl.Buffer(ctx, flags, 1000)
os.execvp("sh", ["sh", "-c", "echo new image; read line"])
""")
    assert process.stdout.readline() == "new image\n"
    with fake.witness() as witness:
        assert witness.raw_total() == 1000 and witness.held() == 0
        good(fake.run(CLIENTS / "linked_c", "--size", 1000))
        assert witness.over_limit() == 0 and witness.raw_total() == 0
    process.communicate("\n", timeout=10)


@pytest.mark.long
def test_counts_are_exact_under_concurrency(driver):
    # So little that even one process at a time reaches it.
    fake = driver(devices=[{"memory_bytes": 12 * MIB, "max_alloc_bytes": 8 * MIB,
                            "witness_limit_bytes": 12 * MIB}])
    running = [fake.start(CLIENTS / "stress", "--threads", 4, "--operations", 5000,
                          "--max-bytes", 4 * MIB, "--seed", seed) for seed in range(8)]
    ok = refused = 0
    for process in running:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        ok, refused = ok + int(out.split()[1]), refused + int(out.split()[3])
    assert refused > 0  # the cap was reached, so high_water is put to the test
    with fake.witness() as witness:
        assert witness.raw_total() == 0
        assert witness.allocations() == witness.frees() == ok
        assert 8 * MIB < witness.high_water() <= 12 * MIB
        assert witness.over_limit() == 0


def test_totals_are_exact_after_a_kill_storm(driver):
    """Killed in the middle of operations 60 times: afterwards not a byte is lost or left over."""
    fake = driver(devices=[{"memory_bytes": 4 * MIB}])
    running = []
    chance = random.Random(1)

    def start(seed):
        running.append(fake.start(CLIENTS / "stress", "--threads", 4, "--seconds", 600,
                                  "--max-bytes", 200000, "--seed", seed))

    for seed in range(4):
        start(seed)
    for seed in range(4, 64):
        time.sleep(chance.uniform(0, 0.02))  # the moment of the kill, not a wait for anything
        victim = running.pop(chance.randrange(len(running)))
        victim.kill()
        victim.communicate()
        start(seed)
    for process in running:
        process.kill()
    for process in running:
        process.communicate()
    good(fake.run(CLIENTS / "linked_c", "--size", 4 * MIB))  # all of it is free again
    with fake.witness() as witness:
        assert witness.raw_total() == 0 and witness.held() == 0
        assert witness.high_water() <= 4 * MIB and witness.allocations() > 0


def test_the_reader_as_a_command(driver):
    fake = driver(devices=[{"name": "Card", "witness_limit_bytes": 2 * MIB}])
    process = hold(fake, MIB)
    reader = ROOT / "tests" / "fake_driver" / "witness.py"
    lines = good(fake.run(sys.executable, reader, fake.witness_path)).splitlines()
    assert lines[0] == "device 0 (Card)"
    assert f"  held         {MIB}" in lines and f"  limit        {2 * MIB}" in lines
    assert lines[-1] == f"  pid {process.pid:<9}{MIB}"
    let_go(process)
    failed = fake.run(sys.executable, reader, fake.folder / "missing")
    assert failed.returncode == 1 and failed.stderr.startswith("witness.py: ")


# --- examples/train.py ----------------------------------------------------------------------------

def test_train_reports_what_it_wanted(driver):
    fake = driver(devices=[{"memory_bytes": GIB}])
    result = fake.run("/usr/bin/python3", ROOT / "examples" / "train.py", "--batch", 2000000)
    assert result.returncode == 3
    assert "train.py: MemoryError: " in result.stderr
    assert "a batch of 2000000 wants 1576103440 bytes" in result.stderr
