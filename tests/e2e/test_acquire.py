"""`chronos acquire`: whole devices for one program, alone, and what GPUs say of themselves.

NVML and sysfs are stand-ins (tests/stand_ins, trees in the kernel's documented format): this machine
has no GPU.
"""

import json
import os
import re
import signal
import subprocess

import pytest

from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import BUILD, GIB, MIB, PATIENCE, PYTHON, built, poll
from support import box, fake_box, pocl  # noqa: F401

pytestmark = built
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


@pytest.fixture
def lot(fake_box, tmp_path):
    return Lot(fake_box(devices=FOUR), tmp_path)


def hold(lot, *arguments, **options):
    """An acquirer that holds until its standard input ends."""
    process = lot.start(*arguments, "--", "sh", "-c", "echo held; read line", **options)
    assert process.stdout.readline() == "held\n", process.stderr.read()
    return process


def test_it_holds_whole_devices_while_the_program_runs(lot):
    process = hold(lot, "--gpus", 2, "--name", "train")
    partitions = lot.box.partitions()
    assert sorted(partitions) == ["train.0", "train.1"]
    assert all(entry["memory_fraction"] == 1 for entry in partitions.values())
    assert lot.box.chronos("available", 0).stdout == "0.00\n"
    refused = lot.box.chronos("create", 0, "1MiB", "1h", status=3)
    assert "Not enough available memory on device 0" in refused.stderr
    process.communicate("\n", timeout=PATIENCE)
    assert process.returncode == 0
    assert lot.held() == []


def test_the_status_is_the_programs_own(lot):
    assert lot.acquire("--", "sh", "-c", "exit 7", status=7).stderr == ""
    assert lot.acquire("/nonexistent/program", status=127).returncode == 127
    assert lot.held() == []


def test_a_holder_that_is_killed_gives_back(lot):
    process = hold(lot, "--gpus", 4)
    process.kill()
    process.wait()
    assert lot.acquire("--gpus", 4, "--wait", "1m", "--", "true").returncode == 0


def test_all_or_none_and_who_holds_the_rest(lot):
    process = hold(lot, "--gpus", 3)
    refused = lot.acquire("--gpus", 2, "--", "true", status=3)
    line, = refused.stderr.splitlines()
    assert line.startswith("Not enough free devices: 2 asked for, of 4 (device 0: held by ")
    assert len(re.findall(r"held by \S+ until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(partition_", line)) == 3
    assert lot.held() == [0, 1, 2]
    process.communicate("\n", timeout=PATIENCE)


def test_waiting_in_line(lot):
    process = hold(lot, "--gpus", 3)
    waiter = lot.start("--gpus", 2, "--wait", "1m", "--", "echo", "mine")
    assert waiter.stderr.readline().startswith("Waiting for 2 of 4 devices; next, partition_")
    # Who wants one for longer than that does not overtake.
    late = lot.acquire("--only", 3, "--duration", "2d", "--", "true", status=3)
    assert "others wait in line" in late.stderr
    process.communicate("\n", timeout=PATIENCE)
    out, _ = waiter.communicate(timeout=PATIENCE)
    assert (waiter.returncode, out) == (0, "mine\n")


def test_the_time_to_wait_is_bounded_and_can_be_cut_short(lot):
    process = hold(lot, "--gpus", 4)
    refused = lot.acquire("--wait", "1s", "--", "true", status=3)
    assert "waited 1s; device 0: held by" in refused.stderr
    waiter = lot.start("--wait", "forever", "--", "true")
    waiter.stderr.readline()
    waiter.send_signal(signal.SIGTERM)
    assert waiter.wait(timeout=PATIENCE) == -signal.SIGTERM
    assert lot.box.files("ticket") == []
    process.communicate("\n", timeout=PATIENCE)


# --- what it sees ------------------------------------------------------------------------------

LOOK = """
import ctypes, opencl as cl
from_type = cl.declare("clCreateContextFromType", cl.pointer, cl.pointer, ctypes.c_ulong,
                       cl.pointer, cl.pointer, ctypes.POINTER(ctypes.c_int))
platform = (cl.pointer * 1)()
cl.platform_ids(1, platform, None)
properties = (ctypes.c_ssize_t * 3)(0x1084, platform[0], 0)
def context(kind):
    error = ctypes.c_int()
    made = from_type(properties, kind, None, None, ctypes.byref(error))
    return bool(made), error.value
def count(kind):
    many = ctypes.c_uint(99)
    return cl.device_ids(platform[0], kind, 0, None, ctypes.byref(many)), many.value
one = (cl.pointer * 1)()
cpu, gpu, every, default = 2, 4, 0xFFFFFFFF, 1
print([len(cl.devices()), count(gpu), count(every), count(default), count(cpu)[0], context(gpu),
       context(cpu), cl.device_ids(platform[0], gpu, 1, one, None), cl.device_ids(platform[0], gpu, 0, one, None),
       cl.device_ids(platform[0], gpu, 0, None, None)])
"""


