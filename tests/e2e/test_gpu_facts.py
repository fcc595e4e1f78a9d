"""What GPUs say of themselves: `chronos stats --processes`, and what `chronos acquire` makes of it.

NVML and sysfs are stand-ins (tests/stand_ins, trees in the kernel's documented format): this machine
has no GPU.
"""

import json
import os
import subprocess

import pytest

from acquiring import FOUR, Lot, nvml_gpu
from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import GIB, MIB, built
from support import box, fake_box  # noqa: F401

pytestmark = built


@pytest.fixture
def lot(fake_box, tmp_path):
    return Lot(fake_box(devices=FOUR), tmp_path)


# --- what GPUs say -----------------------------------------------------------------------------

def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def facts(box, index=0):
    shown = json.loads(box.chronos("stats", "--processes", "--json").stdout)
    return shown["devices"][index]


def test_facts_of_nvml(lot):
    pid = os.getpid()
    lot.say(nvml_gpu(0, more=f"process {pid} {3 * GIB}\nprocess 1 ?\ngraphics {pid} {3 * GIB}\n"),
            nvml_gpu(1), nvml_gpu(2, more="fail nvmlDeviceGetTemperature 3\n"), nvml_gpu(3))
    first = facts(lot.box)
    assert first["facts"] == {
        "device": 0, "name": "Stand-in 0", "uuid": "00000000d72c4106c12f20bd9faed9f6",
        "pci": "0000:65:00.0", "source": "nvml", "total_bytes": 24 * GIB, "used_bytes": 4 * GIB,
        "free_bytes": 20 * GIB, "power_watts": 30.0, "power_limit_watts": 250.0,
        "utilization_percent": 0.0, "temperature_celsius": None,
        "processes": [{"pid": 1, "used_bytes": None}, {"pid": pid, "used_bytes": 3 * GIB}],
        "all_processes": True}
    holder = first["processes"][1]
    assert (holder["pid"], holder["used_bytes"], holder["partition_id"]) == (pid, 3 * GIB, None)
    text = lot.box.chronos("stats", "--processes").stdout
    assert f"  PID {pid} (" in text and "3 GiB, in no partition" in text


def test_lists_of_processes_that_are_not_whole(lot):
    pid = os.getpid()
    one = nvml_gpu(0, more=f"process {pid} {GIB}\n")

    def seen(*troubles):
        lot.say(*(f"fail nvmlDeviceGet{kind}RunningProcesses_v3 {code}" for kind, code in troubles), one,
                nvml_gpu(1), nvml_gpu(2), nvml_gpu(3))
        found = facts(lot.box)["facts"]
        return found["processes"] and len(found["processes"]), found["all_processes"]

    assert seen(("Graphics", 3)) == (1, True)  # not supported: it cannot draw
    assert seen(("Graphics", 4)) == (1, False)  # no permission
    assert seen(("Compute", 3)) == ([], False)
    assert seen(("Compute", 4), ("Graphics", 4)) == (None, False)


def test_parts_of_a_divided_gpu(fake_box, tmp_path):
    """NVIDIA's MIG: they have the address of the whole, and little of its memory."""
    uuids = ["8932f937d72c4106c12f20bd9faed9f6", "11111111d72c4106c12f20bd9faed9f6"]
    lot = Lot(fake_box(platform={"name": "NVIDIA CUDA"}, devices=[
        {"name": "Fake GPU", "uuid": uuid, "pci": "0000:65:00.0", "memory_bytes": 8 * GIB}
        for uuid in uuids]), tmp_path)
    lot.say(nvml_gpu(0, more="mig 1\n"))
    for index in range(2):
        found = facts(lot.box, index)["facts"]
        assert (found["source"], found["total_bytes"], found["free_bytes"]) == ("opencl", 8 * GIB, None)
    assert "nobody says" in lot.acquire("--min-free", "1GiB", "--", "true", status=3).stderr
    out = lot.acquire("--only", "1", "--", "env").stdout
    assert "CUDA_VISIBLE_DEVICES=MIG-" in out
    # Not divided: a spelling of its own is no reason to doubt the address.
    lot.say(nvml_gpu(0, free=4 * GIB))
    assert facts(lot.box, 0)["facts"]["free_bytes"] == 4 * GIB


@pytest.mark.parametrize("trouble", [
    "fail nvmlDeviceGetHandleByIndex_v2 15", "fail nvmlDeviceGetMemoryInfo 15",
    "fail nvmlDeviceGetMemoryInfo 4", "fail nvmlDeviceGetCount_v2 999", "crash nvmlDeviceGetMemoryInfo"])
