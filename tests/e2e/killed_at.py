"""killed_at.py STEP COMMAND...: runs a command and kills it, with all that it started, just before
its STEP-th system call that changes a file system. Exit status 99 if it was killed, else 0. x86-64.
"""

import ctypes
import os
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
TRACEME, GETREGS, DETACH, SYSCALL, SETOPTIONS = 0, 12, 17, 24, 0x4200
# TRACESYSGOOD, TRACEFORK, TRACEVFORK, TRACECLONE, TRACEEXEC, EXITKILL
OPTIONS = 1 | 2 | 4 | 8 | 16 | 0x100000
WALL = 0x40000000
ORIG_RAX, RSI, RDX = 15, 13, 12  # places in struct user_regs_struct
# By number: those that need a look at their flags are 2 (open) and 257 (openat).
CHANGES = {18: "pwrite64", 1: "write", 74: "fsync", 77: "ftruncate", 82: "rename", 264: "renameat",
           316: "renameat2", 83: "mkdir", 84: "rmdir", 86: "link", 265: "linkat", 87: "unlink",
           263: "unlinkat", 88: "symlink", 266: "symlinkat", 90: "chmod", 91: "fchmod",
           93: "fchown", 258: "mkdirat"}
CREATES = 0o100


def ptrace(request, pid, address=0, data=0):
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    return libc.ptrace(request, pid, address, data)


def changes(registers):
    number = registers[ORIG_RAX]
    if number == 2:
        return bool(registers[RSI] & CREATES)
    if number == 257:
        return bool(registers[RDX] & CREATES)
    return number in CHANGES


class Tracer:
    """Follows the command's first process and, through what merely enters a namespace and forks,
    the one that is `chronos`; lets everything else go."""

    def __init__(self, first, step):
        self.first, self.step, self.done = first, step, 0
        self.inside = {first: False}
        self.new = set()

    def is_chronos(self, pid):
        return os.readlink(f"/proc/{pid}/exe").endswith("/chronos")

    def at_call(self, pid):
        """True if it is time to kill."""
        self.inside[pid] = not self.inside[pid]
        if not self.inside[pid] or not self.is_chronos(pid):
            return False
        registers = (ctypes.c_ulonglong * 27)()
        ptrace(GETREGS, pid, 0, ctypes.addressof(registers))
        self.done += changes(registers)
        return self.done == self.step and changes(registers)

    def run(self):
        while True:
            pid, status = os.waitpid(-1, WALL)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                if pid == self.first:
                    return 0 if status == 0 else 1
                continue
            signum, event = os.WSTOPSIG(status), status >> 16
            deliver = 0
            if pid not in self.inside:  # a child at its first stop, maybe before we are told of it
                with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                    parent = int(stat.read().rsplit(")", 1)[1].split()[1])
                if parent not in self.inside or self.is_chronos(parent):
                    ptrace(DETACH, pid)
                    continue
                self.inside[pid] = False
            elif event != 0:
                pass  # forked, or has exec'd
            elif signum == signal.SIGTRAP | 0x80:
                if self.at_call(pid):
                    for one in {pid, self.first}:
                        os.kill(one, signal.SIGKILL)
                    return 99
            else:
                deliver = signum
            ptrace(SYSCALL, pid, 0, deliver)


def main():
    step, command = int(sys.argv[1]), sys.argv[2:]
    child = os.fork()
    if child == 0:
        ptrace(TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execvp(command[0], command)
    os.waitpid(child, 0)
    ptrace(SETOPTIONS, child, 0, OPTIONS)
    ptrace(SYSCALL, child)
    return Tracer(child, step).run()


sys.exit(main())
