"""What the end-to-end tests of enforcement share: a sandbox with a driver, a state directory of its
own and the ways into a program; a program that is told step by step what to do."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from fake import BUILD, CLIENTS, GIB, LIBRARY, MIB, ROOT, FakeDriver  # noqa: E402,F401

CHRONOS = BUILD / "bin" / "chronos"
SHIM = BUILD / "lib" / "libchronos_shim.so"
ASAN = BUILD.parent / "asan"  # the same with sanitizers, where it has been built
SCRIPTS = ROOT / "tests" / "clients"
POCL = Path("/etc/OpenCL/vendors/pocl.icd")
INTEL = [Path(folder) / "lib" / "libintelocl.so"
         for folder in (os.environ.get("CHRONOS_INTEL_OPENCL", BUILD.parent / "matrix" / "venv"),
                        BUILD.parent / "venv")]
PYTHON = "/usr/bin/python3"
REFUSED = -4  # CL_MEM_OBJECT_ALLOCATION_FAILURE
INVALID_SIZE = -61  # CL_INVALID_BUFFER_SIZE
PATIENCE = 60  # seconds; only a broken build waits so long

LEVEL = os.environ.get("CHRONOS_TEST_LEVEL", "normal")
FULL = LEVEL == "full" or os.environ.get("CHRONOS_TEST_FULL") == "1"

# The ways into a program: `chronos run`; the shim and the partition's name in the environment; only
# the shim; only the layer.
DOORS = ("run", "named", "owned", "layers")

built = pytest.mark.skipif(not SHIM.exists() or not CHRONOS.exists() or not LIBRARY.exists(),
                           reason=f"{BUILD} is not built")


def by_level(fast, normal, full):
    """How long or how often, by CHRONOS_TEST_LEVEL."""
    return full if FULL else fast if LEVEL == "fast" else normal


def own_lines(text):
    """What Chronos itself said on a program's standard error."""
    return [line for line in text.splitlines() if line.startswith("chronos: ")]


def only_line(text):
    lines = own_lines(text)
    assert len(lines) == 1, f"not one Chronos line in:\n{text}"
    return lines[0]


def sanitizer_library(name):
    """The compiler's own, for LD_PRELOAD."""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], text=True, capture_output=True,
                           check=True).stdout.strip()
    return os.path.realpath(found)


