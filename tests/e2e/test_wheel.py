"""What `pip install` gives: the package with the shim, the library, the probe and the command in its
own folder. From the built tree, as the wheel's component puts them; at the full level the real wheel,
in fresh environments without a compiler."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import BUILD, FULL, MIB, PYTHON, ROOT, SHIM, built
from support import box, fake_box  # noqa: F401

pytestmark = built
PARTS = {"chronos", "chronos-probe", "libchronos.so", "libchronos_shim.so"}
INTERPRETERS = [PYTHON, *filter(None, (shutil.which(f"python3.{minor}") for minor in range(9, 15)))]
NEW_ENOUGH = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))"


def called(command, env, **options):
    done = subprocess.run([str(word) for word in command], env=env, text=True, capture_output=True,
                          check=False, timeout=120, cwd="/", **options)
    return done.returncode, done.stdout, done.stderr


def environment(box, **more):
    env = {name: value for name, value in box.env.items()
           if name not in ("CHRONOS_LIBRARY", "PYTHONPATH", "OPENCL_LAYERS", "LD_PRELOAD")}
    env["PATH"] = "/nonexistent"  # no compiler, no other chronos
    return {**env, **more}


@pytest.fixture
def flat(tmp_path):
    """The package as in a wheel; (the folder for PYTHONPATH, the package)."""
    if not (BUILD / "CMakeCache.txt").exists():
        pytest.skip("the build has no CMakeCache.txt: it is an installed tree itself")
    site = tmp_path / "site"
    package = site / "chronos"
    shutil.copytree(ROOT / "python" / "chronos", package,
                    ignore=shutil.ignore_patterns("__pycache__"))
    before = {path.name for path in package.iterdir()}
    subprocess.run(["cmake", "--install", BUILD, "--component", "python", "--prefix", package],
                   check=True, stdout=subprocess.DEVNULL)
    assert {path.name for path in package.iterdir()} - before == PARTS
    return site, package


def session(box, python, package, env):
    """Create, list, run, release through `python -m chronos`; the build's command sees the same."""
    def chronos(*arguments):
        status, out, errors = called([python, "-m", "chronos", *arguments], env)
        assert status == 0, errors
        return out

    facts = json.loads(called([python, "-m", "chronos", "doctor", "--json"], env)[1])
    assert any(str(package / "libchronos_shim.so") in finding["text"]
               for finding in facts["findings"])
    assert "Created partition wheel on device 0" in chronos("create", 0, "64MiB", "10m", "--name",
                                                            "wheel")
    def without_time(listed):
        return re.sub(r"remaining: \d+", "remaining: N", listed)

    listed = without_time(called([box.command, "list"], env)[1])
    assert "ID: wheel\n" in listed and without_time(chronos("list")) == listed
    seen = chronos("run", "--partition", "wheel", "--", "/bin/sh", "-c", "echo $LD_PRELOAD").strip()
    assert seen == str(package / "libchronos_shim.so")
    asked = called([python, "-m", "chronos", "run", "--partition", "wheel", "--",
                    BUILD / "tests" / "clients" / "linked_c", "--size", 65 * MIB], env)
    assert asked[0] == 3 and "partition wheel: refused" in asked[2]
    assert chronos("release", "wheel") == "Partition wheel released\n"
    assert called([box.command, "list"], env)[1] == "No active partitions\n"


def test_the_wheels_parts_find_each_other(box, flat):
    site, package = flat
    session(box, PYTHON, package, environment(box, PYTHONPATH=str(site)))


# Hands over to an interpreter that tells what it got.
HANDS_OVER = f"""
import sys
from chronos import __main__, _library
_library.load().command_path = lambda: {PYTHON!r}
tell = "import os; print(os.getpid(), os.environ.get('OPENCL_LAYERS'))"
sys.argv = ["chronos", "-c", tell]
__main__.main()
"""


