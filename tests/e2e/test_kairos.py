"""chronos.compat.kairos: what Kairos documents, on 4 fake GPUs and on the system's own devices."""

import json
import os
import subprocess
import sys

import pytest
from queueing import GIB, QueueBox, gpus
from support import FULL, POCL, ROOT, built

pytestmark = built

# The two examples of its README, with the programs and folders that they speak of.
QUICK_START = """
from kairos import GPUScheduler, Job
scheduler = GPUScheduler(n_gpus=4, jobs_per_gpu=2)
jobs = [
    Job(
        command="python train.py --config config1.yaml",
        venv_path=".venv",
        working_dir={project!r},
        job_name="train_model1"
    ),
    Job(
        command="python train.py --config config2.yaml",
        env={{"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:5000"}},
        job_name="train_model2"
    )
]
results = scheduler.run_jobs(jobs)
"""


@pytest.fixture(params=["fake", "pocl"])
def kairos(request, tmp_path):
    """Runs Python code that may `import kairos`; its last line must make `answer`."""
    if request.param == "pocl" and not POCL.exists():
        pytest.skip("PoCL is not installed")
    box = QueueBox(tmp_path, devices=gpus(4))
    if request.param == "pocl":
        del box.env["OCL_ICD_VENDORS"]
    path = subprocess.run([sys.executable, "-m", "chronos.compat", "path"], text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
                          stdout=subprocess.PIPE).stdout.strip()
    box.env["PYTHONPATH"] = f"{path}:{ROOT / 'python'}"
    box.env["CHRONOS_LIBRARY"] = str(box.command.parents[1] / "lib" / "libchronos.so")
    work = tmp_path / "work"
    work.mkdir()

    def run(code, answer="results"):
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\nimport json; print(json.dumps({answer}))"],
            env=box.env, cwd=work, text=True, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run.box, run.work, run.is_fake = box, work, request.param == "fake"
    yield run
    box.close()


def test_the_quick_start_runs_as_written(kairos, tmp_path):
    project = kairos.work / "project"
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "bin" / "activate").write_text("export IN_VENV=yes\n")
    program = "import os, sys; print(sys.argv[1:], os.environ.get('IN_VENV'), " \
              "os.environ.get('PYTORCH_CUDA_ALLOC_CONF'), os.environ['CUDA_VISIBLE_DEVICES'])\n"
    (project / "train.py").write_text(program)
    (kairos.work / "train.py").write_text(program)
    (kairos.work / "bin").mkdir()
    (kairos.work / "bin" / "python").symlink_to(sys.executable)
    kairos.box.env["PATH"] = f"{kairos.work / 'bin'}:{kairos.box.env['PATH']}"
    assert kairos(QUICK_START.format(project=str(project))) == [0, 0]
    logs = sorted((kairos.work / "logs").glob("train_model*.log"))
    assert [log.name.split("_2")[0] for log in logs] == ["train_model1", "train_model2"]
    assert "['--config', 'config1.yaml'] yes None 0\n" in logs[0].read_text()
    assert "['--config', 'config2.yaml'] None max_split_size_mb:5000 0\n" in logs[1].read_text()
    assert '"return_code": 0' in logs[0].read_text()
    assert "completed with status: Success" in (kairos.work / "logs" / "kairos.log").read_text()


def test_statuses_come_in_the_order_of_the_jobs(kairos):
    code = """
from kairos import GPUScheduler, Job
jobs = [Job(command=f"sleep {wait}; exit {status}", job_name="same")
        for wait, status in ((0.3, 3), (0, 0), (0.1, 5), (0, 1))]
jobs += [Job(command="true", working_dir="/nowhere"), Job(command="true", venv_path="none"),
         Job(command="no-such-command"), Job(command="kill -9 $$")]
scheduler = GPUScheduler(n_gpus=1, jobs_per_gpu=2, log_dir="l")
results = scheduler.run_jobs(jobs)
assert scheduler.completed_jobs == len(jobs), scheduler.completed_jobs
"""
    assert kairos(code) == [3, 0, 5, 1, 125, 125, 127, 137]
    # Four jobs of one name, started within a second, and not one log between two of them.
    logs = list((kairos.work / "l").glob("same_*.log"))
    assert len(logs) == 4
    assert sorted(log.read_text().count("Job completed") for log in logs) == [1, 1, 1, 1]


def test_each_job_has_its_share_and_its_gpus_number(kairos):
    if not kairos.is_fake:
        pytest.skip("needs four devices")
    chronos = kairos.box.command
    code = f"""
from kairos import GPUScheduler, Job
jobs = [Job(command="echo gpu=$CUDA_VISIBLE_DEVICES; {chronos} list --json; sleep 0.2",
            env={{"CUDA_VISIBLE_DEVICES": "7"}}, job_name=f"j{{i}}") for i in range(6)]
scheduler = GPUScheduler(n_gpus=2, jobs_per_gpu=2, log_dir="l")
results = scheduler.run_jobs(jobs)
"""
    assert kairos(code) == [0] * 6
    gpus_seen = set()
    for log in (kairos.work / "l").glob("j*.log"):
        text = log.read_text()
        gpus_seen.add(text.split("\ngpu=")[1].split()[0])
        limits = [int(line.split(":")[1].strip(" ,"))
                  for line in text.splitlines() if '"limit_bytes"' in line]
        assert limits and set(limits) == {int(24 * GIB * 0.95 / 2)}
    assert gpus_seen <= {"0", "1"}