def test_the_program_sees_its_devices_only(lot):
    seen = lot.acquire("--gpus", 2, "--only", "1,3", "--", PYTHON, "-c", LOOK).stdout
    # clGetDeviceIDs and clCreateContextFromType, OpenCL 3.0 sections 4.2 and 4.4: CL_SUCCESS,
    # CL_DEVICE_NOT_FOUND (-1), CL_INVALID_VALUE (-30).
    assert seen == ("[2, (0, 2), (0, 2), (0, 1), -1, (True, 0), (False, -1), 0, -30, -30]\n")


@pytest.mark.parametrize("door", ("run", "named", "layers"))
def test_by_all_doors(lot, door):
    lot.box.create(MIB, "p1", device=2)
    variables = {"CHRONOS_DEVICES": "partitions", "CHRONOS_PARTITION": "p1"}
    done = lot.box.run(PYTHON, "-c", LOOK, door=door, variables=variables)
    assert done.stdout.startswith("[1, (0, 1), (0, 1), (0, 1), -1, (True, 0), (False, -1)"), done
    # In set-uid programs, and without partitions, the variable says nothing.
    free = lot.box.run(PYTHON, "-c", LOOK, door="owned", variables={"CHRONOS_DEVICES": "partitions"})
    assert free.stdout.startswith("[4, "), free


def test_a_partition_that_has_ended_hides_nothing(fake_box, tmp_path):
    lot = Lot(fake_box(devices=FOUR), tmp_path)
    lot.box.create(MIB, "p1", device=2)
    lot.box.chronos("release", "p1")
    gone = lot.box.run(PYTHON, "-c", LOOK, door="named", partition="p1",
                       variables={"CHRONOS_DEVICES": "partitions"})
    # What ended before it began might have been for any device: all are seen, none can be used.
    assert gone.stdout.startswith("[4, "), gone


def test_the_vendors_variables(lot):
    variables = "CUDA_DEVICE_ORDER CUDA_VISIBLE_DEVICES CHRONOS_DEVICES".split()
    out = lot.acquire("--only", "1,3", "--gpus", 2, "--", "env").stdout
    found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    assert [found[name] for name in variables] == [
        "PCI_BUS_ID", "GPU-00000001-d72c-4106-c12f-20bd9faed9f6,"
        "GPU-00000003-d72c-4106-c12f-20bd9faed9f6", "partitions"]
    assert "ROCR_VISIBLE_DEVICES" not in found


# --- health ------------------------------------------------------------------------------------

CONDITIONS = ("--min-free", "10GiB", "--max-power", "80W", "--max-utilization", "1%")


def test_what_is_not_fit_is_given_back_and_others_are_tried(lot):
    lot.say(nvml_gpu(0, free=5 * GIB), nvml_gpu(1, power=120000), nvml_gpu(2, utilization=50),
            nvml_gpu(3))
    shown = lot.acquire(*CONDITIONS, "--json", "--", "true").stdout
    assert [entry["device"] for entry in json.loads(shown)["partitions"]] == [3]
    refused = lot.acquire("--gpus", 2, *CONDITIONS, "--", "true", status=3).stderr
    assert "device 0: has 5 GiB free, less than 10 GiB" in refused
    assert "device 1: draws 120 W, more than 80 W" in refused
    assert "device 2: is busy to 50%, more than 1%" in refused
    assert lot.held() == []
    # Only what was asked for is looked at; nothing with --debug.
    assert lot.acquire("--gpus", 2, "--max-utilization", "60%", "--", "true").returncode == 0
    assert lot.acquire("--gpus", 4, *CONDITIONS, "--debug", "--", "true").returncode == 0


def test_it_looks_again_at_what_was_not_fit(lot):
    lot.say(*(nvml_gpu(index, free=GIB) for index in range(4)))
    waiter = lot.start(*CONDITIONS, "--wait", "1m", "--look-every", "100ms", "--", "echo", "fit")
    # Nothing is held in between.
    poll("a try", lambda: lot.box.files("counter"))
    poll("that all were given back", lambda: lot.held() == [])
    lot.say(nvml_gpu(0, free=GIB), nvml_gpu(1, free=GIB), nvml_gpu(2), nvml_gpu(3, free=GIB))
    out, errors = waiter.communicate(timeout=PATIENCE)
    assert (waiter.returncode, out) == (0, "fit\n"), errors