def test_the_command_is_as_if_started_without_python(box, flat):
    """Statuses, arguments, environment, process and signals are the command's own."""
    site, package = flat
    env = environment(box, PYTHONPATH=str(site))
    assert called([PYTHON, "-m", "chronos", "nosuch"], env) == called([box.command, "nosuch"], env)
    for layers in (None, "/some/layer.so"):
        given = env if layers is None else {**env, "OPENCL_LAYERS": layers}
        program = subprocess.Popen([PYTHON, "-c", HANDS_OVER], env=given, text=True, cwd="/",
                                   stdout=subprocess.PIPE)
        assert program.communicate(timeout=60)[0] == f"{program.pid} {layers}\n"
    (package / "chronos").unlink()
    status, out, errors = called([PYTHON, "-m", "chronos", "list"], env)
    assert (status, out) == (1, "") and errors.startswith("chronos: ") and errors.count("\n") <= 2


TWO = """
import ctypes, os
import chronos, opencl as cl
machine = chronos.Partitioner()
with machine.create(0, "64MiB", 600) as partition:
    context = cl.context()
    made, error = cl.buffer(context, 40 << 20)
    print(error, partition.usage().used_bytes >> 20, cl.buffer(context, 40 << 20)[1])
maps = open("/proc/self/maps").read()
print(len({line.split()[-1] for line in maps.splitlines() if line.endswith("libchronos_shim.so")}))
"""


@pytest.mark.parametrize("first", ["build", "wheel"])
def test_of_two_shims_in_one_process_one_acts(box, flat, first):
    """One is preloaded by one installation's `chronos run`, the other is brought by the other's
    package: 40 MiB are charged once, and a second 40 of 64 refused."""
    site, package = flat
    preloaded = SHIM if first == "build" else package / "libchronos_shim.so"
    library = package / "libchronos.so" if first == "build" else BUILD / "lib" / "libchronos.so"
    env = environment(box, PYTHONPATH=f"{site}:{box.scripts}", CHRONOS_LIBRARY=str(library),
                      LD_PRELOAD=str(preloaded))
    status, out, errors = called([PYTHON, "-c", TWO], env)
    assert (status, out) == (0, "0 40 -4\n2\n"), errors


# What the package does in the interpreter that has it, whichever that is.
INSIDE = """
import asyncio, multiprocessing, os, queue, sys, warnings
import chronos, opencl as cl
warnings.simplefilter("error")
machine = chronos.Partitioner()
def make(mib):
    made, error = cl.buffer(cl.context(), mib << 20)
    if made is not None:
        cl.release(made)
    return error
def work(answers):
    answers.put((make(65), make(64)))
async def waits():
    async with await machine.create_async(0, "1MiB", 60, wait=True) as partition:
        return partition.limit_bytes
if __name__ == "__main__":
    with machine.create(0, "64MiB", "10m", name="inside") as partition:
        print(make(65), make(64), partition.usage().peak_bytes >> 20)
        for method in ("fork", "spawn", "forkserver"):
            many = multiprocessing.get_context(method)
            answers = many.Queue()
            worker = many.Process(target=work, args=(answers,))
            worker.start()
            print(*answers.get(timeout=60))
            worker.join()
        calls = queue.Queue()
        partition.on_expiring(calls.put, before="1h")
        print(calls.get(timeout=60) is partition, partition.extend("1m").duration,
              partition.expires_at.tzinfo)
        done = partition.run([sys.executable, "-c", "print(__import__('os').getpid() > 0)"],
                             capture_output=True, text=True, timeout=60)
        print(done.returncode, done.stdout.strip())
    print(asyncio.run(waits()), machine.list(), make(65))
    try:
        machine.create(0, "900%", 60)
    except chronos.InvalidRequest as error:
        print(type(error).__name__)
"""
INSIDE_SAYS = ["-4 0 64", "-4 0", "-4 0", "-4 0", "True 660 UTC", "0 True", "1048576 [] 0",
               "InvalidRequest"]


