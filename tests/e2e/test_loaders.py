"""Every kind of loader by every door that can reach it: the table of docs/coverage.md.

Loaders of our own (tests/clients/loader.c) stand for the ages of the real ones, so that each cell is
tried wherever the tests run. Real ones are tried as well: the system's, and those in the folder that
CHRONOS_TEST_LOADERS names, each as NAME/libOpenCL.so.1.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from support import CLIENTS, LIBRARY, MIB, SHIM, built, own_lines
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
HOLD_TWO = ["--size", 40 * MIB, "--count", 2]
REFUSING = ["ok 41943040", "error -4"]
FREE = ["ok 41943040"] * 2
DIRECT = LIBRARY.with_name("libchronos_fake_direct.so")

# What is in the environment: only the layer, or only the preloaded library.
LAYER, PRELOAD = "layer", "preload"


def reals():
    folder = os.environ.get("CHRONOS_TEST_LOADERS")
    return sorted(Path(folder).glob("*/libOpenCL.so.1")) if folder else []


def age(path):
    """What a loader can do, by what it asks of a layer."""
    text = path.read_bytes()
    if b"\0OPENCL_LAYERS\0" not in text:  # the first ones had another variable
        return 0
    return 2 if b"\0clInitLayerWithProperties\0" in text else 1 if b"\0clInitLayer\0" in text else 0


OURS = [CLIENTS / name / "libOpenCL.so.1" for name in ("old", "layers", "new")]
LOADERS = [*OURS, *reals()]


def named(paths):
    return pytest.mark.parametrize("loader", paths, ids=[path.parent.name for path in paths])


def only(door, **variables):
    name = "OPENCL_LAYERS" if door == LAYER else "LD_PRELOAD"
    return {name: str(SHIM), "CHRONOS_PARTITION": "p1", **variables}


def lines(result):
    return [line for line in result.stdout.splitlines() if line]


def refuses(result):
    return lines(result) == REFUSING and len(own_lines(result.stderr)) == 1


def checked(box, command, variables, expected=True):
    """Held to its partition, with nothing left; and free without the shim."""
    result = box.run(*command, *HOLD_TWO, door=None, variables=variables)
    if expected:
        assert refuses(result), (result.stdout, result.stderr)
        assert box.used() == 0
    else:
        assert lines(result) == FREE, (result.stdout, result.stderr)
    bare = {name: value for name, value in variables.items()
            if name not in ("LD_PRELOAD", "OPENCL_LAYERS")}
    assert lines(box.run(*command, *HOLD_TWO, door=None, variables=bare)) == FREE


def folder_of(loader):
    return {"LD_LIBRARY_PATH": str(loader.parent)}


# --- loaders in libraries -----------------------------------------------------------------------

@named(LOADERS)
@pytest.mark.parametrize("program", ["linked_c", "dlopen_c"])
def test_the_layer_door_reaches_loaders_that_know_layers(any_box, loader, program):
    any_box.create(LIMIT)
    checked(any_box, [CLIENTS / program], only(LAYER, **folder_of(loader)),
            expected=age(loader) > 0)


@named(LOADERS)
@pytest.mark.parametrize("program", ["linked_c", "dlopen_c"])
@pytest.mark.parametrize("door", ["named", "run", "owned"])
def test_preloading_reaches_every_loader(any_box, loader, program, door):
    any_box.create(LIMIT)
    result = any_box.run(CLIENTS / program, *HOLD_TWO, door=door, variables=folder_of(loader))
    assert refuses(result), (result.stdout, result.stderr)
    assert any_box.used() == 0


@named(LOADERS)
def test_the_driver_door_alone_reaches_every_loader(any_box, loader):
    """The functions come from dlvsym, which is not taken over, and no layer is announced."""
    any_box.create(LIMIT)
    code = ("import ctypes, os\nos.environ.pop('OPENCL_LAYERS')\n"
            "import opencl as cl; c = cl.context()\n"
            "print(cl.buffer(c, 40 << 20)[1], cl.buffer(c, 40 << 20)[1])")
    result = any_box.python(code, door="named", variables={
        "TEST_LIBOPENCL": str(loader), "TEST_DLVSYM": "1"})
    assert result.stdout == "0 -4\n", result.stderr


@pytest.mark.parametrize("program, layers", [("static_c_0", False), ("static_c_1", True),
                                             ("static_c_2", True)])
def test_static_loaders_that_show_nothing(any_box, program, layers):
    any_box.create(LIMIT)
    checked(any_box, [CLIENTS / program], only(LAYER), expected=layers)
    checked(any_box, [CLIENTS / program], only(PRELOAD))


@pytest.mark.parametrize("plugin, layers", [("bundled_old", False), ("bundled_new", True)])
@pytest.mark.parametrize("way", ["local", "global", "deep"])
def test_loaders_that_a_library_brings_under_another_name(any_box, plugin, layers, way):
    any_box.create(LIMIT)
    command = [CLIENTS / "open_c", way, CLIENTS / f"plugin_{plugin}.so"]
    checked(any_box, command, only(LAYER), expected=layers)
    # Deep binding passes all that is preloaded by: an old loader is then out of reach.
    checked(any_box, command, only(PRELOAD), expected=layers or way != "deep")


@pytest.mark.parametrize("way", ["local", "global", "deep", "namespace"])
@pytest.mark.parametrize("door", ["run", "named", "layers"])
def test_the_systems_loader_opened_in_every_way(any_box, way, door):
    any_box.create(LIMIT)
    command = [CLIENTS / "open_c", way, CLIENTS / "plugin_system.so"]
    result = any_box.run(*command, *HOLD_TWO, door=door)
    assert refuses(result), (result.stdout, result.stderr)
    assert any_box.used() == 0


def test_two_namespaces_share_the_partition(box):
    """Each has a copy of the shim: they are two holders of one process."""
    box.create(LIMIT)
    session = box.session(door="run")
    assert session("make(40 * MIB)") == 0
    session("os.dup2(os.open('/dev/null', os.O_WRONLY), 1)")  # the answers have their own
    session("libdl = ctypes.CDLL(None); libdl.dlmopen.restype = ctypes.c_void_p; "
            "libdl.dlmopen.argtypes = [ctypes.c_long, ctypes.c_char_p, ctypes.c_int]; "
            "libdl.dlsym.restype = ctypes.c_void_p; "
            "libdl.dlsym.argtypes = [ctypes.c_void_p, ctypes.c_char_p]")
    session(f"inner = libdl.dlmopen(-1, {str(CLIENTS / 'plugin_system.so').encode()!r}, 2)")
    session("main = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, "
            "ctypes.POINTER(ctypes.c_char_p))(libdl.dlsym(inner, b'client_main'))")
    session("arguments = (ctypes.c_char_p * 4)(b'x', b'--size', b'41943040', None)")
    assert session("main(3, arguments)") == 3
    session("arguments = (ctypes.c_char_p * 4)(b'x', b'--size', b'1048576', None)")
    assert session("main(3, arguments)") == 0
    assert box.used() == 40 * MIB


# --- no loader ----------------------------------------------------------------------------------

@pytest.mark.parametrize("command", [
    [CLIENTS / "direct_c"],
    [CLIENTS / "open_c", "local", CLIENTS / "plugin_direct.so"],
    [CLIENTS / "open_c", "global", CLIENTS / "plugin_direct.so"],
    [CLIENTS / "dlopen_c"],
], ids=["linked", "local", "global", "dlsym"])
def test_the_symbol_door_reaches_a_driver_that_is_its_own_libopencl(fake_box, command):
    box = fake_box()
    box.create(LIMIT)
    variables = {"TEST_LIBOPENCL": str(DIRECT)}
    checked(box, command, only(PRELOAD, **variables))
    checked(box, command, only(LAYER, **variables), expected=False)


def test_extension_functions_of_a_driver_that_is_its_own_libopencl(fake_box):
    box = fake_box()
    box.create(LIMIT)
    session = box.session(variables={"TEST_LIBOPENCL": str(DIRECT)})
    assert session("make(MIB)") == 0
    session("ask = cl.library.clGetExtensionFunctionAddress; ask.restype = ctypes.c_void_p")
    session("allocate = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, "
            "ctypes.c_size_t, ctypes.c_uint)(ask(b'clSVMAllocARM'))")
    assert session("allocate(the_context, 1, 64 * MIB, 0)") is None
    assert session("bool(allocate(the_context, 1, 63 * MIB, 0))")
    assert box.used() == LIMIT


def test_a_program_linked_to_a_driver_that_loaders_use(fake_box):
    box = fake_box()
    box.create(LIMIT)
    checked(box, [CLIENTS / "driver_c"], only(PRELOAD))
    checked(box, [CLIENTS / "driver_c"], only(LAYER), expected=False)


def test_programs_without_opencl_find_no_opencl_in_us(box):
    """Our symbols stand for what a caller would have got; with nothing there, nothing is done."""
    result = box.python("import ctypes; f = ctypes.CDLL(None).clReleaseMemObject; "
                        "print(f(None) in (0, -38))", door="named")
    assert result.stdout == "True\n", result.stderr


# --- drivers that leave their tables to the loader (cl_khr_icd 2.0) -----------------------------

@pytest.mark.parametrize("empty", [False, True], ids=["own table too", "no table"])
@named([CLIENTS / "new" / "libOpenCL.so.1", *[path for path in reals() if age(path) == 2]])
@pytest.mark.parametrize("door", [LAYER, PRELOAD])
def test_drivers_whose_tables_the_loader_makes(fake_box, loader, empty, door):
    box = fake_box(table_managed=True, table_empty=empty)
    box.create(LIMIT)
    checked(box, [CLIENTS / "linked_c"], only(door, **folder_of(loader)))
    assert refuses(box.run(CLIENTS / "linked_c", *HOLD_TWO, variables=folder_of(loader)))


@pytest.mark.parametrize("empty", [False, True], ids=["own table too", "no table"])
def test_the_driver_door_alone_reaches_loader_managed_tables(fake_box, empty):
    box = fake_box(table_managed=True, table_empty=empty)
    box.create(LIMIT)
    session = box.session(variables={"TEST_LIBOPENCL": str(CLIENTS / "new" / "libOpenCL.so.1"),
                                     "TEST_DLVSYM": "1"})
    session("os.environ.pop('OPENCL_LAYERS')")
    assert session("[make(40 * MIB), make(40 * MIB), make(24 * MIB)]") == [0, -4, 0]
    assert box.used() == LIMIT
    assert session("[drop(), drop()]") == [0, 0]
    assert box.used() == 0


@named([CLIENTS / "old" / "libOpenCL.so.1", CLIENTS / "layers" / "libOpenCL.so.1"])
def test_old_loaders_use_the_own_table_of_such_a_driver(fake_box, loader):
    box = fake_box(table_managed=True)
    box.create(LIMIT)
    checked(box, [CLIENTS / "linked_c"], only(PRELOAD, **folder_of(loader)))
    session = box.session(variables={"TEST_LIBOPENCL": str(loader), "TEST_DLVSYM": "1"})
    session("os.environ.pop('OPENCL_LAYERS')")
    assert session("[make(40 * MIB), make(40 * MIB), drop()]") == [0, -4, 0]


# --- several drivers ----------------------------------------------------------------------------

def second_driver(box):
    """The driver once more, as another vendor's: with a table of its own."""
    copy = box.folder / "libother.so"
    shutil.copy(LIBRARY, copy)
    vendors = Path(box.env["OCL_ICD_VENDORS"])
    (vendors / "other.icd").write_text(f"{copy}\n")


