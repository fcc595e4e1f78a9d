"""The ways into a process: each alone, several at once, and what they must leave alone."""

import os
import re
import shutil
import subprocess

import pytest

from support import (CLIENTS, LIBRARY, MIB, PATIENCE, PYTHON, REFUSED, ROOT, SHIM, built,
                     only_line, own_lines)
from support import any_box, box, fake_box, pocl  # noqa: F401
from test_enforcement import WHEEL, has_pyopencl

pytestmark = built

LIMIT = 64 * MIB
REFUSING = ["ok 41943040", "error -4"]
HOLD_TWO = ["--size", 40 * MIB, "--count", 2]
LAYER = CLIENTS / "counting_layer.so"


def refuses(result):
    return result.stdout.splitlines() == REFUSING and len(own_lines(result.stderr)) == 1


# --- one door at a time -------------------------------------------------------------------------

def test_the_driver_door_alone_reaches_a_program_that_hides_the_layer(any_box):
    any_box.create(LIMIT)
    session = any_box.session()
    session("os.environ.pop('OPENCL_LAYERS')")
    assert session("[make(40 * MIB), make(25 * MIB), make(24 * MIB)]") == [0, REFUSED, 0]
    assert any_box.used() == LIMIT


@pytest.mark.parametrize("variables", [{}, {"TEST_DIRECT": "1"}], ids=["address", "direct"])
@pytest.mark.parametrize("read_only", [False, True])
def test_the_driver_door_reaches_loaders_that_know_no_layers(fake_box, variables, read_only):
    box = fake_box(table_read_only=read_only)
    box.create(LIMIT)
    variables = {**variables, "TEST_DRIVER": str(LIBRARY)}
    assert refuses(box.run(CLIENTS / "own_loader", *HOLD_TWO, variables=variables))
    assert box.used() == 0
    bare = box.run(CLIENTS / "own_loader", *HOLD_TWO, variables=variables, door=None)
    assert bare.stdout.splitlines() == ["ok 41943040"] * 2


def test_deep_bound_libraries_are_caught_by_the_layer_door(any_box):
    """RTLD_DEEPBIND looks up dlsym past the preloaded one, and so does whoever it loads."""
    any_box.create(LIMIT)
    # RTLD_NOW | RTLD_DEEPBIND
    result = any_box.python("import ctypes; ctypes.CDLL('libOpenCL.so.1', mode=0xA)\n"
                            "import opencl as cl; c = cl.context()\n"
                            "print(cl.buffer(c, 40 << 20)[1], cl.buffer(c, 40 << 20)[1])")
    assert (result.returncode, result.stdout) == (0, "0 -4\n"), result.stderr


@pytest.mark.parametrize("door", ["named", "layers"])
@pytest.mark.parametrize("variables", [{}, {"CHRONOS_LIFETIME": "counts"}])
@pytest.mark.parametrize("version, entries", [("1.0", 81), ("1.1", 93), ("1.2", 123),
                                              ("2.2", 146), ("3.0", 149)])
def test_short_dispatch_tables(fake_box, version, entries, variables, door):
    """A driver's table ends where its version says: nothing may be read beyond."""
    box = fake_box(platform={"version": f"OpenCL {version} Fake"}, table_entries=entries)
    box.create(LIMIT)
    assert refuses(box.run(CLIENTS / "linked_c", *HOLD_TWO, door=door, variables=variables))
    session = box.session(door=door, variables=variables)
    assert session("[make(40 * MIB), drop(), make(64 * MIB), drop()]") == [0] * 4
    assert box.used() == 0


def test_a_read_only_table_is_read_only_again(fake_box):
    box = fake_box(table_read_only=True)
    box.create(LIMIT)
    session = box.session()
    assert session("[make(40 * MIB), make(40 * MIB)]") == [0, REFUSED]
    table = "ctypes.cast(the_context, ctypes.POINTER(ctypes.c_void_p))[0]"
    at = session(table)
    for line in session("open('/proc/self/maps').read()").splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= at < end:
            assert line.split()[1][1] == "-", line
            return
    raise AssertionError("the table is mapped nowhere")


# --- several at once ----------------------------------------------------------------------------

def test_both_doors_charge_once(any_box):
    any_box.create(LIMIT)
    session = any_box.session()  # preloaded, so both fire
    assert session("[make(40 * MIB), make(24 * MIB), make(1)]") == [0, 0, REFUSED]
    assert any_box.used() == LIMIT
    assert session("[drop(), drop()]") == [0, 0]
    assert any_box.used() == 0


