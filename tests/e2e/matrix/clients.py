"""The matrix's rows: real programs, how each is run and sized, and how it tells that memory is out.
docs/coverage.md shows these rows and no others: test_matrix.py holds one against the other.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fake import CLIENTS, ROOT

PROGRAMS = ROOT / "tests" / "clients" / "programs"
# What scripts/deps --full makes: wheels of some hundred MB.
ENVIRONMENT = ROOT / "build" / "matrix" / "venv"
# What scripts/deps makes: PyOpenCL's wheel alone.
SMALL_ENVIRONMENT = ROOT / "build" / "venv"
PARTITION_MIB = 64
REPORT = ROOT / "docs" / "coverage.md"
RESULTS = ROOT / "build" / "matrix" / "results.json"

# The columns: the ways into a program (support.Box.through), and what the document calls them.
DOORS = {"run": "`chronos run`", "owned": "only `LD_PRELOAD`", "layers": "only `OPENCL_LAYERS`"}


@dataclass(frozen=True)
class Outside:
    """A door that does not reach the program: it must run as if there were no Chronos."""

    why: str


@dataclass(frozen=True, eq=False)
class Client:
    """A program. In `command`, "{size}" stands for the size, in a unit of the program's own."""

    name: str
    command: tuple
    fits: int | str | None = None  # a size that the partition of 64 MiB has room for
    too_big: int | str | None = None  # one that it has not, but the device has
    refusal: str = ""  # what the program then prints, a regular expression
    refusal_status: int = 3
    driver: str = "pocl"
    full: bool = False  # only with scripts/test --full
    stays: bool = False  # ends with `all released` and waits for the end of stdin
    charges_mib: float = 0  # the least that the fitting size charges
    variables: dict = field(default_factory=dict)
    steady: Callable[[str], str] = str  # output without what differs between any two runs
    outside: dict = field(default_factory=dict)  # {door: Outside}
    needs: tuple = ()  # files

    def arguments(self, size):
        return [str(part).replace("{size}", str(size)) for part in self.command]

    def expected(self, door):
        """What the document says in this row's cell of `door`."""
        if door in self.outside:
            return "not reached"
        return "same, refused, 0 left" if self.too_big else "same, 0 left"

    def missing(self):
        """Why it cannot run here, or None."""
        for path in (*self.needs, *DRIVERS[self.driver].needs):
            if not Path(path).exists():
                return f"{path} is not there"
        return None


@dataclass(frozen=True)
class Driver:
    """The one driver that a program then sees."""

    title: str
    library: str  # what its .icd file names
    needs: tuple = ()
    variables: dict = field(default_factory=dict)


def _icd(name):
    """The library that an installed driver's .icd file names; the file itself if there is none."""
    path = Path("/etc/OpenCL/vendors") / name
    return path.read_text(encoding="ascii").strip() if path.exists() else str(path)


INTEL = ENVIRONMENT / "lib" / "libintelocl.so"
OCLGRIND = Path("/usr/lib/oclgrind/liboclgrind-rt-icd.so")
RUSTICL = Path("/etc/OpenCL/vendors/rusticl.icd")
DRIVERS = {
    "pocl": Driver("PoCL", _icd("pocl.icd"), needs=("/etc/OpenCL/vendors/pocl.icd",)),
    "intel": Driver("Intel's CPU runtime", str(INTEL), needs=(INTEL,)),
    "oclgrind": Driver("Oclgrind", str(OCLGRIND), needs=(OCLGRIND,)),
    "rusticl": Driver("rusticl on llvmpipe", _icd("rusticl.icd"), needs=(RUSTICL,),
                      variables={"RUSTICL_ENABLE": "llvmpipe"}),
}


def without_figures(text):
    """Measured times and rates differ from run to run."""
    return re.sub(r"\d+(\.\d+)?(?= *(us|ms|GBPS|\||$))|(?<=: )\d+\.\d+", "N", text,
                  flags=re.M)


def without_memory(text):
    """clinfo shows the partition's numbers, which is what it is run for."""
    return re.sub(r"^ *(Global memory size|Max memory allocation) .*$", "", text, flags=re.M)