@pytest.mark.parametrize("hidden", [False, True], ids=["all doors", "driver door"])
def test_two_drivers_at_once(fake_box, hidden):
    box = fake_box()
    second_driver(box)
    box.create(LIMIT)  # alike as they are, the devices are one to a partition
    variables = folder_of(CLIENTS / "old" / "libOpenCL.so.1") if hidden else {}
    for device in (0, 1):
        result = box.run(CLIENTS / "linked_c", *HOLD_TWO, "--device", device, door="named",
                         variables=variables)
        assert refuses(result), (result.stdout, result.stderr)


def test_a_context_by_type_is_made_by_the_driver_that_was_asked(fake_box):
    """Without properties a loader takes its default platform, and the call does not say which."""
    box = fake_box()
    second_driver(box)
    session = box.session(variables={"OCL_ICD_DEFAULT_PLATFORM": "1"})
    session("os.environ.pop('OPENCL_LAYERS')")
    session("make = cl.library.clCreateContextFromType; make.restype = ctypes.c_void_p; "
            "make.argtypes = [ctypes.c_void_p, ctypes.c_uint64] + [ctypes.c_void_p] * 3")
    table = "ctypes.cast(%s, ctypes.POINTER(ctypes.c_void_p))[0]"
    session("both = (ctypes.c_void_p * 2)(); cl.library.clGetPlatformIDs(2, both, None)")
    session("made = make(None, 0xFFFFFFFF, None, None, None)")
    assert session(table % "made") == session(table % "both[1]")
    assert session(table % "made") != session(table % "both[0]")


