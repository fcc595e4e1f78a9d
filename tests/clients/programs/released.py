"""How the Python programs of the matrix end: they tell that all is released and wait for the end of
stdin, so that the tester can see whether anything is still charged."""

import gc
import sys


def mebibytes():
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        raise SystemExit(f"usage: {sys.argv[0]} MEBIBYTES")
    return int(sys.argv[1])


def out_of_memory(why):
    print("out of memory:", why)
    raise SystemExit(3)


def wait_after_release():
    gc.collect()
    print("all released", flush=True)
    sys.stdin.read()
