"""Four fake GPUs, and trees in the format of amdgpu's sysfs that say what they do: stand-ins, this
machine has no GPU."""

from support import GIB

UUIDS = [f"{number + 1:08x}" * 4 for number in range(4)]
GPUS = [{"name": f"GPU {'AB'[number % 2]}", "memory_bytes": 24 * GIB, "uuid": UUIDS[number],
         "pci": f"0000:{0x41 + number:02x}:00.0"} for number in range(4)]


class Trees:
    """CHRONOS_TEST_SYS; `trees[2](free=1 * GIB)` changes what the third GPU says."""

    def __init__(self, folder):
        self.folder = folder / "sys"
        self.variables = {"CHRONOS_TEST_SYS": str(self.folder),
                          "CHRONOS_TEST_PROC": str(folder / "proc"),
                          "CHRONOS_TEST_NVML": str(folder / "no-nvml.so")}
        for number in range(4):
            self[number]()

    def __getitem__(self, number):
        device = self.folder / "class" / "drm" / f"card{number}" / "device"

        def say(free=23 * GIB, busy=0, watts=15.0, limit=250.0):
            hwmon = device / "hwmon" / "hwmon0"
            hwmon.mkdir(parents=True, exist_ok=True)
            total = GPUS[number]["memory_bytes"]
            texts = {device / "uevent": f"DRIVER=amdgpu\nPCI_SLOT_NAME={GPUS[number]['pci']}",
                     device / "product_name": f"Stand-in {'AB'[number % 2]}",
                     device / "mem_info_vram_total": total,
                     device / "mem_info_vram_used": None if free is None else total - free,
                     device / "gpu_busy_percent": busy,
                     hwmon / "power1_average": None if watts is None else int(watts * 1e6),
                     hwmon / "power1_cap": int(limit * 1e6)}
            for path, text in texts.items():
                if text is None:
                    path.unlink(missing_ok=True)
                else:
                    path.write_text(f"{text}\n", encoding="ascii")

        return say
