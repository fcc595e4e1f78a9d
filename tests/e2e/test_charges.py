"""Each way to take device memory is charged what it takes, to the byte, and refused at the limit.

tests/clients/charges measures it from within a partition; also under AddressSanitizer and
UndefinedBehaviorSanitizer, shim and program, where their build is there.
"""

import pytest

from support import ASAN, CLIENTS, FakeBox, MIB, built, only_line, sanitizer_library
from support import box, every_box, fake_box, intel, pocl  # noqa: F401

LIMIT = 16 * MIB
# What each driver must have for the test to mean something; the rest may be `none`.
BUFFERS = {"buffer-one-byte", "buffer-odd", "buffer-large", "buffer-use-host", "buffer-alloc-host",
           "buffer-copy-host", "buffer-properties", "sub-buffer"}
IMAGES = {"image1d", "image1d-array", "image2d", "image-r8", "image-bgra", "image-properties",
          "image-use-host", "image2d-old", "image3d-old", "image-of-buffer"}
SVM = {"svm", "svm-fine", "svm-enqueued", "svm-called-back", "svm-with-buffer"}
USM = {"usm-device", "usm-device-blocking", "usm-shared", "usm-shared-by-all", "usm-host"}
DEEP = {"image2d-array", "image3d"}
KINDS = {"fake": BUFFERS | IMAGES | SVM | USM | {"buffer-intel", "pipe", "svm-arm",
                                                 "svm-arm-enqueued"},
         "pocl": BUFFERS | IMAGES | SVM | DEEP,
         "intel": BUFFERS | IMAGES | SVM | DEEP | USM | {"pipe", "image-depth", "image-luminance"}}

pytestmark = built


def check(box, result, kinds):
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert all(line[1] in ("ok", "none") for line in lines), result.stdout
    assert kinds <= {line[0] for line in lines if line[1] == "ok"}
    only_line(result.stderr)
    assert box.used() == 0
    assert box.partitions()["p1"]["peak_bytes"] == LIMIT
    if isinstance(box, FakeBox):
        with box.witnessed() as witness:
            assert (witness.over_limit(), witness.worst_excess()) == (0, 0)
            assert witness.high_water() == LIMIT
            assert witness.held() == 0


@pytest.fixture
def driver(request):
    """(name, box, whether it has the limit for a witness)"""
    name = request.param
    if name == "fake":
        device = {"memory_bytes": 1 << 30, "witness_limit_bytes": LIMIT}
        return name, request.getfixturevalue("fake_box")(devices=[device])
    return name, request.getfixturevalue(name)


DRIVERS = pytest.mark.parametrize("driver", KINDS, indirect=True)


@DRIVERS
@pytest.mark.parametrize("lifetime", ["callbacks", "counts"])
@pytest.mark.parametrize("door", ["named", "layers"])
def test_charged_to_the_byte(driver, door, lifetime):
    name, box = driver
    box.create(LIMIT)
    result = box.run(CLIENTS / "charges", "--limit", LIMIT, door=door,
                     variables={"CHRONOS_PARTITION": "p1", "CHRONOS_LIFETIME": lifetime})
    check(box, result, KINDS[name])


@DRIVERS
@pytest.mark.parametrize("door", ["both", "layer"])
@pytest.mark.parametrize("program", ["charges", "parity"])
def test_sanitizers_find_nothing(driver, program, door):
    name, box = driver
    shim, path = ASAN / "lib" / "libchronos_shim.so", ASAN / "tests" / "clients" / program
    if not shim.exists() or not path.exists():
        pytest.skip("the asan preset is not built")
    whole = program == "parity"
    box.create("100%" if whole else LIMIT)
    preload = [sanitizer_library("libasan.so"), sanitizer_library("libubsan.so")] + [str(shim)] * (door == "both")
    result = box.run(
        "env", f"LD_PRELOAD={':'.join(preload)}", f"OPENCL_LAYERS={shim}",
        # Drivers leave memory behind; PoCL's compiler takes more than the address space is told.
        "ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS=print_stacktrace=1", path, *([] if whole else ["--limit", LIMIT]),
        door=None, variables={"CHRONOS_PARTITION": "p1"})
    if whole:
        assert result.returncode == 0, result.stdout[-300:] + result.stderr
        assert box.used() == 0
        assert box.partitions()["p1"]["peak_bytes"] > 0
    else:
        check(box, result, KINDS[name])