def own(name, program, **options):
    """A program of tests/clients/programs in C or C++."""
    fits = options.pop("fits", 16)
    arguments = options.pop("arguments", ())
    return Client(name, (CLIENTS / program, "{size}", *arguments), fits=fits, charges_mib=fits / 2,
                  too_big=options.pop("too_big", 128),
                  refusal=options.pop("refusal", r"^out of memory: .*-[45]$"), stays=True,
                  needs=(CLIENTS / program, *options.pop("needs", ())), **options)


def script(name, program, python, **options):
    """A program of tests/clients/programs in Python."""
    options = {"fits": 16, "too_big": 128, "charges_mib": 8, "refusal": r"^out of memory: ",
               "stays": True, "needs": (python,), **options}
    return Client(name, (python, PROGRAMS / program, "{size}"), **options)


PYTHON = Path("/usr/bin/python3")
SMALL_PYTHON = SMALL_ENVIRONMENT / "bin" / "python3"
FULL_PYTHON = ENVIRONMENT / "bin" / "python3"

CLIENTS_TABLE = (
    own("C, linked", "scale_c"),
    own("C, linked, shared virtual memory", "pointers_c", arguments=("svm",)),
    own("C++ `opencl.hpp`", "scale_cpp", refusal=r"^out of memory: clCreateBuffer -4$"),
    script("Python `ctypes`", "scale_ctypes.py", PYTHON),
    script("PyOpenCL, Debian's", "scale_pyopencl.py", PYTHON),
    script("PyOpenCL, PyPI's wheel", "scale_pyopencl.py", SMALL_PYTHON),
    Client("clinfo", ("clinfo",), steady=without_memory, needs=("/usr/bin/clinfo",)),
    Client("clpeak", ("clpeak", "--kernel-latency"), steady=without_figures,
           charges_mib=0.01, needs=("/usr/bin/clpeak",)),
    own("CLBlast, `axpy`", "clblast_c", arguments=("axpy",)),
    own("CLBlast, `gemm`", "clblast_c", arguments=("gemm",), full=True),
    Client("CLBlast's tuner", ("clblast_tuner_xaxpy", "-n", "{size}", "-fraction", "100",
                               "-runs", "1"),
           fits=1 << 20, too_big=1 << 24, refusal="terminate called", refusal_status=-6, full=True,
           charges_mib=8, steady=without_figures, needs=("/usr/bin/clblast_tuner_xaxpy",)),
    script("LightGBM, `device_type=gpu`", "train_lightgbm.py", FULL_PYTHON, full=True,
           outside={"layers": Outside("its static loader of 2020 knows no layers")}),
    script("tinygrad, training", "train_tinygrad.py", FULL_PYTHON, full=True,
           refusal=r"^out of memory: Allocation of .* failed on CL", variables={"DEV": "CL"}),
    script("OpenCV's T-API", "filter_opencv.py", FULL_PYTHON, full=True,
           refusal="can't create cl_mem handle", refusal_status=0,
           variables={"OPENCV_OPENCL_DEVICE": ":CPU:", "OPENCV_OPENCL_CACHE_ENABLE": "0"}),
    own("Intel's CPU runtime, buffers", "scale_c", driver="intel", full=True),
    own("Intel's CPU runtime, SVM", "pointers_c", driver="intel", arguments=("svm",), full=True),
    own("Intel's CPU runtime, USM", "pointers_c", driver="intel", arguments=("usm",), full=True),
    own("rusticl on llvmpipe", "scale_c", driver="rusticl", full=True),
    own("Oclgrind, as a driver", "scale_c", driver="oclgrind", fits=2, too_big=66, full=True),
    Client("`oclgrind CMD`", ("oclgrind", CLIENTS / "scale_c", "{size}"), fits=2, too_big=66,
           refusal="out of memory", driver="oclgrind", full=True, stays=True, needs=("/usr/bin/oclgrind",),
           outside=dict.fromkeys(DOORS, Outside(
               "it preloads its own OpenCL functions before all others and uses no driver"))),
)


def by_name(name):
    return next(client for client in CLIENTS_TABLE if client.name == name)


