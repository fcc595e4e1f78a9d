#!/usr/bin/python3
"""Configure the fake OpenCL driver, and read what its witness counted.

`python3 witness.py FILE` prints the witness's tables. As a module: `write_driver()` makes a folder
that OCL_ICD_VENDORS can name, `Witness` reads the shared file. Pure Python, no dependencies.

The layout is that of witness_layout.hpp. Sizes are in bytes.
"""

import ctypes
import fcntl
import json
import mmap
import os
import struct
import sys
from pathlib import Path

MAGIC = 0x31535354494E4843
VERSION = 2
SLOTS = 512
MAX_DEVICES = 64
DEVICES_AT = 4096
DEVICE_SIZE = 256
SLOTS_AT = 20480
CELLS_AT = 24576
FILE_SIZE = CELLS_AT + SLOTS * MAX_DEVICES * 16

# In a device record, after the 16 bytes of its head.
FIELDS = {"high_water": 16, "limit": 24, "over_limit": 32, "worst_excess": 40,
          "allocations": 48, "frees": 56}
NAME_AT = 64


def write_driver(folder, library, config=None):
    """Write `fake.icd` and `fake.json` into `folder` (made if missing).

    Returns the environment variables that make an ICD loader use only this driver. `config` is the
    driver's configuration; a relative "witness" is placed in the folder.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(config or {})
    if "witness" in config:
        config["witness"] = str(folder / config["witness"])
    vendors = folder / "vendors"
    vendors.mkdir(exist_ok=True)
    (vendors / "fake.icd").write_text(f"{Path(library).resolve()}\n")
    (folder / "fake.json").write_text(json.dumps(config, indent=2) + "\n")
    # The trailing slash makes ocl-icd take it for a folder; the Khronos loader does so anyway.
    return {"OCL_ICD_VENDORS": f"{vendors}/", "CHRONOS_FAKE_DRIVER": str(folder / "fake.json")}


def _has_memory(pid):
    """Whether any thread of `pid` still has an address space."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return False
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] not in "ZXx" and int(fields[20]) != 0:
            return True
    return False


