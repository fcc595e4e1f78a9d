"""Numbers that programs size themselves by are the partition's, however they are asked for."""

import pytest

from support import GIB, built
from support import box, fake_box  # noqa: F401

pytestmark = built

LIMIT, OTHER, USED = 48 * 1024, 32 * 1024, 8 * 1024
GLOBAL, ALLOC, CONSTANT, VARIABLE, PREFERRED, FREE = 0x101F, 0x1010, 0x1020, 0x104D, 0x1054, 0x4039
SIZES = (GLOBAL, ALLOC, CONSTANT, VARIABLE, PREFERRED)
DEVICE = {"memory_bytes": GIB, "global_variable_bytes": GIB, "free_memory_amd": True, "count": 2}

START = """
from extensions import by_name
def parts(device, units=1):
    split = cl.declare("clCreateSubDevices", ctypes.c_int, cl.pointer, cl.pointer, ctypes.c_uint,
                       cl.pointer, cl.pointer)
    room = (ctypes.c_void_p * 64)()
    count = ctypes.c_uint()
    assert split(device, (ctypes.c_long * 3)(0x1086, units, 0), 64, room, ctypes.byref(count)) == 0
    return room[:count.value]
release_device = cl.declare("clReleaseDevice", ctypes.c_int, cl.pointer)
direct = cl.device_info
signature = (ctypes.c_int, cl.pointer, ctypes.c_uint, ctypes.c_size_t, cl.pointer, cl.pointer)
named = by_name("clGetDeviceInfo", *signature)
def ask(device, what, room=8, through=direct):
    value = (ctypes.c_ulong * 4)(*[7] * 4)
    size = ctypes.c_size_t(7)
    error = through(device, what, room, value, ctypes.byref(size))
    return [error, size.value, *value]
def numbers(device, through=direct):
    return [ask(device, what, through=through)[2] for what in (%s)]
first, second = cl.devices()
""" % ", ".join(map(str, SIZES))


def start(fake_box, door, variables=None, **config):
    box = fake_box(devices=[DEVICE], **config)
    box.create(LIMIT, name="p1", device=0)
    box.create(OTHER, name="p2", device=1)
    session = box.session(door=door, partition="p1,p2",
                          variables={"CHRONOS_PARTITION": "p1,p2", **(variables or {})})
    session(START)
    return box, session


@pytest.mark.parametrize("through", ["direct", "named"])
@pytest.mark.parametrize("door", ["named", "layers", "owned"])
def test_each_device_answers_with_its_partition(fake_box, door, through):
    _, session = start(fake_box, door)
    assert session(f"numbers(first, {through})") == [LIMIT] * 5
    assert session(f"numbers(second, {through})") == [OTHER] * 5
    assert session(f"[numbers(part, {through}) for part in parts(first)[:2]]") == [[LIMIT] * 5] * 2
    assert session(f"numbers(parts(parts(second, 2)[0])[0], {through})") == [OTHER] * 5


