"""What others allocated is not charged, and gives nothing back; images cost what drivers need."""

import pytest

from support import MIB, built, own_lines
from support import box, fake_box  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
SIZE = 16 * MIB
BIG = 2 * LIMIT
START = "from extensions import *; the = cl.context()"
SURFACE = ("by_name('clCreateFromVA_APIMediaSurfaceINTEL', pointer, pointer, bits, pointer, number,"
           " pointer)")
ARM = ("by_name('clImportMemoryARM', pointer, pointer, bits, pointer, pointer, size, pointer)")
HANDLE = "properties(0x2060, 7)"
LISTED = "properties(0x2051, cl.devices()[0], 0, 0x2067, 7)"

IMPORTS = {
    "clCreateFromGLBuffer": f"result(gl_buffer, the, 1, {BIG})",
    "clCreateFromGLTexture": "result(gl_texture, the, 1, 0xDE1, 0, 5)",
    "clCreateFromGLTexture2D": "result(gl_texture_2d, the, 1, 0xDE1, 0, 5)",
    "clCreateFromGLTexture3D": "result(gl_texture_3d, the, 1, 0x806F, 0, 5)",
    "clCreateFromGLRenderbuffer": "result(gl_renderbuffer, the, 1, 5)",
    "clCreateFromEGLImageKHR": "result(egl_image, the, None, 5, 1, None)",
    "clCreateFromVA_APIMediaSurfaceINTEL": f"result({SURFACE}, the, 1, ctypes.byref(number(5)), 0)",
    "clImportMemoryARM": f"result({ARM}, the, 1, None, None, {BIG})",
    "clCreateBufferWithProperties":
        f"result(buffer_with_properties, the, {HANDLE}, 1, {BIG}, None)",
    "clCreateBufferWithProperties, for some devices":
        f"result(buffer_with_properties, the, {LISTED}, 1, {BIG}, None)",
    "clCreateImageWithProperties":
        f"result(image_with_properties, the, {HANDLE}, 1, image_format(),"
        f" image_desc({BIG // 16}), None)",
}


@pytest.mark.parametrize("lifetime", ["callbacks", "counts"])
@pytest.mark.parametrize("door", ["named", "layers"])
@pytest.mark.parametrize("name", IMPORTS)
def test_not_charged(box, name, door, lifetime):
    box.create(LIMIT)
    variables = {"CHRONOS_PARTITION": "p1", "CHRONOS_LIFETIME": lifetime}
    session = box.session(door=door, variables=variables)
    session(START)
    session(f"kept = cl.buffer(the, {SIZE})")
    session(f"made = {IMPORTS[name]}")
    assert session("made") > 0
    assert box.used() == box.held() == SIZE
    assert session("cl.retain(made), cl.release(made), cl.release(made)") == [0, 0, 0]
    assert box.used() == box.held() == SIZE
    assert own_lines(session.errors()) == []


def test_properties_that_are_no_handle_are_charged(box):
    box.create(LIMIT)
    session = box.session()
    session(START)
    session(f"made = result(buffer_with_properties, the, properties(), 1, {SIZE}, None)")
    assert box.used() == box.held() == SIZE
    assert session(f"result(buffer_with_properties, the, properties(), 1, {BIG}, None)") == -4
    assert session(f"result(buffer_with_properties, the, properties(0x1234, 1), 1, {SIZE}, None)"
                   ) == -64  # CL_INVALID_PROPERTY, the driver's own
    assert box.used() == SIZE


def test_images_cost_what_the_driver_needs(fake_box):
    """The driver tells before; so an image that does not fit is never made."""
    padding = 4 * MIB
    box = fake_box(image_padding_bytes=padding,
                   devices=[{"memory_bytes": 24 << 30, "witness_limit_bytes": LIMIT}])
    box.create(LIMIT)
    session = box.session()
    session(START)
    make = ("result(image_with_properties, the, None, 1, image_format(),"
            f" image_desc({SIZE} // 4), None)")
    session(f"made = [{make} for _ in range(4)]")
    assert session("made[3]") == -4
    assert box.used() == box.held() == 3 * (SIZE + padding)
    with box.witnessed() as witness:
        assert witness.over_limit(0) == 0
    session("[cl.release(one) for one in made[:3]]")
    assert box.used() == box.held() == 0
