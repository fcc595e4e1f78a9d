"""The Python package: children of an interpreter that is in a partition, however they are made."""

import pytest

from inside import inside
from support import MIB, REFUSED, built
from support import box, fake_box  # noqa: F401

pytestmark = built

METHODS = ("fork", "spawn", "forkserver")


WORKERS = """
import multiprocessing
def work(start, done, answers):
    # Made and kept: at the barrier everybody holds what they got.
    context = cl.context()
    start.wait(60)
    count = 0
    while make(1, context) == 0:
        count += 1
    done.wait(60)
    answers.put((os.getpid(), count))
    done.wait(60)
"""


@pytest.mark.parametrize("method", METHODS)
def test_workers_together_never_pass_the_limit(box, method):
    lines, _ = inside(box, WORKERS + f"""
if __name__ == "__main__":
    many = multiprocessing.get_context({method!r})
    with machine.create(0, "24MiB", 60) as partition:
        start, done, answers = many.Barrier(5), many.Barrier(5), many.Queue()
        workers = [many.Process(target=work, args=(start, done, answers)) for _ in range(4)]
        for worker in workers: worker.start()
        start.wait(60)
        done.wait(60)
        counts = dict(answers.get(timeout=60) for _ in workers)
        info = partition.info()
        print(sum(counts.values()), info.used_bytes // MIB, info.peak_bytes // MIB)
        print({{pid: n for pid, n in counts.items() if n}}
              == {{pid: n // MIB for pid, n in info.processes.items()}})
        done.wait(60)
        for worker in workers: worker.join()
        print(used(partition), {{worker.exitcode for worker in workers}})
    print(machine.list())
""")
    assert lines == ["24 24 24", "True", "0 {0}", "[]"]
    with box.driver.witness() as witness:
        assert witness.held(0) == 0
        assert witness.high_water(0) <= 24 * MIB


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_is_killed_in_the_middle_gives_its_bytes_back(box, method):
    """Killed while it allocates without end, at whatever instruction."""
    lines, _ = inside(box, f"""
import multiprocessing
def work(begun):
    context = cl.context()
    assert make(8, context) == 0
    while True:
        made, error = cl.buffer(context, MIB)
        if made is not None:
            cl.release(made)
        begun.set()
if __name__ == "__main__":
    many = multiprocessing.get_context({method!r})
    with machine.create(0, "16MiB", 60) as partition:
        for _ in range(3):
            begun = many.Event()
            worker = many.Process(target=work, args=(begun,))
            worker.start()
            assert begun.wait(60)
            worker.kill()
            worker.join()
            print(used(partition), end=" ")
        context = cl.context()
        print(make(16, context), make(1, context))
        drop()
""")
    assert lines == [f"0 0 0 0 {REFUSED}"]


def test_a_fork_server_that_was_started_before_follows(box):
    """Its environment is that of its start: neither entering nor leaving would reach its children."""
    lines, _ = inside(box, """
import multiprocessing
def work(answers):
    answers.put((make(65), os.environ.get("CHRONOS_PARTITION")))
def ask():
    answers = many.Queue()
    worker = many.Process(target=work, args=(answers,))
    worker.start()
    answer = answers.get(timeout=60)
    worker.join()
    return answer
if __name__ == "__main__":
    many = multiprocessing.get_context("forkserver")
    print(ask())
    with machine.create(0, "64MiB", 60) as first:
        print([ask()] == [(%d, first.handle)])
    print(ask())
    with machine.create(0, "60MiB", 60) as second:
        print([ask()] == [(%d, second.handle)])
""" % (REFUSED, REFUSED))
    assert lines == ["(0, None)", "True", "(0, None)", "True"]


def test_process_pools_keep_to_the_partition(box):
    lines, _ = inside(box, """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
def work(mib):
    try:
        return make(mib)
    finally:
        drop()
if __name__ == "__main__":
    with machine.create(0, "64MiB", 60) as partition:
        for method in ("fork", "spawn"):
            many = multiprocessing.get_context(method)
            with ProcessPoolExecutor(2, mp_context=many) as pool:
                print(list(pool.map(work, [65, 64, 65, 60])).count(%d), end=" ")
            with many.Pool(1) as pool:
                print(pool.map(work, [65, 64]))
        with ThreadPoolExecutor(2) as pool:
            print(list(pool.map(lambda mib: cl.buffer(cl.context(), mib * MIB)[1], [65, 66])))
""" % REFUSED)
    # Two at once have no room for each other; what is too large alone is refused in any case.
    assert len(lines) == 3
    for line in lines[:2]:
        count, _, rest = line.partition(" ")
        assert 2 <= int(count) <= 3
        assert rest == f"[{REFUSED}, 0]"
    assert lines[2] == f"[{REFUSED}, {REFUSED}]"


