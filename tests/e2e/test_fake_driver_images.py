"""Images of the fake driver, without the shim."""

from fake_calls import driver, needs_fake_driver, run  # noqa: F401

pytestmark = needs_fake_driver

IMAGES = """
class Desc(c.Structure):
    _fields_ = [("type", c.c_uint)] + [(name, size_t) for name in (
        "width", "height", "depth", "array", "row", "slice")] + [
        ("mips", c.c_uint), ("samples", c.c_uint), ("mem", pointer)]
FLAT, DEEP, ARRAY, LINE, LINES, ON_BUFFER = range(0x10F1, 0x10F7)
RGBA8, FLOATS, R8 = (0x10B5, 0x10D2), (0x10B5, 0x10DE), (0x10B0, 0x10D2)
def image(type, width, height=0, depth=0, *, array=0, row=0, slice=0, mem=None, flags=1, host=None,
          format=RGBA8):
    error.value = 0
    desc = Desc(type, width, height, depth, array, row, slice, 0, 0, mem)
    return call("clCreateImage", context, number(flags), (c.c_uint * 2)(*format), c.byref(desc),
                host, failed) or error.value
def ask(mem, name, what, kind=size_t):
    value = kind()
    assert call(name, pointer(mem), what, size_t(c.sizeof(value)), c.byref(value), None,
                returns=c.c_int) == 0
    return value.value
release = lambda mem: call("clReleaseMemObject", pointer(mem), returns=c.c_int)
"""


def test_images_are_as_large_as_their_pitches_say(driver):
    run(driver(), IMAGES + """
def check(size, *arguments, shape=None, **more):
    mem = image(*arguments, **more)
    assert ask(mem, "clGetMemObjectInfo", 0x1102) == held() == size, held()
    assert ask(mem, "clGetMemObjectInfo", 0x1100, c.c_uint) == arguments[0]
    if shape:  # row pitch, slice pitch, width, height, depth, array size
        names = (0x1112, 0x1113, 0x1114, 0x1115, 0x1116, 0x1117)
        assert [ask(mem, "clGetImageInfo", name) for name in names] == shape
    assert release(mem) == 0 and held() == 0
check(28, LINE, 7, shape=[28, 0, 7, 0, 0, 0])
check(140, FLAT, 7, 5, 9, array=9, shape=[28, 0, 7, 5, 0, 0])  # what does not apply is ignored
check(35, FLAT, 7, 5, format=R8)
check(560, FLAT, 7, 5, format=FLOATS)
check(420, DEEP, 7, 5, 3, shape=[28, 140, 7, 5, 3, 0])
check(84, LINES, 7, array=3, shape=[28, 28, 7, 0, 0, 3])
check(420, ARRAY, 7, 5, array=3, shape=[28, 140, 7, 5, 0, 3])
host = (c.c_ubyte * 4096)()
check(320, FLAT, 7, 5, row=64, host=host, flags=1 | 32, shape=[64, 0, 7, 5, 0, 0])
check(1920, DEEP, 7, 5, 3, row=64, slice=640, host=host, flags=1 | 8)
count = c.c_uint()
formats = (c.c_uint * 2 * 64)()
assert call("clGetSupportedImageFormats", context, number(1), FLAT, 64, formats, c.byref(count),
            returns=c.c_int) == 0
offered = [tuple(format) for format in formats][:count.value]
assert {RGBA8, FLOATS, R8} <= set(offered) and (0, 0) not in offered
assert all(release(image(FLAT, 4, 4, format=format)) == 0 for format in offered)
""")


def test_an_image_on_a_buffer_costs_nothing_and_keeps_the_buffer(driver):
    run(driver(), IMAGES + """
buffer = call("clCreateBuffer", context, number(1), size_t(4096), NONE, failed)
line, flat = image(ON_BUFFER, 1024, mem=buffer), image(FLAT, 32, 32, mem=buffer)
again = image(FLAT, 32, 32, mem=flat)
assert held() == 4096
assert [ask(mem, "clGetImageInfo", 0x1118) for mem in (line, flat, again)] == [buffer, buffer, 0]
assert ask(again, "clGetMemObjectInfo", 0x1107) == flat
assert image(ON_BUFFER, 1025, mem=buffer) == image(FLAT, 32, 33, mem=buffer) == -40
assert image(ON_BUFFER, 16) == image(LINE, 16, mem=buffer) == image(FLAT, 9, 9, mem=flat) == -65
for mem in (buffer, line, flat):
    assert release(mem) == 0 and held() == 4096
assert release(again) == 0 and held() == 0
""")


def test_a_queued_command_holds_an_image(driver):
    run(driver(deferred=True), IMAGES + """
mem = image(FLAT, 32, 32)
assert call("clEnqueueMigrateMemObjects", commands, 1, c.byref(pointer(mem)), number(1), 0, None,
            None, returns=c.c_int) == 0
assert release(mem) == 0 and held() == 4096
queue.finish()
assert held() == 0
mem = image(FLAT, 32, 32)
assert call("clEnqueueReadBuffer", commands, pointer(mem), 1, size_t(0), size_t(4), NONE, 0, None,
            None, returns=c.c_int) == -38
""")
