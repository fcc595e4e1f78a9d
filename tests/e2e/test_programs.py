"""The global variables of programs are charged while their driver holds them."""

import pytest

from support import MIB, built, only_line, own_lines, poll
from support import box, fake_box, pocl  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
SIZE = 16 * MIB
OUT_OF_RESOURCES, NO_EXECUTABLE, ALLOCATION_FAILURE = -5, -45, -4
BUILT, FAILED = 0, -2
WAYS = ("source", "binary", "built-in", "il", "il-khr")


def programs(box, **options):
    session = box.session(**options)
    session("import threading; from programs import *; the = cl.context(); one = cl.devices()[0]")
    session("platform = ctypes.c_void_p()")
    session("device_platform = cl.device_info(one, 0x1031, 8, ctypes.byref(platform), None)")
    return session


def source(size=SIZE):
    return repr(f"globals: {size}")


def both(box):
    """What is charged, which must be what the driver holds."""
    used = box.used()
    assert used == box.held()
    return used


@pytest.mark.parametrize("door", ["named", "layers"])
@pytest.mark.parametrize("how", WAYS)
def test_charged_from_the_build_to_the_last_reference(box, how, door):
    box.create(LIMIT)
    session = programs(box, door=door, variables={"CHRONOS_PARTITION": "p1"})
    session(f"p = program(the, {source()}, {how!r}, [one], platform)")
    assert both(box) == 0
    assert session("build(p)") == 0
    assert both(box) == SIZE
    assert session("status(p, one)") == BUILT
    assert session("retain_program(p)") == session("release_program(p)") == 0
    assert both(box) == SIZE
    assert session("release_program(p)") == 0
    assert both(box) == 0
    assert own_lines(session.errors()) == []


@pytest.mark.parametrize("how", WAYS)
def test_references_from_before_the_build_count(fake_box, how):
    """What a driver says of them may be stale (OpenCL 3.0 section 5.8.8): they are counted here."""
    box = fake_box(stale_reference_counts=True)
    box.create(LIMIT)
    session = programs(box)
    session(f"p = program(the, {source()}, {how!r}, [one], platform); retain_program(p)")
    assert session("build(p)") == 0
    session("release_program(p)")
    assert both(box) == SIZE
    session("release_program(p)")
    assert both(box) == 0


def test_refused_exactly_at_the_limit(box):
    box.create(LIMIT)
    session = programs(box)
    assert session(f"p = program(the, {source(LIMIT)})") is None
    assert session("build(p)") == 0
    assert both(box) == LIMIT
    assert session(f"q = program(the, {source(1)})") is None
    assert session("build(q)") == OUT_OF_RESOURCES
    assert box.used() == LIMIT
    # To all that comes after, this build has failed.
    assert session("status(q, one)") == FAILED
    assert session("kernel(q)") == NO_EXECUTABLE
    assert session("kernels(q)") == NO_EXECUTABLE
    assert session("status(p, one)") == BUILT
    session("release_program(q)")
    assert both(box) == LIMIT
    session("release_program(p)")
    assert both(box) == 0
    assert "refused 1 B" in only_line(session.errors())


def test_refused_then_built_when_there_is_room(box):
    box.create(LIMIT)
    session = programs(box)
    assert session(f"make({LIMIT})") == 0
    session(f"p = program(the, {source()})")
    assert session("build(p)") == OUT_OF_RESOURCES
    assert session("build_program(p, 5, None, b'', None, None)") == -30  # and the driver's errors
    assert session("kernel(p)") == NO_EXECUTABLE
    session("drop()")
    assert session("build(p)") == 0
    assert both(box) == SIZE
    assert session("kernel(p)") > 0
    assert session("status(p, one)") == BUILT


def test_corrected_when_built_again(box):
    box.create(LIMIT)
    session = programs(box)
    session(f"p = program(the, {source()})")
    assert [session("build(p)"), session("build(p)"), session("build(p)")] == [0, 0, 0]
    assert both(box) == SIZE
    session("release_program(p)")
    assert both(box) == 0


def test_nothing_for_a_build_that_fails(box):
    box.create(LIMIT)
    session = programs(box)
    session(f"p = program(the, 'fails ' + {source()})")
    assert session("build(p)") == -11
    assert both(box) == 0
    assert session("status(p, one)") == FAILED


@pytest.mark.parametrize("last", ["k", "many[1]", "copy"])
def test_kernels_keep_their_program(box, last):
    box.create(LIMIT)
    session = programs(box)
    session(f"p = program(the, {source()})")
    session("build(p)")
    session("k = kernel(p); many = kernels(p); copy = clone(k)")
    assert session("len(many)") == 2
    assert session("retain_kernel(k)") == 0
    session("release_program(p)")
    kernels = ["k", "k", "many[0]", "many[1]", "copy"]
    kernels.remove(last)
    for kernel in kernels:
        assert both(box) == SIZE
        assert session(f"release_kernel({kernel})") == 0
    assert both(box) == SIZE
    session(f"release_kernel({last})")
    assert both(box) == 0


def test_linked(box):
    box.create(LIMIT)
    session = programs(box)
    session(f"a = program(the, {source()}); b = program(the, {source()})")
    assert [session("compiled(a)"), session("compiled(b)")] == [0, 0]
    assert both(box) == 0
    session("p = link(the, a, b)")
    assert both(box) == 2 * SIZE
    session("q = link(the, a, b)")
    assert both(box) == 4 * SIZE
    assert session("link(the, a)") == OUT_OF_RESOURCES
    assert both(box) == LIMIT  # nothing of it is left with the driver either
    session("release_program(p), release_program(q)")
    assert both(box) == 0


