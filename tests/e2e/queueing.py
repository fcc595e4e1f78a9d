"""What the tests of the queue share: a box of fake GPUs with a queue of its own."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support import CLIENTS, GIB, PATIENCE, FakeBox, poll

CLIENT = CLIENTS / "linked_c"


class QueueBox(FakeBox):
    """A FakeBox whose user has a queue: its folder and its runner are this box's alone."""

    def __init__(self, folder, **config):
        super().__init__(folder, **config)
        self.home = self.folder / "home"
        self.queue_folder = self.home / "chronos"
        self.env["XDG_STATE_HOME"] = str(self.home)
        self.env.pop("XDG_RUNTIME_DIR", None)
        self.env.pop("CUDA_VISIBLE_DEVICES", None)
        self.daemon = self.command.parent / "chronosd"

    # --- the command ------------------------------------------------------------------------

    def queue(self, *arguments, **options):
        return self.chronos("queue", *arguments, **options)

    def ask(self, verb, *arguments, status=0, **options):
        return json.loads(self.queue(verb, "--json", *arguments, status=status, **options).stdout)

    def add(self, *arguments, **options):
        """The ids of the jobs that `queue add` made."""
        return self.ask("add", *arguments, **options)["jobs"]

    def shell(self, line, *options):
        """The id of a job for this shell line."""
        return self.add(*options, "--shell", "--", line)[0]

    def add_lines(self, lines, *options):
        text = "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines)
        return self.add(*options, "-", input=text + "\n")

    def job(self, job):
        return self.ask("show", job)

    def jobs(self):
        return self.ask("list")["jobs"]

    def state_of(self, job):
        return self.job(job)["state"]

    def wait(self, *jobs, status=0):
        return self.ask("wait", *jobs, "--timeout", f"{PATIENCE - 5}s", status=status)["jobs"]

    def log(self, job):
        return self.queue("logs", job).stdout

    # --- the runner -------------------------------------------------------------------------

    def runner_pid(self):
        return self.ask("list")["runner_pid"]

    def kill_runner(self):
        """The runner's pid, which is gone then; None if there was none."""
        pid = self.runner_pid()
        if pid is not None:
            kill(pid)
        return pid

    def supervisors(self):
        """{job: pid} of the living supervisors of this box's queue."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if (b"--supervise" in words
                    and f"XDG_STATE_HOME={self.home}".encode() in environment):
                found[int(words[words.index(b"--supervise") + 1])] = int(folder.name)
        return found

    def processes(self):
        """The pids of everything that was started in this box."""
        wanted = f"XDG_STATE_HOME={self.home}".encode()
        pids = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    pids.append(int(folder.name))
            except OSError:
                continue
        return pids

    def reboot(self):
        """What a reboot leaves: the disk. (The boot id is this machine's; see the tests.)"""
        for _ in range(20):
            pids = self.processes()
            if not pids:
                break
            for pid in pids:
                kill(pid)
        for file in self.state.glob("chronos.*"):
            file.unlink(missing_ok=True)

    def close(self):
        self.reboot()
        super().close()


def kill(pid):
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        import select
        select.select([descriptor], [], [], PATIENCE)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def gpus(count=4, gib=24):
    return [{"name": f"Fake GPU {number}", "memory_bytes": gib * GIB} for number in range(count)]


@pytest.fixture
def queue_box(tmp_path):
    """One fake GPU of 24 GiB unless told otherwise."""
    made = []

    def make(count=1, gib=24):
        folder = tmp_path / f"q{len(made)}"
        folder.mkdir()
        made.append(QueueBox(folder, devices=gpus(count, gib)))
        return made[-1]

    yield make
    for box in made:
        box.close()


@pytest.fixture
def queue(queue_box):
    return queue_box()


__all__ = ["CLIENT", "GIB", "PATIENCE", "QueueBox", "gpus", "kill", "poll", "pytest",
           "queue", "queue_box", "subprocess", "time"]