def test_platforms_that_appear_later(fake_box):
    box = fake_box()
    box.create(LIMIT)
    config = json.loads(Path(box.env["CHRONOS_FAKE_DRIVER"]).read_text())
    config["faults"] = [{"call": "clIcdGetPlatformIDsKHR", "times": 2, "error": -1001}]
    Path(box.env["CHRONOS_FAKE_DRIVER"]).write_text(json.dumps(config))
    checked(box, [CLIENTS / "own_loader"],
            only(PRELOAD, TEST_DRIVER=str(LIBRARY), TEST_PATIENCE="1"))


# --- several copies of the shim, and a user's own things ------------------------------------------

def copy_of_shim(box, name="libchronos_shim.so"):
    path = box.folder / "copy" / name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(SHIM, path)
    return path


@pytest.mark.parametrize("name", ["libchronos_shim.so", "renamed.so"])
@pytest.mark.parametrize("loader", ["old", "layers", "new", None])
@pytest.mark.parametrize("preload, layers", [
    ("AB", ""), ("BA", ""), ("A", "B"), ("B", "A"), ("A", "AB"), ("", "AB"), ("", "BA"),
    ("AB", "BA"), ("BA", "AB"), ("B", "BAB")])
def test_two_copies_charge_once(box, name, loader, preload, layers):
    if loader == "old" and not preload:
        pytest.skip("an old loader is reached by preloading only")
    box.create(LIMIT)
    copies = {"A": str(SHIM), "B": str(copy_of_shim(box, name))}
    variables = {"CHRONOS_PARTITION": "p1",
                 **(folder_of(CLIENTS / loader / "x") if loader else {})}
    if preload:
        variables["LD_PRELOAD"] = ":".join(copies[letter] for letter in preload)
    if layers:
        variables["OPENCL_LAYERS"] = ":".join(copies[letter] for letter in layers)
    for program in ("linked_c", "dlopen_c"):
        whole = box.run(CLIENTS / program, "--size", LIMIT // 2, "--count", 3, door=None,
                        variables=variables)
        assert lines(whole) == [f"ok {LIMIT // 2}"] * 2 + ["error -4"], whole.stderr
        assert len(own_lines(whole.stderr)) == 1, whole.stderr
        assert box.used() == 0