def test_a_gpu_that_is_lost_is_not_free(lot, trouble):
    lot.say(trouble, *(nvml_gpu(index) for index in range(4)))
    assert facts(lot.box)["facts"]["free_bytes"] is None
    refused = lot.acquire("--min-free", "1GiB", "--wait", "1h", "--", "true", status=3).stderr
    assert refused.count("nobody says how much of its memory is free") == 4


def test_names_and_numbers_that_make_no_sense(lot):
    for index, memory in enumerate((f"{24 * GIB} {1 << 63} 0", "0 0 0", f"{24 * GIB} 1 {25 * GIB}",
                                    f"{1 << 62} {1 << 62} 0")):
        lot.say(*(nvml_gpu(other) for other in range(index)),
                nvml_gpu(index).replace("Stand-in", "\x1b[31m'\"").split("memory", 1)[0]
                + f"memory {memory}\npower 4294967295\nutilization 4000000000\n",
                *(nvml_gpu(other) for other in range(index + 1, 4)))
        found = facts(lot.box, index)["facts"]
        assert (found["total_bytes"], found["used_bytes"], found["free_bytes"], found["power_watts"],
                found["utilization_percent"]) == (24 * GIB, None, None, None, None)
        assert "nobody says" in lot.acquire("--only", index, "--min-free", "1GiB", "--", "true",
                                            status=3).stderr
        assert "\x1b" not in lot.box.chronos("stats", "--processes").stdout


@needs_root
def test_another_pid_namespace_hides_processes(lot, tmp_path):
    lot.box.env["CHRONOS_TEST_PROC"] = "/proc"
    write(tmp_path / "sys/class/drm/card0/device/uevent",
          "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:65:00.0\n")
    lot.say(nvml_gpu(1))
    command = ["unshare", "--pid", "--fork", "--mount-proc", str(lot.box.command), "stats", "--processes",
               "--json"]
    done = subprocess.run(command, env=lot.box.env, text=True, capture_output=True, timeout=60,
                          check=False)
    if done.returncode != 0 and "unshare" in done.stderr:
        pytest.skip("no pid namespaces here")
    devices = json.loads(done.stdout)["devices"]
    assert [one["facts"]["all_processes"] for one in devices[:2]] == [False, False]


def test_holders_in_partitions_and_out_of_them(lot):
    lot.box.create(64 * MIB, "p1", device=1)
    session = lot.box.session(partition="p1", variables={"CHRONOS_DEVICES": "partitions"})
    assert session(f"make({MIB})") == 0
    lot.say(nvml_gpu(0), nvml_gpu(1, more=f"process {session.pid} {2 * MIB}\n"), nvml_gpu(2),
            nvml_gpu(3))
    holder, = facts(lot.box, 1)["processes"]
    assert (holder["pid"], holder["used_bytes"], holder["charged_bytes"],
            holder["partition_id"]) == (session.pid, 2 * MIB, MIB, "p1")
    session.end()


def test_facts_of_amdgpu(lot, tmp_path):
    """By the kernel's documentation of amdgpu and of drm-usage-stats."""
    lot.box.env["CHRONOS_TEST_NVML"] = "/nonexistent/libnvidia-ml.so.1"
    card = tmp_path / "sys/class/drm/card1/device"
    write(card / "uevent", "DRIVER=amdgpu\nPCI_CLASS=30000\nPCI_SLOT_NAME=0000:66:00.0\n")
    for name, text in {"mem_info_vram_total": 17163091968, "mem_info_vram_used": 163091968,
                       "gpu_busy_percent": 12, "unique_id": "4b2c1a9f8d3e6f7a",
                       "hwmon/hwmon3/power1_average": 45000000, "hwmon/hwmon3/power1_cap": 303000000,
                       "hwmon/hwmon3/temp1_input": 51000}.items():
        write(card / name, f"{text}\n")
    write(tmp_path / "sys/class/drm/card1-DP-1/device/uevent", "nothing of ours\n")
    client = ("pos:\t0\ndrm-driver:\tamdgpu\ndrm-client-id:\t{}\ndrm-pdev:\t0000:66:00.0\n"
              "drm-memory-vram:\t{} KiB\ndrm-memory-gtt: \t999 KiB\n")
    write(tmp_path / "proc/4242/fdinfo/5", client.format(7, 1024))
    write(tmp_path / "proc/4242/fdinfo/6", client.format(7, 1024))  # the same client once more
    write(tmp_path / "proc/4242/fdinfo/7", client.format(8, 512))
    write(tmp_path / "proc/4243/fdinfo/0", "pos:\t0\nflags:\t02\n")
    found = facts(lot.box, 1)["facts"]
    assert found.pop("processes") == [{"pid": 4242, "used_bytes": 1536 << 10}]
    assert {key: found[key] for key in ("source", "total_bytes", "used_bytes", "free_bytes",
                                        "power_watts", "power_limit_watts", "utilization_percent",
                                        "temperature_celsius", "all_processes")} == {
        "source": "amdgpu", "total_bytes": 17163091968, "used_bytes": 163091968,
        "free_bytes": 17000000000, "power_watts": 45.0, "power_limit_watts": 303.0,
        "utilization_percent": 12.0, "temperature_celsius": 51.0, "all_processes": True}
    out = lot.acquire("--only", "1", "--", "env").stdout
    assert "ROCR_VISIBLE_DEVICES=GPU-4b2c1a9f8d3e6f7a\n" in out
    assert "HIP_VISIBLE_DEVICES=0\n" in out


