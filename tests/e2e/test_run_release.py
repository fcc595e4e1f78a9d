"""`chronos run`: its partition ends before its time, while programs still hold memory in it."""

import subprocess

from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import PATIENCE, PYTHON, built
from support import box, fake_box  # noqa: F401

pytestmark = built
HOLD = ("import opencl as cl, time\nheld, error = cl.buffer(cl.context(), cl.MIB)\n"
        "print(error, flush=True)\ntime.sleep(600)\n")


def start(box, *command, env=None, **options):
    process = subprocess.Popen(
        [str(box.command), "run", "--partition", "p1", "--on-expiry", "terminate", "--", *command],
        text=True, env=env or box.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    box.children.append(process)
    return process


def hold(box, **options):
    process = start(box, PYTHON, "-c", HOLD, **options)
    assert process.stdout.readline() == "0\n", process.stderr.read()
    return process


def is_told_to_end(process):
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 124
    assert "chronos: partition p1 was released; the program is told to end" in errors


def test_released_by_its_creator(box):
    box.create()
    process = hold(box)
    box.chronos("release", "p1")
    is_told_to_end(process)


@needs_root
def test_released_by_its_owner(lab):
    lab.create("1GiB", "p1", duration="1h")
    lab.chronos("release", "p1")
    lab.chronos("create", 0, "1GiB", "1h", "--name", "p1", "--user", lab.alice.name)
    process = hold(lab, env=lab.alice.env, **lab.alice.identity)
    lab.alice("release", "p1")
    is_told_to_end(process)


def test_its_maker_is_gone(box):
    """It was held for another program, which nobody in it outlives."""
    maker = subprocess.Popen([str(box.command), "run", "--device", "0", "--memory", "1GiB", "--duration",
                              "1h", "--name", "p1", "--", "cat"], env=box.env, stdin=subprocess.PIPE)
    box.children.append(maker)
    while not box.partitions():
        assert maker.poll() is None
    process = start(box, "sh", "-c", "echo ready; exec sleep 600")
    assert process.stdout.readline() == "ready\n"
    maker.kill()
    maker.wait()
    maker.stdin.close()
    is_told_to_end(process)