def test_the_layer_named_twice_charges_once(any_box):
    any_box.create(LIMIT)
    for value in (f"{SHIM}:{SHIM}", f"{SHIM}:/nowhere/libchronos_shim.so"):
        result = any_box.run(CLIENTS / "linked_c", "--size", LIMIT, door="run",
                             variables={"OPENCL_LAYERS": value})
        assert (result.returncode, result.stdout) == (0, f"ok {LIMIT}\n"), result.stderr


def another_loader(folder):
    """The system's loader a second time, as a library that brings its own."""
    copy = folder / "other" / "libOpenCL-other.so"
    copy.parent.mkdir()
    found = subprocess.run([PYTHON, "-c", "import ctypes; ctypes.CDLL('libOpenCL.so.1'); "
                            "print(next("
                            "l.split()[-1] for l in open('/proc/self/maps') if 'libOpenCL' in l))"],
                           capture_output=True, text=True, check=True).stdout.strip()
    shutil.copy(found, copy)
    return copy


@pytest.mark.parametrize("door", ["named", "layers"])
def test_two_loaders_in_one_program_share_its_charge(any_box, door):
    any_box.create(LIMIT)
    copy = another_loader(any_box.folder)
    session = any_box.session(door=door)
    session("import importlib.util")
    session(f"os.environ['TEST_LIBOPENCL'] = {str(copy)!r}")
    session("spec = importlib.util.spec_from_file_location('two', cl.__file__); "
            "two = importlib.util.module_from_spec(spec); spec.loader.exec_module(two)")
    assert session("make(40 * MIB)") == 0
    session("other = two.context()")
    assert session("two.buffer(other, 25 * MIB)[1]") == REFUSED
    assert session("[(m := two.buffer(other, 24 * MIB))[1], two.release(m[0])]") == [0, 0]
    assert any_box.used() == 40 * MIB
    only_line(session.errors())


def test_the_wheels_loader_and_the_systems(pocl):
    if not WHEEL.exists() or not has_pyopencl(str(WHEEL)):
        pytest.skip("PyOpenCL's wheel is not in build/venv")
    pocl.create(LIMIT)
    result = pocl.run(WHEEL, "-c", """
import opencl
import pyopencl as cl
mine = opencl.context()
print(opencl.buffer(mine, 40 << 20)[1])
theirs = cl.Context([cl.get_platforms()[0].get_devices()[0]])
try:
    cl.Buffer(theirs, cl.mem_flags.READ_WRITE, 25 << 20)
except cl.MemoryError:
    print("refused")
kept = cl.Buffer(theirs, cl.mem_flags.READ_WRITE, 24 << 20)
print(opencl.buffer(mine, 1)[1])
""")
    assert (result.returncode, result.stdout) == (0, "0\nrefused\n-4\n"), result.stderr


# --- what else is in the process ----------------------------------------------------------------

def test_rtld_next_keeps_its_meaning_for_other_preloads(box):
    chain = [CLIENTS / "chain_one.so", CLIENTS / "chain_two.so"]
    for order in ([SHIM, *chain], [*chain, SHIM], [chain[0], SHIM, chain[1]]):
        result = box.python(
            "import ctypes\n"
            "for name in ('plain_chain', 'clPrefixed_chain'):\n"
            "    function = getattr(ctypes.CDLL(None), name)\n"
            "    function.restype = ctypes.c_char_p\n"
            "    print(function().decode())", door=None,
            variables={"LD_PRELOAD": ":".join(map(str, order))})
        assert result.stdout == "one>two>end\n" * 2, result.stderr


def test_a_users_layer_goes_on_working(any_box):
    any_box.create(LIMIT)
    log = any_box.folder / "calls"
    variables = {"OPENCL_LAYERS": str(LAYER), "TEST_LAYER_LOG": str(log)}
    for door in ("run", "named"):
        log.write_text("")
        assert refuses(any_box.run(CLIENTS / "linked_c", *HOLD_TWO, door=door,
                                   variables=variables))
        # Whether it sees refused calls depends on who is outside; the one that was made, it sees.
        assert log.read_text().count("clCreateBuffer") >= 1