@pytest.mark.parametrize("trouble, reason", [
    ("fail nvmlDeviceGetMemoryInfo 999", "nobody says how much of its memory is free"),
    ("fail nvmlInit_v2 9", "nobody says how much of its memory is free"),
    ("crash nvmlInit_v2", "nobody says how much of its memory is free"),
])
def test_what_is_not_known_is_not_free(lot, trouble, reason):
    lot.say(trouble, *(nvml_gpu(index) for index in range(4)))
    refused = lot.acquire("--min-free", "1GiB", "--", "true", status=3)
    assert refused.stderr.count(reason) == 4
    assert lot.held() == []
    # Nor is anything looked at that nobody asked for.
    assert lot.acquire("--", "true").returncode == 0


def test_without_the_vendors_library(lot):
    lot.box.env["CHRONOS_TEST_NVML"] = "/nonexistent/libnvidia-ml.so.1"
    refused = lot.acquire("--max-power", "80", "--", "true", status=3)
    assert "nobody says what power it draws" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert lot.acquire("--", "true").stderr == ""


# --- bad input ---------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, status, words", [
    ((), 2, "no program to run"),
    (("--gpus", "0", "--", "true"), 2, "--gpus"),
    (("--gpus", "two", "--", "true"), 2, "--gpus"),
    (("--gpus", "5", "--", "true"), 3, "5 asked for, of 4"),
    (("--only", "7", "--", "true"), 2, "7"),
    (("--only", "0,x", "--", "true"), 2, "x"),
    (("--min-free", "half", "--", "true"), 2, "half"),
    (("--min-free", "0.5", "--", "true"), 2, "--min-free"),
    (("--max-power", "lots", "--", "true"), 2, "--max-power"),
    (("--max-utilization", "101%", "--", "true"), 2, "--max-utilization"),
    (("--wait", "soon", "--", "true"), 2, "soon"),
    (("--duration", "0", "--", "true"), 2, "0"),
    (("--name", "a b", "--", "true"), 2, "a b"),
    (("--ban", "0,1,2,3", "--", "true"), 3, "1 asked for, of 0"),
])
def test_bad_input(lot, arguments, status, words):
    refused = lot.acquire(*arguments, status=status)
    line, = refused.stderr.splitlines()
    assert words in line
    assert (refused.stdout, lot.held()) == ("", [])


def test_banned_devices(lot):
    shown = lot.acquire("--ban", "0,1", "--json", "--", "true").stdout
    assert json.loads(shown)["partitions"][0]["device"] == 2
    assert lot.acquire("--ban", "Fake GPU", "--", "true", status=3).stdout == ""


def test_the_policy_binds_it(lot, tmp_path):
    """Closed devices are passed over, and limits hold for all devices together."""
    config = tmp_path / "config.toml"
    config.write_text('[devices.0]\nclosed = true\n', encoding="utf-8")
    env = {**lot.box.env, "CHRONOS_CONFIG": str(config)}
    shown = lot.acquire("--json", "--", "true", env=env).stdout
    assert json.loads(shown)["partitions"][0]["device"] == 1
    refused = lot.acquire("--only", "0", "--", "true", status=1, env=env)
    assert "policy: device 0 is closed" in refused.stderr
    config.write_text("[limits]\npartitions = 1\n", encoding="utf-8")
    assert lot.acquire("--", "true", env=env).returncode == 0
    refused = lot.acquire("--gpus", 2, "--", "true", status=1, env=env)
    assert "policy: at most 1 partition" in refused.stderr
    assert lot.held() == []


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


# --- between users -----------------------------------------------------------------------------

@needs_root
def test_two_users_for_the_same_devices(make_lab):
    lab = make_lab(devices=FOUR)
    command = (str(lab.command), "acquire", "--gpus", "2", "--only", "0,1")

    def start(person, *more):
        process = subprocess.Popen([*command, *more], text=True, env=person.env,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, **person.identity)
        lab.children.append(process)
        return process

    alice = start(lab.alice, "--", "sh", "-c", "echo held; read line")
    assert alice.stdout.readline() == "held\n"
    refused = lab.bob("acquire", "--gpus", 2, "--only", "0,1", "--wait", "1s", "--", "true", status=3)
    assert refused.stderr.count(f"held by {lab.alice.name} until ") == 2
    bob = start(lab.bob, "--wait", "1m", "--", "sh", "-c", "echo mine")
    assert bob.stderr.readline().startswith("Waiting for 2 of 2 devices; next, ")
    assert {entry["owner"] for entry in lab.partitions().values()} == {lab.alice.name}
    alice.communicate("\n", timeout=PATIENCE)
    out, errors = bob.communicate(timeout=PATIENCE)
    assert (bob.returncode, out) == (0, "mine\n"), errors
