"""A program that does what the tester says: one line of Python a step, on standard input.

Each line is a JSON string; it is evaluated (or executed) with opencl.py's names and those below,
and answered with one line of JSON, its value or {"raised": ...}. The first line says that it has
started. Ends with standard input, without releasing anything.
"""

import ctypes
import json
import os
import resource
import signal
import sys

import opencl as cl
from opencl import GIB, MIB  # noqa: F401

libc = ctypes.CDLL(None, use_errno=True)
answers = os.fdopen(os.dup(1), "w")
the_context = None
held = []


def make(size, *, flags=cl.READ_WRITE, keep=True):
    """Make a buffer and return OpenCL's error; what is made is the last of `held`."""
    global the_context
    if the_context is None:
        the_context = cl.context()
    made, error = cl.buffer(the_context, size, flags)
    if made is not None and keep:
        held.append(made)
    return error


def drop(index=-1):
    return cl.release(held.pop(index))


def in_child(code, *, fork=os.fork, stay=False):
    """[pid, value of `code`] from a forked child, which exits then, or stays until it is killed."""
    reader, writer = os.pipe()
    child = fork()
    if child == 0:
        try:
            value = eval(code, globals())
        except BaseException as error:  # the parent wants to know, whatever it is
            value = {"raised": repr(error)}
        try:
            os.write(writer, json.dumps(value).encode() + b"\n")
            while stay:
                signal.pause()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        line = file.readline()
    if not stay:
        os.waitpid(child, 0)
    return [child, json.loads(line) if line else "died"]


def bare_fork():
    """A fork that no handler is told of."""
    return libc._Fork()


def close_all():
    """What closefrom(3) does; the session's own streams stay."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    keep = answers.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, min(limit, 65536))


def fill_descriptors():
    """Use up every file descriptor; returns how many that were."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    count = 0
    try:
        while True:
            os.dup(0)
            count += 1
    except OSError:
        return count


def become(*command):
    """exec: the same process, another program, with the same streams."""
    os.execv(command[0], list(command))


def main():
    print("null", file=answers, flush=True)  # ready: nobody else reads the steps any more
    for line in sys.stdin:
        code = json.loads(line)
        try:
            try:
                compiled = compile(code, "<step>", "eval")
            except SyntaxError:
                exec(compile(code, "<step>", "exec"), globals())
                value = None
            else:
                value = eval(compiled, globals())
        except Exception as error:
            value = {"raised": repr(error)}
        print(json.dumps(value), file=answers, flush=True)
    os._exit(0)  # as a program that is not tidy


main()
