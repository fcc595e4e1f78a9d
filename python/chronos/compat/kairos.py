"""Kairos's scheduler on Chronos's queue: jobs get memory that is reserved for them.

Where Kairos looked whether memory was free and started a job anyway when it could not look, each job
here runs in a partition of ``95 % / jobs_per_gpu`` of its GPU, and waits until it has it. Jobs are
in the queue of this user (``chronos queue list`` shows them) and go on if this process dies.

    from chronos.compat.kairos import GPUScheduler, Job
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .. import _library
from ..errors import ChronosError

__all__ = ["GPUScheduler", "GPUSlot", "Job"]

_LOG_BYTES = 10 * 1024 * 1024
_LOG_BACKUPS = 5
_MOST = 1024  # devices, and jobs on one
#: The status of a job of which none is known: it was cancelled, or its supervisor was killed.
_NO_STATUS = 1


@dataclass
class GPUSlot:
    """One of the places for jobs on a GPU."""

    gpu_id: int
    slot_id: int


@dataclass
class Job:
    """A job for one GPU.

    Attributes:
        command: a line for the shell.
        env: variables above those of this process.
        venv_path: a virtual environment to run it in; from ``working_dir``, if relative.
        working_dir: where it runs; None: here.
        job_name: names its log.
    """

    command: str
    env: Optional[Dict[str, str]] = None
    venv_path: Optional[str] = None
    working_dir: Optional[str] = None
    job_name: Optional[str] = None


def _count(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if not least <= value <= _MOST:
        raise ValueError(f"{name} must be from {least} to {_MOST}")
    return value


def _text(name: str, value: Any) -> str:
    """A string, or a path as one, that a program can be given."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a string, not {type(value).__name__}")
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, not {type(text).__name__}")
    if "\0" in text:
        raise ValueError(f"{name} must not have zero bytes")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text that UTF-8 can hold") from None
    return text


def _check_job(job: Any) -> None:
    """What can be said of a job before anything is done for any."""
    if not _text("command", job.command).strip():
        raise ValueError("command must not be empty")
    for name in ("venv_path", "working_dir", "job_name"):
        value = getattr(job, name)
        if value is not None:
            _text(name, value)
    if job.env is None:
        return
    if not isinstance(job.env, Mapping):
        raise TypeError(f"env must be a dict, not {type(job.env).__name__}")
    for key, value in job.env.items():
        key = _text("a name in env", key)
        if not key or "=" in key:
            raise ValueError(f"env must have names without '=', not {key!r}")
        _text(f"env[{key!r}]", str(value))


def _queue_name(name: str, index: int) -> str:
    """What the queue can call it: there a name is shorter than a file's, and not a folder's."""
    short = name.replace("/", "_").encode("utf-8")[:200].decode("utf-8", "ignore")
    return f"job_{index}" if short in ("", ".", "..") else short


def _now() -> str:
    return datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")