@pytest.mark.parametrize("preload", ["AB", "BA", "ABA"])
def test_two_copies_before_a_driver_without_a_loader(box, preload):
    """Each has the symbols that the program calls; the second one's are not taken for a driver's."""
    copies = {"A": str(SHIM), "B": str(copy_of_shim(box, "renamed.so"))}
    box.create(LIMIT)
    variables = {"LD_PRELOAD": ":".join(copies[letter] for letter in preload),
                 "CHRONOS_PARTITION": "p1"}
    checked(box, [CLIENTS / "direct_c"], variables)


def test_a_second_copy_named_by_the_program_leads_to_the_first(box):
    """Deep binding passes by all but the layer, and the layer is the copy that does not act."""
    box.create(LIMIT)
    command = [CLIENTS / "open_c", "deep", CLIENTS / "plugin_bundled_new.so"]
    session = box.session(door="named")
    copy = copy_of_shim(box)
    session(f"env = dict(os.environ, OPENCL_LAYERS={str(copy)!r})")
    session(f"os.environ['OPENCL_LAYERS'] = {str(copy)!r}")
    session("os.dup2(os.open('/dev/null', os.O_WRONLY), 1)")
    session(f"plugin = ctypes.CDLL({str(command[-1])!r}, mode=0xA)")
    session("arguments = (ctypes.c_char_p * 4)(b'x', b'--size', b'67108865', None)")
    assert session("plugin.client_main(3, arguments)") == 3
    session("arguments = (ctypes.c_char_p * 4)(b'x', b'--size', b'67108864', None)")
    assert session("plugin.client_main(3, arguments)") == 0


