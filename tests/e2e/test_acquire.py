"""`chronos acquire`: whole devices for one program, alone."""

import json
import re
import signal
import subprocess

import pytest

from acquiring import FOUR, Lot, hold, nvml_gpu
from people import lab, make_lab, needs_root, reachable_build, users  # noqa: F401
from support import GIB, MIB, PATIENCE, PYTHON, built, poll
from support import box, fake_box, pocl  # noqa: F401

pytestmark = built


@pytest.fixture
def lot(fake_box, tmp_path):
    return Lot(fake_box(devices=FOUR), tmp_path)


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
    assert len(re.findall(r"held by \S+ until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(partition_", line)) == 3
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


@needs_root
def test_a_ticket_for_a_device_that_does_not_exist_holds_nobody_up(make_lab):
    lab = make_lab(devices=FOUR)
    lab.chronos("create", 1, "100%", "1h")
    bob = subprocess.Popen([str(lab.command), "acquire", "--gpus", "2", "--only", "0,1", "--wait",
                            "forever", "--", "true"], text=True, env=lab.bob.env,
                           stderr=subprocess.PIPE, **lab.bob.identity)
    lab.children.append(bob)
    assert bob.stderr.readline().startswith("Waiting for 2 of 2 devices")
    alice = ("acquire", "--only", 0, "--duration", "2h", "--", "true")
    assert "others wait in line" in lab.alice(*alice, status=3).stderr
    ticket, = lab.files("ticket")
    patch = lab.bob.python("import sys\nwith open(sys.argv[1], 'r+b') as file:\n"
                           "    file.seek(88 + 200 + 8); file.write(b'pci:0000:00:00.0\\0')\n", ticket)
    assert patch.returncode == 0, patch.stderr
    lab.alice(*alice)