def _start(pid):
    """When the process began, in ticks of the initial time namespace; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            shown = int(file.read().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    try:
        with open("/proc/self/timens_offsets", encoding="ascii") as file:
            offsets = {line.split()[0]: line.split()[1:] for line in file}
    except FileNotFoundError:  # a kernel without time namespaces
        return shown
    seconds, nanoseconds = map(int, offsets["boottime"])
    ticks = os.sysconf("SC_CLK_TCK")
    return shown - seconds * ticks - nanoseconds * ticks // 10**9


class Witness:
    """The counters of one witness file. A context manager; values are read anew at each call.

    Totals leave out processes that are gone. `over_limit` and `high_water` are the driver's own
    records: see witness.hpp for what they promise.
    """

    def __init__(self, path):
        self.path = str(path)
        with open(self.path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), FILE_SIZE)
        self._key = self._mapping_key()
        magic, version, self.device_count = struct.unpack_from("<QII", self._map, 0)
        if magic != MAGIC or version != VERSION:
            raise ValueError(f"{self.path}: not a witness file of version {VERSION}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._map.close()

    def _mapping_key(self):
        # As the kernel itself shows it: stat() names another device on overlayfs and btrfs.
        inode = str(os.stat(self.path).st_ino)
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            for line in file:
                fields = line.split(maxsplit=5)
                if fields[4] == inode and fields[5].rstrip("\n") == os.path.realpath(self.path):
                    return f" {fields[3]} {fields[4]} "
        raise OSError(f"{self.path}: not found in /proc/self/maps")

    def _u64(self, offset):
        return struct.unpack_from("<Q", self._map, offset)[0]

    def _u128(self, offset):
        # Two halves: repeat until nothing changed between them.
        while True:
            first = bytes(self._map[offset:offset + 16])
            if first == bytes(self._map[offset:offset + 16]):
                return int.from_bytes(first, "little")

    def _head(self, device):
        """(total, slot, sequence, amount) of the device's last operation."""
        word = self._u128(DEVICES_AT + device * DEVICE_SIZE)
        amount = word >> 83
        if amount >= 1 << 44:
            amount -= 1 << 45
        return (word & (1 << 44) - 1, word >> 44 & 511, word >> 53 & (1 << 29) - 1, amount)

    def _cell(self, slot, device):
        word = self._u128(CELLS_AT + (slot * MAX_DEVICES + device) * 16)
        return word & (1 << 64) - 1, word >> 64

    def _alive(self, slot, identity):
        pid = identity & (1 << 22) - 1
        start, place = identity >> 22 & (1 << 18) - 1, identity >> 40 & (1 << 16) - 1
        if identity >> 56 == os.stat("/proc/self/ns/pid").st_ino & (1 << 8) - 1:
            if not _has_memory(pid) or (_start(pid) - start + 1) % (1 << 18) > 2:
                return False
            try:
                with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
                    maps = file.read()
                if any(self._key in line and int(line.partition("-")[0], 16) >> 12 & 0xffff == place
                       for line in maps.splitlines()):
                    return True
                if maps:
                    return False  # it has exec'd
            except PermissionError:
                pass
            except (FileNotFoundError, ProcessLookupError):
                return False
            # It may be held for a moment by one who wants the slot.
            return self._lock_holder(slot) == pid
        return self._lock_holder(slot) is not None

    def _lock_holder(self, slot):
        """The pid of who has locked a slot (0 or -1 if that cannot be seen from here), or None."""
        with open(f"{self.path}.lock", "rb") as file:
            probe = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, slot, 1, 0)
            answer = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, probe))
        return None if answer[0] == fcntl.F_UNLCK else answer[4]

    def processes(self):
        """{pid: [bytes on device 0, 1, ...]} of the living processes that use the driver."""
        found = {}
        for slot in range(SLOTS):
            identity = self._u64(SLOTS_AT + slot * 8)
            if identity == 0 or not self._alive(slot, identity):
                continue
            held = []
            for device in range(self.device_count):
                while True:
                    head = self._head(device)
                    held_bytes, sequence = self._cell(slot, device)
                    if head == self._head(device):
                        break
                # The last operation may not have been carried into its cell yet.
                if head[1] == slot and head[2] != 0 and head[2] != sequence:
                    held_bytes += head[3]
                held.append(held_bytes)
            found[identity & (1 << 22) - 1] = held
        return found

    def held(self, device=0):
        """Bytes that living processes hold on `device`, summed one process after the other."""
        return sum(held[device] for held in self.processes().values())

    def held_at_once(self, device=0, attempts=20):
        """Bytes that living processes hold on `device` at one instant; None if it never kept still."""
        for _ in range(attempts):
            head = self._head(device)
            held = 0
            for slot in range(SLOTS):
                held_bytes, sequence = self._cell(slot, device)
                if head[1] == slot and head[2] != 0 and head[2] != sequence:
                    held_bytes += head[3]
                if held_bytes == 0:
                    continue
                identity = self._u64(SLOTS_AT + slot * 8)
                if identity != 0 and self._alive(slot, identity):
                    held += held_bytes
            if head == self._head(device):
                return held
        return None

    def raw_total(self, device=0):
        """The driver's own total at one instant; processes that died unnoticed are in it."""
        return self._head(device)[0]

    def name(self, device=0):
        at = DEVICES_AT + device * DEVICE_SIZE + NAME_AT
        return bytes(self._map[at:at + DEVICE_SIZE - NAME_AT]).partition(b"\0")[0].decode()

    def _field(self, device, field):
        return self._u64(DEVICES_AT + device * DEVICE_SIZE + FIELDS[field])

    def high_water(self, device=0):
        """The most that living processes ever held at once."""
        return self._field(device, "high_water")

    def limit(self, device=0):
        return self._field(device, "limit")

    def allocations(self, device=0):
        return self._field(device, "allocations")

    def frees(self, device=0):
        return self._field(device, "frees")

    def worst_excess(self, device=0):
        """By how many bytes the limit was ever passed; 0 if it held."""
        return self._field(device, "worst_excess")

    def over_limit(self, device=0):
        """How many allocations left the device above the limit (at least 1 if any ever did)."""
        count = self._field(device, "over_limit")
        # A process killed right after such an allocation may not have counted it.
        return count or int(self.worst_excess(device) > 0)

    def set_limit(self, limit, device=0):
        """Watch another limit from now on; 0 for none."""
        # In one store: the driver reads it meanwhile, and struct writes byte by byte.
        at = DEVICES_AT + device * DEVICE_SIZE + FIELDS["limit"]
        ctypes.c_uint64.from_buffer(self._map, at).value = limit


def main(arguments):
    if len(arguments) != 1:
        print("usage: witness.py FILE", file=sys.stderr)
        return 2
    try:
        witness = Witness(arguments[0])
    except (OSError, ValueError) as error:
        print(f"witness.py: {error}", file=sys.stderr)
        return 1
    with witness:
        processes = witness.processes()
        for device in range(witness.device_count):
            print(f"device {device} ({witness.name(device)})")
            for label, value in (
                ("held", sum(held[device] for held in processes.values())),
                ("high water", witness.high_water(device)),
                ("limit", witness.limit(device)),
                ("over limit", witness.over_limit(device)),
                ("worst excess", witness.worst_excess(device)),
                ("allocations", witness.allocations(device)),
                ("frees", witness.frees(device)),
            ):
                print(f"  {label:<13}{value}")
            for pid, held in sorted(processes.items()):
                print(f"  pid {pid:<9}{held[device]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
