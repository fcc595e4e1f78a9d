"""The Python package: waiting in line for memory, blocking and with asyncio."""

import asyncio
import os
import threading
import time

import pytest
from python_package import partitioner, python, state_dir  # noqa: F401

import chronos
from support import poll


def in_line(state_dir):
    return [name for name in os.listdir(state_dir) if name.endswith(".ticket")]


def test_waits_until_there_is_room(partitioner, state_dir):
    first = partitioner.create(0, 0.75, 60)
    made = []
    thread = threading.Thread(target=lambda: made.append(partitioner.create(0, 0.5, 60, wait=True)))
    thread.start()
    poll("somebody in line", lambda: in_line(state_dir))
    assert made == []
    first.release()
    thread.join()
    assert made[0].memory_fraction == 0.5
    assert in_line(state_dir) == []


@pytest.mark.parametrize("wait", [0, 0.0, 0.05, "0", "1s"])
def test_waits_no_longer_than_said(partitioner, state_dir, wait):
    partitioner.create(0, 0.75, 60)
    with pytest.raises(chronos.NotEnoughMemory) as caught:
        partitioner.create(0, 0.5, 60, wait=wait)
    assert caught.value.asked > caught.value.available
    assert "waited" in str(caught.value)
    assert in_line(state_dir) == []


@pytest.mark.parametrize("wait", [None, [], b"1s", "soon", -1, float("nan"), float("inf"), "1s\0"])
def test_bad_waits(partitioner, wait):
    with pytest.raises((TypeError, chronos.InvalidRequest)):
        partitioner.create(0, 0.5, 60, wait=wait)
    assert partitioner.list() == []


def test_ctrl_c_leaves_the_line(partitioner, state_dir):
    """In a program of its own: a runner of tests may ignore the signal."""
    partitioner.create(0, 0.75, 60)
    code = """
import chronos, os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
def in_line():
    return [n for n in os.listdir(os.environ["CHRONOS_STATE_DIR"]) if n.endswith(".ticket")]
def interrupt():
    while not in_line():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    chronos.Partitioner().create(0, 0.5, 60, wait=True)
except KeyboardInterrupt:
    print("interrupted", in_line())
"""
    assert python(code) == "interrupted []\n"
    assert len(partitioner.list()) == 1


def test_a_task_waits_and_others_go_on(partitioner, state_dir):
    async def main():
        first = await partitioner.create_async(0, 0.75, 60)
        waiting = asyncio.ensure_future(partitioner.create_async(0, 0.5, 60, wait="1m"))
        while not in_line(state_dir):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        first.release()
        async with await waiting as second:
            assert os.environ["CHRONOS_PARTITION"] == second.handle
        assert partitioner.list() == []

    asyncio.run(main())


def test_cancelling_a_task_leaves_the_line(partitioner, state_dir):
    async def main():
        waiting = asyncio.ensure_future(partitioner.create_async(0, 0.5, 60, wait=True))
        while not in_line(state_dir):
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert in_line(state_dir) == []
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(partitioner.create_async(0, 0.5, 60, wait=True), 0.05)
        assert in_line(state_dir) == []

    first = partitioner.create(0, 0.75, 60)
    asyncio.run(main())
    first.release()
    assert partitioner.list() == []


def test_cancelled_in_the_instant_in_which_it_is_made(partitioner):
    """Wherever the cancellation falls, the partition is either handed over or gone."""

    async def main():
        for turns in range(30):
            task = asyncio.ensure_future(partitioner.create_async(0, 0.5, 60, wait=True))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            try:
                (await task).release()
            except asyncio.CancelledError:
                pass
            assert partitioner.list() == []

    asyncio.run(main())


def test_a_loop_that_is_closed_meanwhile_leaves_nothing(partitioner, state_dir):
    first = partitioner.create(0, 0.75, 60)
    loop = asyncio.new_event_loop()
    coroutine = partitioner.create_async(0, 0.5, 60, wait=True)
    task = loop.create_task(coroutine)
    poll("somebody in line", lambda: loop.run_until_complete(asyncio.sleep(0)) or in_line(state_dir))
    task._log_destroy_pending = False
    loop.close()
    first.release()
    poll("nothing", lambda: not in_line(state_dir) and not partitioner.list())
    coroutine.close()


def test_errors_of_a_request_that_waits(partitioner):
    async def main():
        for arguments, error in [(dict(device=99), chronos.NoDevice),
                                 (dict(memory="nonsense"), chronos.InvalidRequest),
                                 (dict(memory="60TiB"), chronos.NotEnoughMemory),
                                 (dict(duration=None), TypeError)]:
            with pytest.raises(error):
                await partitioner.create_async(**{**dict(duration=60, wait=True), **arguments})

    asyncio.run(main())


def test_no_descriptor_is_left_behind(partitioner):
    def count():
        return len(os.listdir("/proc/self/fd"))

    partitioner.create(0, 0.75, 60)
    before = count()
    for _ in range(5):
        with pytest.raises(chronos.NotEnoughMemory):
            partitioner.create(0, 0.5, 60, wait=0)
    assert count() == before


def test_who_dies_in_line_is_gone_from_it(partitioner, state_dir):
    partitioner.create(0, 0.75, 60)
    code = """
import chronos, os, threading
def end():
    while not [n for n in os.listdir(os.environ["CHRONOS_STATE_DIR"]) if n.endswith(".ticket")]:
        pass
    os._exit(0)
threading.Thread(target=end).start()
chronos.Partitioner().create(0, 0.5, 60, wait=True)
"""
    python(code)
    partitioner.release("partition_0001")
    start = time.monotonic()
    partitioner.create(0, 0.75, 60, wait="1m")
    assert time.monotonic() - start < 30