def test_a_plain_subprocess_keeps_to_the_partition(box):
    lines, _ = inside(box, """
import subprocess
code = "import opencl as cl; print(cl.buffer(cl.context(), 65 << 20)[1], flush=True)"
ask = [sys.executable, "-c", code]
with machine.create(0, "64MiB", 60):
    subprocess.run(ask, check=True)
    print(cl.buffer(cl.context(), 65 << 20)[1], flush=True)
    subprocess.run(ask, check=True)  # after the loader has cut OPENCL_LAYERS up
subprocess.run(ask, check=True)
""", OPENCL_LAYERS="/nosuch/layer.so")
    assert lines == [str(REFUSED)] * 3 + ["0"]


def test_a_forked_child_leaves_its_parents_block_alone(box):
    lines, _ = inside(box, """
context = cl.context()
with machine.create(0, "64MiB", 60) as partition:
    child = os.fork()
    if child == 0:
        assert make(65, context) == %d
    else:
        assert os.waitpid(child, 0)[1] == 0
        print(make(65, context), len(machine.list()))
if child == 0:  # it has left the block, and owns the partition still
    assert os.environ.get("CHRONOS_PARTITION") is None
    assert len(machine.list()) == 1
    assert make(65, context) == %d
    os._exit(0)
print(make(65, context), machine.list())
""" % (REFUSED, REFUSED))
    assert lines == [f"{REFUSED} 1", "0 []"]


def test_a_fork_in_the_midst_of_threads_that_enter_and_leave(box):
    """No lock of a thread that the child does not have stops it."""
    lines, _ = inside(box, """
import threading
context = cl.context()
stop = threading.Event()
def work():
    while not stop.is_set():
        with machine.create(0, "4MiB", 60):
            pass
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        with machine.create(0, "4MiB", 60) as partition:
            ok = make(5, context) == %d and make(1, context) == 0 and used(partition) == 1
        os._exit(0 if ok else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
print("done")
""" % REFUSED)
    assert lines == ["done"]


@pytest.mark.parametrize("lock", ["_scope._lock", "_library._loading", "_expiring._watcher._lock"])
def test_a_lock_that_another_thread_held_at_the_fork_stops_nobody(box, lock):
    """The child has the lock and not the thread that would give it back."""
    lines, _ = inside(box, f"""
import queue, signal, threading
from chronos import _expiring, _library, _scope
_library._loaded = None  # as before the first use
taken, done = threading.Event(), threading.Event()
def hold():
    with {lock}:
        taken.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
taken.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    calls = queue.Queue()
    with chronos.Partitioner().create(0, "4MiB", 60) as partition:
        partition.on_expiring(calls.put, before="1h")
        calls.get()
        os._exit(0 if make(5) == {REFUSED} and make(1) == 0 else 1)
status = os.waitpid(child, 0)[1]
done.set()
thread.join()
print(status)
""")
    assert lines == ["0"]


def test_a_fork_while_another_thread_is_in_the_c_librarys_clock(box):
    """Of its time zones' lock the child has a copy that nobody will ever open."""
    lines, _ = inside(box, """
import ctypes, signal, threading
gmtime = ctypes.CDLL(None).gmtime_r
stop = threading.Event()
def ask():
    when, told = ctypes.c_long(1), ctypes.create_string_buffer(64)
    while not stop.is_set():
        gmtime(ctypes.byref(when), told)
threads = [threading.Thread(target=ask) for _ in range(3)]
for thread in threads: thread.start()
statuses = set()
for _ in range(30):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        with machine.create(0, "4MiB", 60):
            os._exit(0 if len(machine.list()) == 1 else 1)
    statuses.add(os.waitpid(child, 0)[1])
    for left in machine.list():
        machine.release(left)
    if statuses != {0}:
        break
stop.set()
for thread in threads: thread.join()
print(statuses)
""")
    assert lines == ["{0}"]
