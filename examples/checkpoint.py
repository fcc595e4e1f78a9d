#!/usr/bin/env python3
"""A long computation that saves its state when its time is up, and goes on from there next time.

    chronos run --device 0 --memory 256MiB --duration 1h --on-expiry terminate --grace 30s -- \\
        python3 examples/checkpoint.py --steps 1000000 --file heat.npz

When the partition ends, `chronos run` sends SIGTERM and leaves the program the grace time. The
handler only notes it: the step in progress is finished, the state is written to a new file that
then takes the old one's place, and the program ends. Run again, it resumes; the result is the same
to the last bit as that of a run without interruption.

What it computes: how heat spreads over a square plate with a hot edge.

Exit status: 0 finished, 3 out of device memory, 75 stopped early and saved (run it again).
"""

import argparse
import os
import signal
import sys
import zlib

import numpy as np
import pyopencl as cl

KERNEL = """
__kernel void spread(__global const float *from, __global float *to, int n) {
  int x = get_global_id(0), y = get_global_id(1), at = y * n + x;
  if (x == 0 || y == 0 || x == n - 1 || y == n - 1) { to[at] = from[at]; return; }
  to[at] = 0.25f * (from[at - 1] + from[at + 1] + from[at - n] + from[at + n]);
}
"""
STOPPED_EARLY = 75  # EX_TEMPFAIL of sysexits.h

told_to_stop = False


def note(_number, _frame):
    global told_to_stop
    told_to_stop = True


def load(path, size):
    """(step, plate) of the checkpoint, or the beginning."""
    if os.path.exists(path):
        with np.load(path) as saved:
            if saved["plate"].shape != (size, size):
                sys.exit(f"checkpoint.py: {path} is of another size; remove it or say --size "
                         f"{len(saved['plate'])}")
            return int(saved["step"]), saved["plate"]
    plate = np.zeros((size, size), np.float32)
    plate[0] = 100
    return 0, plate


def save(path, step, plate):
    """A reader, or a kill at any moment, finds the old checkpoint or the new one, whole."""
    with open(f"{path}.new", "wb") as file:
        np.savez(file, step=step, plate=plate)
        file.flush()
        os.fsync(file.fileno())
    os.replace(f"{path}.new", path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, metavar="N")
    parser.add_argument("--size", type=int, default=256, metavar="N", help="edge of the plate")
    parser.add_argument("--file", default="checkpoint.npz", help="where the state is kept")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, note)
    step, plate = load(arguments.file, arguments.size)
    context = cl.create_some_context(interactive=False)
    queue = cl.CommandQueue(context)
    flags = cl.mem_flags
    try:
        old = cl.Buffer(context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=plate)
        new = cl.Buffer(context, flags.READ_WRITE, plate.nbytes)
    except cl.MemoryError as error:
        print(f"checkpoint.py: {error}", file=sys.stderr)
        return 3
    spread = cl.Kernel(cl.Program(context, KERNEL).build(), "spread")
    # Some drivers compile in a child process when a kernel first runs, and SIGTERM goes to all
    # processes: let that be over. The first step below writes the same again.
    spread(queue, plate.shape, None, old, new, np.int32(arguments.size))
    queue.finish()
    print(f"starting at step {step} of {arguments.steps}", flush=True)
    while step < arguments.steps and not told_to_stop:
        spread(queue, plate.shape, None, old, new, np.int32(arguments.size))
        queue.finish()
        old, new = new, old
        step += 1
    cl.enqueue_copy(queue, plate, old)
    save(arguments.file, step, plate)
    if step < arguments.steps:
        print(f"stopped and saved at step {step}", flush=True)
        return STOPPED_EARLY
    print(f"finished at step {step}, checksum {zlib.crc32(plate.tobytes()):08x}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