def test_facts_of_intel(lot, tmp_path):
    lot.box.env["CHRONOS_TEST_NVML"] = "/nonexistent/libnvidia-ml.so.1"
    for index, driver in ((0, "i915"), (2, "xe")):
        card = tmp_path / f"sys/class/drm/card{index}/device"
        write(card / "uevent", f"DRIVER={driver}\nPCI_SLOT_NAME=0000:{0x65 + index:02x}:00.0\n")
        write(card / "hwmon/hwmon0/power1_max", "190000000\n")
        write(card / "hwmon/hwmon0/energy1_input", "123456\n")
    write(tmp_path / "proc/77/fdinfo/3",
          "drm-driver:\txe\ndrm-client-id:\t3\ndrm-pdev:\t0000:67:00.0\ndrm-total-gtt:\t192 KiB\n"
          "drm-total-vram0:\t23992 KiB\ndrm-resident-vram0:\t100 KiB\ndrm-total-system: 0\n")
    found = facts(lot.box, 2)["facts"]
    assert (found["source"], found["power_watts"], found["power_limit_watts"]) == ("xe", 0.0, 190.0)
    assert (found["used_bytes"], found["free_bytes"], found["utilization_percent"]) == (None,) * 3
    assert found["processes"] == [{"pid": 77, "used_bytes": 100 << 10}]
    refused = lot.acquire("--only", 2, "--min-free", "1GiB", "--", "true", status=3)
    assert "nobody says how much of its memory is free" in refused.stderr
    assert "ZE_AFFINITY_MASK=1\n" in lot.acquire("--only", 2, "--", "env").stdout


def test_where_nobody_says_anything(box):
    box.env.update(CHRONOS_TEST_SYS="/nonexistent", CHRONOS_TEST_NVML="/nonexistent/nvml")
    found = facts(box)["facts"]
    assert (found["source"], found["total_bytes"]) == ("opencl", 24 * GIB)
    assert (found["used_bytes"], found["free_bytes"], found["processes"]) == (None, None, None)
    text = box.chronos("stats", "--processes").stdout
    assert "Programs outside of partitions are not known" in text


@needs_root
@pytest.mark.parametrize("closed", ["4242/fdinfo", "4242/fdinfo/5"])
def test_others_processes_may_be_hidden(make_lab, closed):
    lab = make_lab(devices=FOUR)
    write(lab.folder / "sys/class/drm/card0/device/uevent",
          "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:65:00.0\n")
    for pid in (4242, 4243):
        write(lab.folder / f"proc/{pid}/fdinfo/5", "drm-client-id:\t1\ndrm-pdev:\t0000:65:00.0\n"
              "drm-memory-vram:\t8 KiB\n")
    env = {**lab.bob.env, "CHRONOS_TEST_SYS": str(lab.folder / "sys"),
           "CHRONOS_TEST_PROC": str(lab.folder / "proc")}

    def seen():
        shown = lab.bob("stats", "--processes", "--json", env=env).stdout
        found = json.loads(shown)["devices"][0]["facts"]
        return [entry["pid"] for entry in found["processes"]], found["all_processes"]

    assert seen() == ([4242, 4243], True)
    (lab.folder / "proc" / closed).chmod(0)
    assert seen() == ([4243], False)
    text = lab.bob("stats", "--processes", env=env).stdout
    assert "Other users' programs are hidden from you" in text