def test_where_there_is_no_device_nothing_starts_anyway(kairos):
    kairos.box.env["OCL_ICD_VENDORS"] = str(kairos.work) + "/"
    code = """
from kairos import GPUScheduler, Job
try:
    GPUScheduler(n_gpus=1, jobs_per_gpu=1).run_jobs([Job(command="touch started")])
    results = "it ran"
except Exception as error:
    results = type(error).__name__
"""
    assert kairos(code) != "it ran"
    assert not (kairos.work / "started").exists()


def test_its_names_and_defaults():
    sys.path.insert(0, str(ROOT / "python"))
    from chronos.compat.kairos import GPUSlot, Job
    job = Job("x")
    assert (job.env, job.venv_path, job.working_dir, job.job_name) == (None, None, None, None)
    assert GPUSlot(gpu_id=1, slot_id=2) == GPUSlot(1, 2)


HOSTILE = """
import os
from kairos import GPUScheduler, GPUSlot, Job
class Rude:
    def __fspath__(self): return b"bytes"
common = [b"bytes", 5, 1.5, ["a"], {"a": 1}, object(), Rude(), "zero\\0byte", "lone\\ud800half"]
bad = [{"command": value} for value in [*common, None, "", "  \\n"]]
bad += [{field: value} for field in ("venv_path", "working_dir", "job_name") for value in common]
bad += [{"env": value} for value in [b"x", 5, "A=B", ["A"], {1: "a"}, {None: "a"}, {"": "a"},
                                     {"A=B": "a"}, {"A": "zero\\0byte"}, {"A": "lone\\udfff"}]]
def refused(call):
    try:
        call()
    except (TypeError, ValueError) as error:
        return str(error) != "" and "\\n" not in str(error)
    return False
accepted = []
for arguments in ([0, 1], [1, 0], [-1, 1], ["1", 1], [1, 1.5], [None, 1], [True, 1], [10**30, 1],
                  [1, 4097], [1, 1, b"logs"], [1, 1, None], [1, 1, "a\\0b"]):
    if not refused(lambda: GPUScheduler(*arguments)): accepted.append(arguments)
assert not os.path.exists("logs") and os.listdir(".") == [], os.listdir(".")
scheduler = GPUScheduler(n_gpus=1, jobs_per_gpu=1, log_dir="l")
before = open("l/kairos.log").read()
for one in bad:
    jobs = [Job("touch started"), Job(**{"command": "true", **one})]
    if not refused(lambda: scheduler.run_jobs(jobs)): accepted.append(one)
    if not refused(lambda: scheduler.run_job(GPUSlot(0, 0), jobs[1], 0)): accepted.append(one)
for jobs in (["true"], [None], 5, None, [Job("touch started"), {"command": "true"}]):
    if not refused(lambda: scheduler.run_jobs(jobs)): accepted.append(jobs)
assert os.listdir("l") == ["kairos.log"] and open("l/kairos.log").read() == before
assert os.listdir(".") == ["l"], os.listdir(".")
"""


def test_hostile_arguments_are_refused_and_change_nothing(kairos):
    if not kairos.is_fake:
        pytest.skip("has nothing to do with devices")
    assert kairos(HOSTILE, "[repr(one) for one in accepted]") == []
    assert kairos.box.jobs() == []


def test_names_that_no_queue_takes_are_taken_here(kairos):
    if not kairos.is_fake:
        pytest.skip("has nothing to do with devices")
    code = """
from kairos import GPUScheduler, Job
names = ["..", ".", "a/b", "-n", "x" * 190, "\\u00e4" * 110, "with\\nline", "y" * 300]
results = GPUScheduler(1, 1, log_dir="l").run_jobs([Job("true", job_name=one) for one in names])
"""
    # The last is no name of a file.
    assert kairos(code) == [0] * 7 + [1]


@pytest.mark.skipif(not FULL, reason="long: thousands of writes")
def test_its_main_log_is_rotated(kairos):
    code = """
from kairos import GPUScheduler
scheduler = GPUScheduler(n_gpus=1, jobs_per_gpu=1, log_dir="l")
for handler in list(scheduler.logger.handlers):
    if type(handler).__name__ == "StreamHandler":
        scheduler.logger.removeHandler(handler)
for _ in range(8):
    scheduler.logger.info("x" * (9 << 20))
results = None
"""
    kairos(code)
    logs = sorted(path.name for path in (kairos.work / "l").glob("kairos.log*"))
    assert logs == ["kairos.log"] + [f"kairos.log.{n}" for n in range(1, 6)]
