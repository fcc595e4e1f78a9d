"""Two processes in one partition of 1 GiB: what one holds, the other cannot have.

    chronos run --partition demo -- python3 examples/share.py

Each process wants 600 MiB. The second is refused while the first lives, and is served at once when
the first has been killed, which had no chance to give anything back. Exit status 1 if it goes
otherwise (without a partition, for example, both are served).
"""

import argparse
import subprocess
import sys

MIB = 1 << 20


def worker(size: int) -> None:
    """Allocates `size` bytes for each line on stdin, and answers "ok" or "refused"."""
    import pyopencl as cl

    context = cl.create_some_context(interactive=False)
    queue = cl.CommandQueue(context)
    held = []
    for _ in sys.stdin:
        try:
            buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, size)
            # Written to, so that the driver cannot put the allocation off.
            cl.enqueue_fill_buffer(queue, buffer, b"\xff", 0, size).wait()
        except (cl.MemoryError, MemoryError):
            print("refused", flush=True)
        else:
            held.append(buffer)
            print("ok", flush=True)


class Worker:
    """A process that allocates when it is told to."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", "--mib", str(size // MIB)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def allocate(self) -> bool:
        self.process.stdin.write("allocate\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if answer not in ("ok", "refused"):
            sys.exit(f"the {self.name} process died")
        print(f"{self.name} process ({self.process.pid}): {self.size // MIB} MiB: {answer}", flush=True)
        return answer == "ok"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        print(f"{self.name} process ({self.process.pid}): killed", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=600, help="what each process allocates")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.mib * MIB)
        return 0

    first, second = Worker("first", arguments.mib * MIB), Worker("second", arguments.mib * MIB)
    try:
        as_expected = first.allocate() and not second.allocate()
        first.kill()
        return 0 if as_expected and second.allocate() else 1
    finally:
        first.process.kill()
        second.process.kill()


if __name__ == "__main__":
    sys.exit(main())
