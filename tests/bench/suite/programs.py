"""Whole programs that use OpenCL, bare and in a partition."""

import shutil

from .setting import ROOT

# scripts/deps --bench makes the first, --full the second.
ENVIRONMENTS = (ROOT / "build/bench/venv", ROOT / "build/matrix/venv")


def programs(setting):
    rounds = 3 if setting.quick else 25
    clpeak(setting, rounds)
    gemm(setting, rounds)
    if not setting.quick:
        tinygrad(setting, 9)


def clpeak(setting, rounds):
    if shutil.which("clpeak") is None:
        setting.left_out.append("clpeak is not installed")
        return
    setting.without_and_with("clpeak --kernel-latency", rounds, ["clpeak", "--kernel-latency"])


def gemm(setting, rounds):
    program = setting.program("gemm")
    if not program.exists():
        setting.left_out.append("CLBlast GEMM: libclblast-dev was not there when this was built")
        return
    setting.without_and_with("CLBlast GEMM", rounds, [str(program), "128", "1000"])


def tinygrad(setting, rounds):
    for folder in ENVIRONMENTS:
        if any(folder.glob("lib/python*/site-packages/tinygrad")):
            break
    else:
        setting.left_out.append("tinygrad is not installed (scripts/deps --bench)")
        return
    command = [str(folder / "bin/python3"), str(ROOT / "tests/bench/train.py")]
    setting.without_and_with("tinygrad, training", rounds, command, {"DEV": "CL"})
