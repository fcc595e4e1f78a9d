"""Every call that takes device memory is charged what it takes, refused at the limit, by each door."""

import pytest

from support import CLIENTS, MIB, built, only_line, own_lines
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
SIZE = 16 * MIB
ROW = 32 * 1024  # a one-dimensional image is at most some thousand pixels wide
CHARGED = ("buffer", "buffer-props", "image2d", "image3d", "image2d-array", "image1d", "image2d-old",
           "image3d-old", "image-props", "pipe", "svm", "svm-enqueue-free",
           "svm-enqueue-free-callback", "usm-device", "usm-shared", "arm-svm")
UNSUPPORTED = 4


class Holder:
    """tests/clients/entry_points, step by step."""

    def __init__(self, box, kind, *arguments, **options):
        self.process = box.start(CLIENTS / "entry_points", "--kind", kind, *arguments, **options)
        self.taken = self.until("hold")

    def until(self, word):
        lines = []
        for line in self.process.stdout:
            if line.strip() == word:
                return lines
            lines.append(line.strip())
        return lines

    def step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.mark.parametrize("door", ["named", "layers"])
@pytest.mark.parametrize("kind", CHARGED)
def test_charged_to_the_byte_and_refused_at_the_limit(any_box, kind, door):
    size, limit = (ROW, 4 * ROW) if kind == "image1d" else (SIZE, LIMIT)
    any_box.create(limit)
    variables = {"CHRONOS_PARTITION": "p1"}
    holder = Holder(any_box, kind, "--size", size, "--count", 9, door=door, variables=variables)
    if holder.taken == ["unsupported"]:
        assert holder.process.wait(timeout=60) == UNSUPPORTED
        pytest.skip(f"the device has no {kind}")
    taken = [int(line.split()[1]) for line in holder.taken if line.startswith("ok")]
    # An image can take more than its pixels: then fewer fit.
    assert taken and sum(taken) <= limit < sum(taken) + max(taken)
    assert holder.taken[len(taken):][0].split()[0] in ("error", "null")
    assert any_box.used() == sum(taken)
    if any_box.witness is not None:
        assert any_box.held() == sum(taken)
    holder.step()
    assert holder.until("released") == []
    assert any_box.used() == 0  # while the program still runs
    holder.step()
    assert holder.process.wait(timeout=60) == 0
    only_line(holder.process.stderr.read())


@pytest.mark.parametrize("kind", ["image1d-buffer", "buffer-over-svm"])
def test_memory_of_something_charged_is_not_charged_again(any_box, kind):
    any_box.create(LIMIT)
    holder = Holder(any_box, kind, "--size", SIZE, "--count", 3)
    if holder.taken == ["unsupported"]:
        pytest.skip(f"the device has no {kind}")
    assert [line.split()[0] for line in holder.taken] == ["ok"] * 3
    assert any_box.used() == 3 * SIZE
    holder.step()
    holder.until("released")
    assert any_box.used() == 0
    holder.step()
    assert holder.process.wait(timeout=60) == 0
    assert own_lines(holder.process.stderr.read()) == []


def test_host_memory_is_not_the_devices(any_box):
    any_box.create(LIMIT)
    holder = Holder(any_box, "usm-host", "--size", SIZE, "--count", 6)
    if holder.taken == ["unsupported"]:
        pytest.skip("the device has no usm-host")
    assert [line.split()[0] for line in holder.taken] == ["ok"] * 6
    assert any_box.used() == 0


@pytest.mark.parametrize("kind", ["image2d", "image1d-buffer", "pipe"])
def test_with_counted_references(box, kind):
    box.create(LIMIT)
    holder = Holder(box, kind, "--size", SIZE, "--count", 3,
                    variables={"CHRONOS_LIFETIME": "counts"})
    assert box.used() == box.held() == 3 * SIZE
    holder.step()
    holder.until("released")
    assert box.used() == box.held() == 0
