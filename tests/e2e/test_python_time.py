"""The Python package: how long a partition has left, and callbacks before its end."""

import datetime
import os
import queue
import threading
import time

import pytest
from python_package import partitioner, python, state_dir  # noqa: F401

import chronos
from chronos import _expiring
from support import PATIENCE, poll


def test_when_it_ends(partitioner):
    before = datetime.datetime.now(datetime.timezone.utc)
    partition = partitioner.create(0, 0.5, "1h")
    after = datetime.datetime.now(datetime.timezone.utc)
    slack = datetime.timedelta(seconds=2)  # whole seconds
    hour = datetime.timedelta(hours=1)
    assert before + hour - slack <= partition.expires_at <= after + hour + slack
    partition.extend("30m")
    assert partition.expires_at >= before + 1.5 * hour - slack
    last = partition.expires_at
    partition.release()
    assert partition.expires_at == last


def test_usage(partitioner):
    partition = partitioner.create(0, "64MiB", 60)
    assert partition.usage() == chronos.Usage(0, 0, 64 << 20, 0)
    partition.release()
    with pytest.raises(chronos.PartitionNotFound):
        partition.usage()


def test_a_callback_comes_before_the_end(partitioner):
    calls = queue.Queue()
    partition = partitioner.create(0, 0.5, 62)
    partition.on_expiring(lambda p: calls.put((p, threading.current_thread().daemon,
                                               p.time_remaining)), before="1m")
    called_with, daemon, left = calls.get(timeout=PATIENCE)
    assert called_with is partition and daemon
    assert left <= 60


def test_with_less_time_than_that_it_comes_at_once(partitioner):
    for before in ("5m", 300, datetime.timedelta(minutes=5), "1h30m", "90.5"):
        calls = queue.Queue()
        partitioner.create(0, 0.1, 60).on_expiring(calls.put, before=before)
        calls.get(timeout=PATIENCE)


def make_due(notice):
    """Lets the thread look at it as if its time had come."""
    notice._due = 0.0
    _expiring._watcher._timer.wake()


def test_an_extension_puts_it_off(partitioner):
    calls = queue.Queue()
    partition = partitioner.create(0, 0.5, "1h")
    notice = partition.on_expiring(calls.put, before="50m")
    partition.extend("1h")
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    make_due(notice)
    poll("a look", lambda: notice._due > 0)
    assert 3600 < notice._due - before < 2 * 3600
    assert calls.empty()
    notice.cancel()


def test_cancelled_and_released_ones_do_not_come(partitioner):
    calls = queue.Queue()
    cancelled, released = partitioner.create(0, 0.1, "1h"), partitioner.create(0, 0.1, "1h")
    notice = cancelled.on_expiring(calls.put, before="50m")
    last = released.on_expiring(calls.put, before="50m")
    notice.cancel()
    notice.cancel()
    assert notice not in _expiring._watcher._notices
    released.release()
    make_due(last)
    poll("a look", lambda: last not in _expiring._watcher._notices)
    assert calls.empty()
    with pytest.raises(chronos.PartitionNotFound):
        released.on_expiring(calls.put)


def test_what_a_callback_raises_goes_to_the_threads_hook(partitioner, monkeypatch):
    seen = queue.Queue()
    monkeypatch.setattr(threading, "excepthook", lambda caught: seen.put(caught.exc_value))

    def fail(partition):
        raise RuntimeError("no")

    partition = partitioner.create(0, 0.1, 60)
    partition.on_expiring(fail)
    assert str(seen.get(timeout=PATIENCE)) == "no"
    calls = queue.Queue()
    partition.on_expiring(calls.put)
    calls.get(timeout=PATIENCE)


def test_the_thread_ends_with_its_work_and_leaves_no_descriptor(partitioner):
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "chronos-expiry"]

    poll("no thread", lambda: not threads())
    before = len(os.listdir("/proc/self/fd"))
    partition = partitioner.create(0, 0.1, 60)
    notices = [partition.on_expiring(print, before="1s") for _ in range(5)]
    assert len(threads()) == 1
    for notice in notices:
        notice.cancel()
    poll("the thread's end", lambda: not threads())
    poll("its descriptors' end", lambda: len(os.listdir("/proc/self/fd")) == before)


def test_a_thread_that_waits_uses_no_time(partitioner):
    def spent():
        return sum(os.times()[:2])

    partition = partitioner.create(0, 0.1, 3600)
    notice = partition.on_expiring(print, before="1s")
    start = spent()
    time.sleep(0.3)
    assert spent() - start < 0.1
    notice.cancel()


def test_a_forked_child_does_not_call(partitioner):
    code = """
import chronos, os, queue
from chronos import _expiring
partition = chronos.Partitioner().create(0, 0.5, "1h")
notice = partition.on_expiring(print, before="50m")
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert _expiring._watcher._notices == [notice]
    print("goes on")
else:
    assert _expiring._watcher._notices == []
    own = queue.Queue()
    partition.on_expiring(own.put, before="2h")  # a thread of the child's own
    own.get(timeout=60)
    os._exit(0)
"""
    assert python(code) == "goes on\n"


@pytest.mark.parametrize("before", [None, b"5m", [], True, float("nan"), float("inf"), -1, "soon",
                                    "5x", "", "\ud800", 1j])
def test_bad_times(partitioner, before):
    partition = partitioner.create(0, 0.1, 60)
    with pytest.raises((TypeError, chronos.InvalidRequest)) as caught:
        partition.on_expiring(print, before=before)
    assert "before" in str(caught.value)
    with pytest.raises(TypeError):
        partition.on_expiring(None)