@pytest.mark.parametrize("background", [False, True])
def test_charged_before_the_callback_is_told(fake_box, background):
    box = fake_box(build_in_background=background)
    box.create(LIMIT)
    session = programs(box)
    session("done = threading.Event(); seen = []")
    # What the callback allocates is the program's own, and what it sees is settled.
    session(f"tell = lambda p: (seen.append((p, status(p, one), make({SIZE}))), done.set())")
    session(f"p = program(the, {source()})")
    assert session("build(p, tell)") == 0
    assert session("done.wait(60)")
    assert session("seen == [(p, 0, 0)]")
    assert both(box) == 2 * SIZE
    # Now it does not fit: the callback sees a failed build.
    session(f"done.clear(); q = program(the, {source(LIMIT)}); told_of = build(q, tell)")
    assert session("done.wait(60)")
    assert session("seen[1:] == [(q, -2, 0)]")
    assert session("told_of") in ((0, OUT_OF_RESOURCES) if background else (OUT_OF_RESOURCES,))
    assert box.used() == 3 * SIZE
    session("release_program(q)")
    poll("the build's thread", lambda: box.held() == 3 * SIZE)
    session("release_program(p), drop(), drop()")
    assert both(box) == 0


@pytest.mark.parametrize("background", [False, True])
def test_linked_with_a_callback(fake_box, background):
    box = fake_box(build_in_background=background)
    box.create(LIMIT)
    session = programs(box)
    session("done = threading.Event(); seen = []")
    session("tell = lambda p: (seen.append((p, status(p, one))), done.set())")
    session(f"a = program(the, {source()}); compiled(a); p = link(the, a, tell=tell)")
    assert session("done.wait(60)")
    assert session("seen == [(p, 0)]")
    assert both(box) == SIZE
    session(f"b = program(the, {source(LIMIT)}); compiled(b)")
    session("done.clear(); q = link(the, b, tell=tell)")
    assert session("done.wait(60)")
    assert session("seen[1:] == [(q, -2)]")
    assert session("kernel(q)") == NO_EXECUTABLE
    assert box.used() == SIZE
    session("release_program(q)")
    poll("the link's thread", lambda: box.held() == SIZE)
    session("release_program(p)")
    assert both(box) == 0


def test_what_a_release_callback_allocates_is_charged(box):
    box.create(LIMIT)
    session = programs(box)
    session(f"p = program(the, {source()}); build(p)")
    session(f"on_release(p, told(lambda _p: make({SIZE})), None)")
    session("release_program(p)")
    assert both(box) == SIZE


def test_each_device_pays_for_itself(fake_box):
    box = fake_box(devices=[{"memory_bytes": 1 << 30, "count": 2}])
    box.create(LIMIT, name="p1", device=0)
    box.create(2 * LIMIT, name="p2", device=1)
    session = programs(box, partition="p1,p2")
    session(f"both = cl.context(0, 1); p = program(both, {source()})")
    assert session("build(p)") == 0
    assert (box.used("p1"), box.used("p2")) == (box.held(0), box.held(1)) == (SIZE, SIZE)
    session(f"q = program(both, {source(LIMIT)})")
    assert session("build(q)") == OUT_OF_RESOURCES
    assert (box.used("p1"), box.used("p2")) == (SIZE, SIZE)
    session("release_program(p), release_program(q)")
    assert (box.used("p1"), box.used("p2")) == (0, 0)


def test_a_driver_that_does_not_tell_is_not_charged(fake_box):
    box = fake_box(hides_program_globals=True)
    box.create(LIMIT)
    session = programs(box)
    session(f"p = program(the, {source(2 * LIMIT)})")
    assert session("build(p)") == 0
    assert box.used() == 0
    assert session("kernel(p)") > 0


def test_a_forked_child_gives_back_nothing_of_its_parents(box):
    box.create(LIMIT)
    session = programs(box)
    session(f"p = program(the, {source()}); build(p)")
    assert session("in_child('release_program(p)')")[1] == 0
    assert both(box) == SIZE
    session("release_program(p)")
    assert both(box) == 0


def test_builds_of_many_threads_come_to_nothing(box):
    box.create(LIMIT)
    session = programs(box)
    session(f"""
def work():
    for _ in range(200):
        p = program(the, {source(MIB)})
        assert build(p) in (0, {OUT_OF_RESOURCES})
        k = kernel(p)
        release_program(p)
        if k > 0: release_kernel(k)
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
""")
    assert both(box) == 0


def test_real_programs_build_as_before(pocl):
    pocl.create(LIMIT)
    session = programs(pocl)
    session("p = program(the, 'kernel void k(global int* x) { x[0] = 1; }')")
    assert session("build(p)") == 0
    assert session("status(p, one)") == BUILT
    assert session("kernel(p)") > 0
    session("seen = []; q = program(the, 'kernel void k() {}'); build(q, lambda p: seen.append(p))")
    poll("the callback", lambda: session("len(seen)") == 1)
    session("bad = program(the, 'kernel void k(')")
    assert session("build(bad)") == -11
    assert own_lines(session.errors()) == []