def test_a_closed_layer_stays(box):
    """The Khronos loader of 2026 closes its layers at its end, when destructors still call them."""
    result = box.python(
        "import ctypes, os, _ctypes\n"
        f"_ctypes.dlclose(ctypes.CDLL({str(SHIM)!r})._handle)\n"
        f"print({str(SHIM)!r} in open('/proc/self/maps').read())", door=None)
    assert result.stdout == "True\n", result.stderr


@pytest.mark.parametrize("door", ["run", "named"])
@pytest.mark.parametrize("loader", ["layers", "new", None])
def test_several_layers_of_the_user_in_their_order(box, door, loader):
    if loader == "new":
        pytest.skip("needs layers with clInitLayerWithProperties")
    box.create(LIMIT)
    log = box.folder / "calls"
    two = CLIENTS / "counting_layer_two.so"
    # A relative name goes to the dynamic linker as it is.
    value = f"counting_layer.so:{two}"
    variables = {"OPENCL_LAYERS": value, "TEST_LAYER_LOG": str(log), "LD_LIBRARY_PATH": ":".join(
        [str(CLIENTS), *([str(CLIENTS / loader)] if loader else [])])}
    result = box.run("sh", "-c", f"echo $OPENCL_LAYERS; exec {CLIENTS / 'linked_c'} --size 1",
                     door=door, variables=variables)
    assert lines(result) == [f"{SHIM}:{value}", "ok 1"], result.stderr
    assert log.read_text().count("clCreateBuffer") == 2


CHILDREN = {
    "sh": "subprocess.run(['sh', '-c', command])",
    "env": "subprocess.run(['env', 'A=b', 'sh', '-c', command])",
    "copy of the environment": "subprocess.run(command, shell=True, env=dict(os.environ))",
    "own environment": "subprocess.run(command, shell=True, env={**kept})",
    "posix_spawn": "os.waitpid(os.posix_spawn('/bin/sh', ['sh', '-c', command], os.environ), 0)",
    "vfork": "subprocess.run(['/bin/sh', '-c', command], close_fds=False)",
    "fork": "os.waitpid(os.fork() or os.execv('/bin/sh', ['sh', '-c', command]), 0)",
    "system": "os.system(command)",
    "grandchild": "subprocess.run(['sh', '-c', 'sh -c \"' + command + '\"; true'])",
}


@pytest.mark.parametrize("way", CHILDREN)
@pytest.mark.parametrize("door", ["run", "named", "layers"])
def test_children_of_children_stay_inside(box, way, door):
    """Before and after the parent has used OpenCL itself: ocl-icd changes the environment then."""
    box.create(LIMIT)
    command = f"{CLIENTS / 'linked_c'} --size {LIMIT + 1}"
    variables = {"CHRONOS_PARTITION": "p1"}
    result = box.python(
        f"import os, subprocess, sys\ncommand = {command!r}\n"
        "kept = {name: os.environ[name] for name in os.environ if name != 'HOME'}\n"
        "import opencl as cl\n"
        f"{CHILDREN[way]}\ncl.buffer(cl.context(), 1)\n{CHILDREN[way]}\n", door=door,
        variables=variables)
    assert lines(result) == ["error -4"] * 2, (result.stdout, result.stderr)
