"""What the tests of `chronos run` share: partitions, and a program with a tree of processes."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

PYTHON = sys.executable
FOR_COMMAND = ("--device", 0, "--memory", "1GiB", "--duration")


def partitions(chronos):
    result = chronos("list", "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["partitions"]


def create(chronos, name, duration="1h"):
    result = chronos("create", 0, "1GiB", duration, "--name", name)
    assert result.returncode == 0, result.stderr


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii",
                                                   errors="replace").rpartition(")")[2][1] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def p1(chronos):
    create(chronos, "p1")
    return "p1"


# A program and what it leaves behind: a child, one in a session of its own, a daemon by double fork
# that ignores SIGTERM, and one that is stopped. Each writes its pid into the folder.
TREE = """
import os, signal, sys, time
folder = sys.argv[1]
def stay(name, ignore=False, stop=False):
    if ignore: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(f"{folder}/{name}.new", "w") as file: file.write(str(os.getpid()))
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}")
    if stop: os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)
if os.fork() == 0: stay("child")
if os.fork() == 0: os.setsid(); stay("session")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: stay("daemon", ignore=True)
    os._exit(0)
if os.fork() == 0: stay("stopped", stop=True)
stay("main")
"""
NAMES = ("main", "child", "session", "daemon", "stopped")


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    command = (PYTHON, "-c", TREE, str(folder))

    def pids():
        return [int((folder / name).read_text()) for name in NAMES if (folder / name).exists()]

    yield command, pids
    for pid in pids():
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)