def whole(box, python, env):
    """A file, because spawned children import it."""
    program = box.folder / "inside.py"
    program.write_text(INSIDE, encoding="utf-8")
    status, out, errors = called([python, program], {**env, "PYTHONPATH": ":".join(filter(None, (
        env.get("PYTHONPATH"), str(box.scripts))))})
    assert (status, out.splitlines()) == (0, INSIDE_SAYS), out + errors


def test_the_wheels_package_in_its_interpreter(box, flat):
    site, _ = flat
    whole(box, PYTHON, environment(box, PYTHONPATH=str(site)))


# ---- the real wheel -----------------------------------------------------------------------------

full = pytest.mark.skipif(not FULL, reason="compiles everything: minutes")


def pip(python, *arguments):
    # The compiler under the name that the other builds have: ccache knows what they compiled.
    env = {"CC": "cc", "CXX": "c++", **os.environ}
    done = subprocess.run([str(python), "-m", "pip", "--disable-pip-version-check", *arguments],
                          env=env, text=True, capture_output=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Built by `pip wheel .`; CHRONOS_WHEEL names one to test instead, before it is published."""
    if os.environ.get("CHRONOS_WHEEL"):
        return Path(os.environ["CHRONOS_WHEEL"]).resolve()
    tools = ROOT / "build" / "docs" / "venv" / "bin" / "python3"
    if not tools.exists():
        pytest.skip(f"{tools} is not there")
    folder = tmp_path_factory.mktemp("wheel")
    pip(tools, "wheel", "--no-deps", "-w", folder, "--no-build-isolation",
        f"--config-settings=build-dir={ROOT / 'build' / 'wheel'}",
        "--config-settings=cmake.define.CHRONOS_WERROR=ON", ROOT)
    made, = folder.glob("chronos_gpu-*.whl")
    return made


@full
@pytest.mark.long
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_wheel_in_a_fresh_environment(box, wheel, tmp_path, interpreter):
    if subprocess.run([interpreter, "-c", NEW_ENOUGH], capture_output=True, check=False).returncode:
        pytest.skip(f"{interpreter} is older than 3.9, or has no venv")
    venv = tmp_path / "venv"
    subprocess.run([interpreter, "-m", "venv", venv], check=True)

    def files():
        return {path for path in venv.rglob("*") if "/pip/" not in str(path)
                and "/setuptools/" not in str(path) and "/pkg_resources/" not in str(path)
                and "/_distutils_hack/" not in str(path)}

    before = files()
    pip(venv / "bin" / "python", "install", "--no-index", wheel)
    package, = venv.glob("lib/python3*/site-packages/chronos")
    env = environment(box)
    session(box, venv / "bin" / "python", package, env)
    whole(box, venv / "bin" / "python", env)
    assert called([venv / "bin" / "chronos", "list"], env) == (0, "No active partitions\n", "")
    pip(venv / "bin" / "python", "uninstall", "-y", "chronos-gpu")
    assert files() == before


@full
def test_the_wheel_needs_nothing_but_the_c_library(wheel, tmp_path):
    shutil.unpack_archive(wheel, tmp_path, "zip")
    for name in PARTS:
        said = subprocess.run(["readelf", "-d", tmp_path / "chronos" / name], text=True,
                              capture_output=True, check=True).stdout
        needed = {line.split("[")[1].rstrip("]") for line in said.splitlines() if "(NEEDED)" in line}
        assert needed <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
        assert "RPATH" not in said and "RUNPATH" not in said


@full
@pytest.mark.long
def test_the_api_documentation_has_no_warnings(tmp_path):
    if not (ROOT / "build" / "docs" / "venv" / "bin" / "sphinx-build").exists():
        pytest.skip("Sphinx is not there")
    done = subprocess.run([ROOT / "scripts" / "docs", tmp_path / "api"], text=True,
                          capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    package = subprocess.run([sys.executable, "-c", "import chronos; print(*chronos.__all__)"],
                             env={**os.environ, "PYTHONPATH": str(ROOT / "python")}, text=True,
                             capture_output=True, check=True).stdout.split()
    assert [name for name in package if f'id="chronos.{name}"' not in page] == []