def poll(what, condition, seconds=PATIENCE):
    """Wait until condition() is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still waiting for {what}"
        time.sleep(0.01)


class Box:
    """A state directory and an OpenCL environment of their own."""

    command, shim, scripts = CHRONOS, SHIM, SCRIPTS

    def __init__(self, folder, variables, witness=None):
        self.folder = Path(folder)
        self.state = self.folder / "state"
        self.witness = witness
        self.children = []
        drop = ("CHRONOS_PARTITION", "CHRONOS_CONFIG", "CHRONOS_LOG", "CHRONOS_LIFETIME",
                "LD_PRELOAD", "OPENCL_LAYERS", "OCL_ICD_VENDORS")
        self.env = {name: value for name, value in os.environ.items() if name not in drop}
        self.env.update(variables, CHRONOS_STATE_DIR=str(self.state), PYTHONPATH=str(self.scripts),
                        POCL_CACHE_DIR=str(self.folder / "pocl"), PYOPENCL_NO_CACHE="1")

    # --- the command ------------------------------------------------------------------------

    def chronos(self, *arguments, status=0, **options):
        options.setdefault("env", self.env)
        result = subprocess.run([str(self.command), *map(str, arguments)], text=True,
                                capture_output=True, timeout=PATIENCE, check=False, **options)
        if status is not None:
            assert result.returncode == status, result.stdout + result.stderr
        return result

    def create(self, memory=64 * MIB, name="p1", device=0, duration="1h", **options):
        """A number of bytes, or whatever `chronos create` takes."""
        if isinstance(memory, int):
            memory = f"{memory}B"
        self.chronos("create", device, memory, duration, "--name", name, **options)
        return name

    def partitions(self):
        return {entry["partition_id"]: entry
                for entry in json.loads(self.chronos("list", "--json").stdout)["partitions"]}

    def used(self, name="p1"):
        return self.partitions()[name]["used_bytes"]

    def used_by(self, name="p1"):
        """{pid: bytes} of the processes that hold something."""
        return {entry["pid"]: entry["used_bytes"]
                for entry in self.partitions()[name]["processes"]}

    def files(self, kind):
        return sorted(self.state.glob(f"chronos.*.{kind}"))

    # --- programs ---------------------------------------------------------------------------

    def through(self, door, command, partition="p1", variables=None):
        """(command, environment) of a program that comes in by `door`; None: by none."""
        env = {**self.env, **(variables or {})}
        command = [str(part) for part in command]
        if door == "run":
            command = [str(self.command), "run", "--partition", partition, "--", *command]
        elif door in ("named", "owned"):
            env["LD_PRELOAD"] = str(self.shim)
        elif door == "layers":
            env["OPENCL_LAYERS"] = str(self.shim)
        if door == "named":
            env["CHRONOS_PARTITION"] = partition
        return command, env

    def run(self, *command, door="run", partition="p1", variables=None, **options):
        command, env = self.through(door, command, partition, variables)
        options.setdefault("timeout", 2 * PATIENCE)
        return subprocess.run(command, env=env, text=True, capture_output=True, check=False,
                              **options)

    def python(self, code, **options):
        return self.run(PYTHON, "-c", code, **options)

    def start(self, *command, door="run", partition="p1", variables=None, **options):
        command, env = self.through(door, command, partition, variables)
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        process = subprocess.Popen(command, env=env, text=True, **options)
        self.children.append(process)
        return process

    def session(self, **options):
        options.setdefault("door", "named")
        return Session(self, **options)

    def close(self):
        for process in self.children:
            if process.poll() is None:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    try:
                        stream.close()
                    except BrokenPipeError:
                        pass


class Session:
    """tests/clients/session.py under the tester's hand: call it with a step, get its value."""

    count = 0

    def __init__(self, box, **options):
        Session.count += 1
        self.box = box
        self.errors_path = box.folder / f"session{Session.count}.err"
        with open(self.errors_path, "w", encoding="utf-8") as errors:
            self.process = box.start(PYTHON, box.scripts / "session.py", stderr=errors, **options)
        self.pid = self.process.pid
        self.answer()

    def ask(self, code):
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def answer(self):
        ready = select.select([self.process.stdout], [], [], PATIENCE)[0]
        assert ready, f"no answer:\n{self.errors()}"
        line = self.process.stdout.readline()
        assert line, f"the session ended:\n{self.errors()}"
        return json.loads(line)

    def __call__(self, code):
        self.ask(code)
        value = self.answer()
        assert not (isinstance(value, dict) and "raised" in value), value
        return value

    def become_another(self):
        """exec into the same program anew."""
        self.ask(f"become({PYTHON!r}, {str(self.box.scripts / 'session.py')!r})")
        self.answer()

    def errors(self):
        return self.errors_path.read_text(encoding="utf-8")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        """Let it come to its end; returns its status."""
        self.process.stdin.close()
        return self.process.wait(timeout=PATIENCE)


class FakeBox(Box):
    library = LIBRARY

    def __init__(self, folder, **config):
        config.setdefault("back_memory", False)
        self.driver = FakeDriver(Path(folder) / "fake", library=self.library, **config)
        super().__init__(folder, self.driver.variables)

    def witnessed(self):
        return self.driver.witness()

    def held(self, device=0):
        with self.driver.witness() as witness:
            return witness.held(device)


@pytest.fixture
def fake_box(tmp_path):
    """Makes a FakeBox of a driver's configuration; everything started in it is ended after."""
    made = []

    def make(**config):
        folder = tmp_path / f"box{len(made)}"
        folder.mkdir()
        made.append(FakeBox(folder, **config))
        return made[-1]

    yield make
    for box in made:
        box.close()


@pytest.fixture
def box(fake_box):
    """One fake GPU of 24 GiB."""
    return fake_box()


@pytest.fixture
def pocl(tmp_path):
    if not POCL.exists():
        pytest.skip("PoCL is not installed")
    vendors = tmp_path / "vendors"
    vendors.mkdir()
    shutil.copy(POCL, vendors)
    made = Box(tmp_path, {"OCL_ICD_VENDORS": f"{vendors}/"})
    yield made
    made.close()


@pytest.fixture
def intel(tmp_path):
    """Intel's CPU runtime from PyPI, where it is installed."""
    for library in INTEL:
        if library.exists():
            break
    else:
        pytest.skip("Intel's CPU runtime is not installed")
    vendors = tmp_path / "vendors"
    vendors.mkdir()
    (vendors / "intel.icd").write_text(f"{library}\n", encoding="utf-8")
    made = Box(tmp_path, {"OCL_ICD_VENDORS": f"{vendors}/", "LD_LIBRARY_PATH": str(library.parent)})
    yield made
    made.close()


@pytest.fixture(params=["fake", "pocl", "intel"])
def every_box(request):
    """The same test on the fake driver, on PoCL, and on Intel's runtime."""
    return request.getfixturevalue({"fake": "box"}.get(request.param, request.param))


@pytest.fixture(params=["fake", "pocl"])
def any_box(request):
    """The same test on the fake driver and on PoCL."""
    if request.param == "pocl":
        return request.getfixturevalue("pocl")
    return request.getfixturevalue("box")