@pytest.mark.parametrize("door", ["run", "named"])
def test_a_users_layers_survive_into_grandchildren(any_box, door):
    """ocl-icd 2.3.1 writes NUL bytes into OPENCL_LAYERS, so that children see the first only."""
    any_box.create(LIMIT)
    log = any_box.folder / "calls"
    session = any_box.session(door=door, variables={"OPENCL_LAYERS": str(LAYER),
                                                    "TEST_LAYER_LOG": str(log)})
    assert session("make(MIB)") == 0
    log.write_text("")
    out = any_box.folder / "out"
    # system(3) hands on the environment block itself; os.environ is what Python read at its start.
    command = (f"(env | grep ^OPENCL_LAYERS=; {CLIENTS / 'linked_c'} --size {40 * MIB} --count 2) "
               f"> {out} 2>&1")
    session(f"libc.system({command.encode()!r})")
    lines = out.read_text().splitlines()
    assert f"OPENCL_LAYERS={SHIM}:{LAYER}" in lines
    assert [line for line in lines if line[:2] in ("ok", "er")] == REFUSING
    assert log.read_text().count("clCreateBuffer") >= 1


@pytest.mark.parametrize("spelling", ["lib/libchronos_shim.so", "./lib/libchronos_shim.so",
                                      "lib/../lib/libchronos_shim.so"])
def test_a_relative_preload_is_absolute_for_children(box, spelling):
    box.create(LIMIT)
    code = ("import subprocess, os\nos.chdir('/')\n"
            f"done = subprocess.run(['sh', '-c', 'echo $LD_PRELOAD; {CLIENTS / 'linked_c'} "
            f"--size {LIMIT + 1}'], capture_output=True, text=True)\n"
            "print(done.stdout, end='')\n"
            "print('ERROR: ld.so' in done.stderr)")
    # Python reads its environment before main, but after our constructor.
    result = box.python(code, door=None, cwd=SHIM.parent.parent,
                        variables={"LD_PRELOAD": spelling, "CHRONOS_PARTITION": "p1"})
    assert result.stdout == f"{SHIM}\nerror -4\nFalse\n", result.stderr


def test_other_preloads_stay_in_the_variable(box):
    box.create(LIMIT)
    chain = CLIENTS / "chain_one.so"
    result = box.run("sh", "-c", "echo $LD_PRELOAD", door="run",
                     variables={"LD_PRELOAD": str(chain)})
    assert sorted(result.stdout.strip().replace(" ", ":").split(":")) == sorted(
        [str(chain), str(SHIM)])


def test_set_uid_programs_are_unaffected(box):
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a set-uid program")
    box.create(MIB)
    private = box.folder / "linked_c"
    shutil.copy(CLIENTS / "linked_c", private)
    for folder in (box.folder, *box.folder.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    private.chmod(0o4755)
    nobody = 65534
    env = {**box.env, "LD_PRELOAD": str(SHIM), "OPENCL_LAYERS": str(SHIM),
           "CHRONOS_PARTITION": "no-such-partition"}
    result = subprocess.run([str(private), "--size", str(MIB)], env=env, capture_output=True,
                            text=True, user=nobody, group=nobody, timeout=PATIENCE, check=False)
    # The name from the environment is not trusted: it must neither refuse nor lead anywhere.
    assert "no-such-partition" not in result.stderr
    assert result.returncode in (0, 4)


def test_the_shim_exports_what_doors_need_and_nothing_else():
    out = subprocess.run(["nm", "-D", "--defined-only", str(SHIM)], capture_output=True, text=True,
                         check=True).stdout
    names = {line.split()[-1].partition("@")[0] for line in out.splitlines()}
    lists = (ROOT / "shim/entry_points.def").read_text() + (ROOT / "shim/extensions.def").read_text()
    hooked = set(re.findall(r"^CHRONOS_(?:ENTRY|EXTENSION)\((\w+)", lists, re.MULTILINE))
    assert names == hooked | {"clGetLayerInfo", "clInitLayer", "clInitLayerWithProperties",
                              "clDeinitLayer", "clIcdGetPlatformIDsKHR", "dlsym", "dlopen", "dlmopen",
                              "chronos_shim_use", "chronos_shim_reach"}


def test_the_shim_needs_neither_opencl_nor_libstdcxx_nor_libm():
    """Each library more is loaded into every child of a wrapped program."""
    out = subprocess.run(["readelf", "-d", str(SHIM)], capture_output=True, text=True,
                         check=True).stdout
    assert not re.search(r"NEEDED.*(libOpenCL|libstdc\+\+|libm\.)", out)


def test_a_program_that_clears_the_environment_of_its_children(box):
    """What the shim set up is lost then, but whoever loads the shim finds an own partition."""
    box.create(LIMIT)
    keep = [f"{name}={box.env[name]}" for name in
            ("OCL_ICD_VENDORS", "CHRONOS_FAKE_DRIVER", "CHRONOS_STATE_DIR")]
    result = box.run("env", "-i", *keep, f"LD_PRELOAD={SHIM}", CLIENTS / "linked_c", *HOLD_TWO)
    assert refuses(result)