class _JobLog:
    """The log of one job, which no other job has; the queue appends what the job writes."""

    def __init__(self, folder: Path, name: str) -> None:
        stem = f"{name.replace('/', '_')}_{datetime.datetime.now():%Y%m%d_%H%M%S}"
        number = 1
        while True:
            suffix = "" if number == 1 else f"_{number}"
            self.path = folder / f"{stem}{suffix}.log"
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
                return
            except FileExistsError:
                number += 1

    def say(self, message: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{_now()} - {message}\n")


class GPUScheduler:
    """Runs jobs on the first ``n_gpus`` GPUs, at most ``jobs_per_gpu`` of them on each.

    Args:
        n_gpus: how many GPUs may be used, from number 0 on. Of more than there are, those there are.
        jobs_per_gpu: each job gets an equal part of 95 % of its GPU's memory.
        log_dir: folder for ``kairos.log`` and the logs of jobs; made where it is missing.
        check_interval: kept for Kairos's sake; nothing is polled here.

    Raises:
        TypeError, ValueError: an argument is not what it must be; nothing has been changed.
    """

    def __init__(
        self,
        n_gpus: int,
        jobs_per_gpu: int,
        log_dir: str = "logs",
        check_interval: float = 5.0,
    ) -> None:
        self.n_gpus = _count("n_gpus", n_gpus)
        self.jobs_per_gpu = _count("jobs_per_gpu", jobs_per_gpu)
        self.check_interval = check_interval
        self.log_dir = Path(_text("log_dir", log_dir))
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.gpu_slots = [
            GPUSlot(gpu_id=gpu, slot_id=slot)
            for gpu in range(n_gpus)
            for slot in range(jobs_per_gpu)
        ]
        self.total_jobs = 0
        self.completed_jobs = 0
        self.logger = self._main_logger()
        self.logger.info(
            "Initialized GPU Scheduler with %d GPUs and %d jobs per GPU", n_gpus, jobs_per_gpu
        )
        self.logger.info("Log directory: %s", self.log_dir)

    def _main_logger(self) -> logging.Logger:
        logger = logging.getLogger("kairos.scheduler")
        logger.setLevel(logging.INFO)
        # Of several schedulers in one process the last one's folder gets the log.
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        formatter = logging.Formatter(
            "%(asctime)s - %(levelname)s - %(message)s", datefmt="%Y-%m-%d %H:%M:%S"
        )
        handlers: List[logging.Handler] = [
            RotatingFileHandler(
                self.log_dir / "kairos.log", maxBytes=_LOG_BYTES, backupCount=_LOG_BACKUPS
            ),
            logging.StreamHandler(),
        ]
        for handler in handlers:
            handler.setFormatter(formatter)
            logger.addHandler(handler)
        return logger

    # --- running jobs -----------------------------------------------------------------------

    def run_jobs(self, jobs: Sequence[Job]) -> List[int]:
        """Runs all jobs and returns their exit statuses, in the order of ``jobs``.

        A job that cannot be started (no such folder, no such virtual environment, no log) has a
        status that is not 0, and its log and ``chronos queue show`` say why. If this call is
        interrupted, its jobs are cancelled.

        Raises:
            ChronosError: there is no device, or the queue cannot be used: nothing has been started.
            TypeError, ValueError: a job is not what it must be: nothing has been started.
        """
        return self._run(list(jobs), None)

    def run_job(self, gpu_slot: GPUSlot, job: Job, job_index: int) -> int:
        """Runs one job on the GPU of ``gpu_slot`` and returns its exit status."""
        if not isinstance(gpu_slot, GPUSlot):
            raise TypeError(f"gpu_slot must be a GPUSlot, not {type(gpu_slot).__name__}")
        gpu = _count("gpu_id", gpu_slot.gpu_id, least=0)
        return self._run([job], [gpu], first_index=int(job_index))[0]

    def _run(
        self, jobs: List[Job], gpus: Optional[List[int]], first_index: int = 0
    ) -> List[int]:
        for job in jobs:
            if not isinstance(job, Job):
                raise TypeError(f"a job must be a Job, not {type(job).__name__}")
            _check_job(job)
        self.total_jobs = len(jobs)
        self.completed_jobs = 0
        self.logger.info(
            "Starting %d jobs across %d GPUs (%d jobs per GPU)",
            len(jobs), self.n_gpus, self.jobs_per_gpu,
        )
        if not jobs:
            return []
        devices = self._devices() if gpus is None else gpus
        results = [_NO_STATUS] * len(jobs)
        logs: Dict[int, _JobLog] = {}
        lines: List[str] = []
        queued: List[int] = []  # places in `jobs`
        for place, job in enumerate(jobs):
            index = first_index + place
            name = str(job.job_name or f"job_{index}")
            try:
                log = _JobLog(self.log_dir, name)
                log.say("Starting job with configuration: "
                        + json.dumps(self._facts(job, index), indent=2))
            except OSError as error:
                self.logger.error("Job %d (%s) has no log: %s", index, name, error)
                continue
            logs[place] = log
            queued.append(place)
            lines.append(json.dumps(self._request(job, index, log, devices)))
        ids = self._queue("add", "-", input="\n".join(lines) + "\n")["jobs"] if lines else []
        try:
            for place, job_id in zip(queued, ids):
                entry = self._queue("wait", str(job_id), status=(0, 1))["jobs"][0]
                results[place] = self._completed(jobs[place], first_index + place, entry,
                                                 logs[place])
        except BaseException:
            self._queue("cancel", *[str(one) for one in ids], status=(0, 1))
            raise
        self.logger.info("All jobs completed!")
        return results

    def _facts(self, job: Job, index: int) -> Dict[str, Any]:
        return {
            "event": "job_start",
            "job_index": index,
            "job_name": str(job.job_name or f"job_{index}"),
            "command": str(job.command),
            "working_dir": str(job.working_dir or os.getcwd()),
            "start_time": datetime.datetime.now().isoformat(),
        }

    def _request(
        self, job: Job, index: int, log: _JobLog, devices: List[int]
    ) -> Dict[str, Any]:
        name = str(job.job_name or f"job_{index}")
        folder = os.path.abspath(job.working_dir or os.getcwd())
        request: Dict[str, Any] = {
            "command": str(job.command),
            "name": _queue_name(name, index),
            "cwd": folder,
            "log": os.path.abspath(log.path),
            "jobs_per_gpu": self.jobs_per_gpu,
            "devices": devices,
        }
        if job.env:
            request["env"] = {str(key): str(value) for key, value in job.env.items()}
        if job.venv_path:
            # Kairos sources it in the job's folder.
            request["venv"] = os.path.join(folder, os.path.expanduser(job.venv_path))
        return request

    def _completed(self, job: Job, index: int, entry: Dict[str, Any], log: _JobLog) -> int:
        status = entry["exit_status"]
        status = _NO_STATUS if status is None else int(status)
        if entry["state"] != "done" and status == 0:
            status = _NO_STATUS
        facts = {
            "event": "job_completion",
            "job_index": index,
            "job_name": str(job.job_name or f"job_{index}"),
            "gpu_id": None if entry["devices"] is None else int(entry["devices"]),
            "start_time": entry["started_at"],
            "end_time": entry["ended_at"],
            "return_code": status,
            "status": "Success" if status == 0 else "Failed",
            "reason": entry["reason"],
        }
        try:
            log.say("Job completed: " + json.dumps(facts, indent=2))
        except OSError as error:
            self.logger.error("Job %d: %s", index, error)
        self.completed_jobs += 1
        reason = f" ({entry['reason']})" if entry["reason"] else ""
        self.logger.info(
            "Job %d/%d (%s) completed with status: %s%s",
            index, self.total_jobs, facts["job_name"], facts["status"], reason,
        )
        return status

    # --- the command ------------------------------------------------------------------------

    def _devices(self) -> List[int]:
        known = [device["device"] for device in self._chronos("stats")["devices"]]
        devices = [number for number in range(self.n_gpus) if number in known]
        if not devices:
            raise ChronosError(f"none of the {self.n_gpus} GPUs asked for is here")
        if len(devices) < self.n_gpus:
            self.logger.warning("%d GPUs asked for, %d here", self.n_gpus, len(devices))
        return devices

    def _queue(self, *arguments: str, **options: Any) -> Dict[str, Any]:
        return self._chronos("queue", *arguments, **options)

    @staticmethod
    def _chronos(
        *arguments: str, input: Optional[str] = None, status: Sequence[int] = (0,)
    ) -> Dict[str, Any]:
        command = [_library.load().command_path(), *arguments, "--json"]
        done = subprocess.run(
            command, input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            encoding="utf-8", check=False,
        )
        if done.returncode not in status or not done.stdout:
            raise ChronosError(done.stderr.strip() or f"chronos ended with {done.returncode}")
        if done.stderr:
            sys.stderr.write(done.stderr)
        answer: Dict[str, Any] = json.loads(done.stdout)
        return answer
