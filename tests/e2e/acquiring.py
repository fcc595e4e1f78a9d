"""What the tests of `chronos acquire` share: four fake GPUs and a stand-in for NVIDIA's library that
says of them what it is told (tests/stand_ins)."""

import subprocess

from support import BUILD, GIB

NVML = BUILD / "lib" / "libchronos_stand_in_nvml.so"
FOUR = [{"name": "Fake GPU", "count": 4, "pci": "0000:65:00.0", "memory_bytes": 24 * GIB}]


def nvml_gpu(index, free=20 * GIB, power=30000, utilization=0, more=""):
    total = 24 * GIB
    return (f"gpu\nname Stand-in {index}\nuuid GPU-0000000{index}-d72c-4106-c12f-20bd9faed9f6\n"
            f"pci 00000000:{0x65 + index:02X}:00.0\nmemory {total} {free} {total - free}\n"
            f"power {power}\nlimit 250000\ntemperature 41\nutilization {utilization}\n{more}")


class Lot:
    """A box of several fake GPUs, with a vendor's library that says what it is told."""

    def __init__(self, box, folder):
        self.box = box
        self.script = folder / "nvml.txt"
        box.env.update(CHRONOS_TEST_NVML=str(NVML), CHRONOS_STAND_IN_NVML=str(self.script),
                       CHRONOS_TEST_SYS=str(folder / "sys"), CHRONOS_TEST_PROC=str(folder / "proc"))
        self.say(*(nvml_gpu(index) for index in range(4)))

    def say(self, *texts):
        new = self.script.with_suffix(".new")
        new.write_text("\n".join(texts) + "\n", encoding="utf-8")
        new.rename(self.script)

    def acquire(self, *arguments, status=0, **options):
        return self.box.chronos("acquire", *arguments, status=status, **options)

    def start(self, *arguments, **options):
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        options.setdefault("env", self.box.env)
        process = subprocess.Popen([str(self.box.command), "acquire", *map(str, arguments)],
                                   text=True, **options)
        self.box.children.append(process)
        return process

    def held(self):
        return sorted(entry["device"] for entry in self.box.partitions().values())


def hold(lot, *arguments, **options):
    """An acquirer that holds until its standard input ends."""
    process = lot.start(*arguments, "--", "sh", "-c", "echo held; read line", **options)
    assert process.stdout.readline() == "held\n", process.stderr.read()
    return process