@pytest.mark.parametrize("through", ["direct", "named"])
@pytest.mark.parametrize("door", ["named", "layers"])
def test_free_memory_follows_what_is_used(fake_box, door, through):
    _, session = start(fake_box, door)
    assert session(f"make({USED})") == 0
    left = (LIMIT - USED) // 1024
    assert session(f"ask(first, {FREE}, 8, {through})") == [0, 8, left, 7, 7, 7]
    assert session(f"ask(first, {FREE}, 16, {through})") == [0, 16, left, left, 7, 7]
    assert session(f"ask(first, {FREE}, 32, {through})") == [0, 16, left, left, 7, 7]
    assert session(f"ask(parts(first)[0], {FREE}, 16, {through})") == [0, 16, left, left, 7, 7]
    assert session(f"ask(second, {FREE}, 8, {through})") == [0, 8, OTHER // 1024, 7, 7, 7]
    assert session(f"ask(first, {FREE}, 4, {through})") == [-30, 7, 7, 7, 7, 7]


def test_smaller_numbers_stay_the_drivers(fake_box):
    box = fake_box(devices=[{**DEVICE, "max_alloc_bytes": 4096, "global_variable_bytes": 100,
                             "memory_bytes": 1 << 20}])
    box.create(1 << 19)
    session = box.session()
    session(START)
    assert session("numbers(first)") == [1 << 19, 4096, 65536, 100, 100]


EVERY = f"""
def every(through):
    answers = []
    for what in ({", ".join(map(str, SIZES))}, {FREE}, 0x102B, 0x9999):
        for room in (0, 1, 4, 7, 8, 9, 12, 16, 24):
            for value in (None, (ctypes.c_ubyte * 40)(*[7] * 40)):
                for size in (None, ctypes.c_size_t(7)):
                    error = through(first, what, room, value, size and ctypes.byref(size))
                    said = bytes(value) if value is not None else b""
                    if error == 0:  # the number itself differs
                        said = said[16 if what == {FREE} else 8:]
                    answers.append([what, room, error, size and size.value, said.hex()])
    return answers
"""


@pytest.mark.parametrize("through", ["direct", "named"])
@pytest.mark.parametrize("door", ["named", "layers"])
def test_rooms_are_treated_as_the_driver_does(fake_box, door, through):
    """Two calls, one for the size; too little room leaves memory alone."""
    _, session = start(fake_box, door)
    bare = fake_box(devices=[DEVICE]).session(door=None)
    for each in (session, bare):
        each(START)
        each(EVERY)
    answers = session(f"every({through})")
    assert answers == bare("every(direct)")
    assert {answer[2] for answer in answers} == {0, -30}


def test_a_sub_device_at_an_earlier_ones_address(fake_box):
    _, session = start(fake_box, "named")
    session("""
for again in range(100):
    old = parts(first, 4)
    before = [numbers(part)[0] for part in old]
    [release_device(part) for part in old]
    new = parts(second, 4)
    same = [part for part in new if part in old]
    if same: break
    [release_device(part) for part in new]
""")
    # An allocator that never hands an address out again would leave nothing to test.
    assert session("len(same) > 0")
    assert session(f"set(before) == {{{LIMIT}}}")
    assert session("numbers(same[0])") == [OTHER] * 5
    # And what is made on it alone is charged there.
    session("error = ctypes.c_int()")
    session("one = (ctypes.c_void_p * 1)(same[0])")
    session("the = cl.create_context(None, 1, one, None, None, error)")
    assert session(f"cl.buffer(the, {USED})[1]") == 0
    assert session(f"ask(second, {FREE})[2]") == (OTHER - USED) // 1024


@pytest.mark.parametrize("door", ["named", "layers"])
def test_core_functions_by_name_charge_too(fake_box, door):
    box, session = start(fake_box, door)
    session("make_one = by_name('clCreateBuffer', cl.pointer, cl.pointer, ctypes.c_ulong,"
            " ctypes.c_size_t, cl.pointer, cl.pointer)")
    session(f"made = make_one(cl.context(0), 1, {USED}, None, None)")
    assert box.used("p1") == box.held(0) == USED
    assert session(f"make_one(cl.context(0), 1, {LIMIT}, None, None)") is None
    session("cl.release(made)")
    assert box.used("p1") == box.held(0) == 0


def test_a_later_core_function_by_name_works_as_before(fake_box):
    """A driver of OpenCL 1.2 that hands out clSVMAlloc by name: its table is not used for it."""
    box = fake_box(devices=[DEVICE], platform={"version": "OpenCL 1.2 fake"})
    box.create(LIMIT)
    session = box.session()
    session(START)
    session("allocate = by_name('clSVMAlloc', cl.pointer, cl.pointer, ctypes.c_ulong,"
            " ctypes.c_size_t, ctypes.c_uint)")
    assert session("allocate(cl.context(0), 1, 4096, 0)") > 0
