"""The file that soak.py shares with one user's storm; board.hpp has the same layout."""

import ctypes
import mmap
import os

MAGIC = 0x31534B414F53
LANES = 8
ENTRIES = 512
LANES_AT, COUNTERS_AT, ENTRIES_AT = 256, 1024, 2048
SIZE = ENTRIES_AT + ENTRIES * 64

COUNTERS = ("kills", "kills_of_stopped", "kills_in_a_call", "stops", "continues", "forks", "execs",
            "runs", "exits", "tried", "admitted", "refused", "freed", "freed_in_a_child",
            "without_device", "worst_setup_ns", "worst_allocation_ns", "worst_free_ns", "worst_on_pocl_ns",
            "hangs", "crashes", "mistakes", "admitted_on_pocl", "rushes")


class _Words:
    """Named 64-bit words of the file, each read and stored at once."""

    fields = ()

    def __init__(self, memory, offset):
        object.__setattr__(self, "_words", {
            name: ctypes.c_uint64.from_buffer(memory, offset + 8 * i)
            for i, name in enumerate(self.fields)})

    def __getattr__(self, name):
        return self._words[name].value

    def __setattr__(self, name, value):
        self._words[name].value = value


class _Header(_Words):
    fields = ("magic", "seed", "per_mille", "processes", "hang_ns", "sweeps", "user")


class _Lane(_Words):
    fields = ("open", "generation", "limit", "device", "is_pocl", "emptied")


class _Counters(_Words):
    fields = COUNTERS


class Board:
    def __init__(self, path, owner):
        self.path = path
        with open(path, "xb+") as file:
            file.truncate(SIZE)
            os.fchmod(file.fileno(), 0o600)
            os.fchown(file.fileno(), *owner)
            self.memory = mmap.mmap(file.fileno(), SIZE)
        self.header = _Header(self.memory, 0)
        self.lanes = [_Lane(self.memory, LANES_AT + 64 * i) for i in range(LANES)]
        self._counters = _Counters(self.memory, COUNTERS_AT)
        self.header.magic = MAGIC

    def counters(self):
        return {name: getattr(self._counters, name) for name in COUNTERS}
