"""The policy: root's file binds everybody, one's own file only narrows it."""

import json
import os
import shutil
import struct

import pytest

from machine import make_machine, open_folder
from support import (CHRONOS, GIB, POCL, PYTHON, REFUSED, ROOT, SHIM, Box, FakeBox, built, only_line,
                     own_lines)
from support import box, fake_box  # noqa: F401

pytestmark = built
FILE = "/etc/chronos/config.toml"


@pytest.fixture
def folder():
    made = open_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def world(folder):
    """Three fake GPUs of 8 GiB, and a policy that is written by the test."""
    machine = make_machine(FakeBox(folder, devices=[{"name": f"GPU {i}", "memory_bytes": 8 * GIB}
                                                    for i in range(3)]))
    yield machine
    machine.close()


@pytest.fixture
def pocl_world(folder):
    if not POCL.exists():
        pytest.skip("PoCL is not installed")
    (folder / "vendors").mkdir()
    shutil.copy(POCL, folder / "vendors")
    machine = make_machine(Box(folder, {"OCL_ICD_VENDORS": f"{folder}/vendors/"}))
    yield machine
    machine.close()


def one_line(text):
    assert text.count("\n") == 1, text
    return text


def allocate(*sizes):
    """A program that keeps buffers of these sizes and prints OpenCL's answers."""
    return ("import opencl as cl\nc = cl.context()\nkept = [cl.buffer(c, n) for n in "
            f"{list(sizes)}]\nprint(*(error for _, error in kept))")


def listed(world):
    return {entry["partition_id"]: entry for entry in
            json.loads(world.chronos("list", "--json").stdout)["partitions"]}


# --- admission ----------------------------------------------------------------------------------

def test_create_refuses_with_the_limit_and_its_line(world):
    alice = world.user()
    world.policy(f"""[limits]
partitions = 1
[users.{alice.pw_name}]
partitions = 2
memory = "50%"
duration = "2h"
""")

    def refused(*arguments, by, line):
        result = world.chronos("create", *arguments, user=alice, status=1)
        assert result.stdout == ""
        assert f"policy: {by}" in one_line(result.stderr)
        assert f"({FILE}:{line})" in result.stderr

    refused(0, "5GiB", "1h", by=f"at most 4 GiB of device 0 for {alice.pw_name}", line=5)
    refused(0, "1GiB", "3h", by=f"at most 2h for {alice.pw_name}", line=6)
    world.chronos("create", 0, "3GiB", "2h", "--name", "a", user=alice)
    refused(0, "2GiB", "1h", by=f"at most 4 GiB of device 0 for {alice.pw_name}, 3 GiB", line=5)
    world.chronos("create", 1, "50%", "1h", "--name", "b", user=alice)
    refused(2, "1GiB", "1h", by=f"at most 2 partitions for {alice.pw_name}", line=4)
    # Without the policy's leave it is not a matter of capacity.
    world.chronos("release", "b", user=alice)
    world.chronos("create", 2, "1GiB", "1h", user=alice)
    assert len(listed(world)) == 2


def test_root_is_bound_by_no_limit_and_what_it_grants_counts(world):
    alice = world.user()
    world.policy("[limits]\nmemory = '1GiB'\npartitions = 1\nduration = 60\n")
    world.chronos("create", 0, "4GiB", "8h", "--user", alice.pw_name, "--name", "gift")
    world.chronos("create", 0, "2GiB", "8h", "--name", "own")
    assert listed(world)["gift"]["limit_bytes"] == 4 * GIB
    world.chronos("create", 1, "1MiB", 30, user=alice, status=1)


def test_groups_and_reserved_and_closed_devices(world):
    alice, bob = world.user("games"), world.user()
    world.policy(f"""[limits]
partitions = 0
[groups.games]
partitions = 3
[groups.no-such-group]
partitions = 9
[devices.0]
closed = true
[devices."GPU 1"]
reserved_users = ["{alice.pw_name}"]
reserved_groups = []
""")
    world.chronos("create", 1, "1GiB", "1h", user=alice)
    bobs = world.chronos("create", 1, "1GiB", "1h", user=bob, status=1).stderr
    assert f"policy: device 1 is not for {bob.pw_name} ({FILE}:9)" in one_line(bobs)
    bobs = world.chronos("create", 2, "1GiB", "1h", user=bob, status=1).stderr
    assert f"policy: at most 0 partitions for {bob.pw_name} ({FILE}:2)" in one_line(bobs)
    for user in (alice, None):  # even root has to open it first
        closed = world.chronos("create", 0, "1GiB", "1h", user=user, status=1).stderr
        assert f"policy: device 0 is closed ({FILE}:8)" in one_line(closed)


def test_the_own_file_only_narrows(world):
    alice = world.user()
    world.policy("unassigned = 'deny'\n[limits]\nmemory = '2GiB'\npartitions = 1\n")
    own = world.box.folder / "own.toml"
    own.write_text("unassigned = 'allow'\n[limits]\nmemory = '4GiB'\npartitions = 7\n"
                   "duration = '10m'\n[devices.2]\nclosed = true\n", encoding="utf-8")
    as_alice = {"user": alice, "CHRONOS_CONFIG": str(own)}
    world.chronos("create", 0, "3GiB", "5m", status=1, **as_alice)
    hour = world.chronos("create", 0, "1GiB", "1h", status=1, **as_alice)
    assert f"({own}:5)" in one_line(hour.stderr)
    assert "is closed" in world.chronos("create", 2, "1GiB", "5m", status=1, **as_alice).stderr
    shown = json.loads(world.chronos("policy", "show", "--json", **as_alice).stdout)
    assert shown["unassigned"] == "deny"
    assert [entry["partitions"] for entry in shown["limits"]] == [1, 7]
    world.chronos("create", 0, "1GiB", "5m", **as_alice)
    world.chronos("create", 1, "1GiB", "5m", status=1, **as_alice)
    # Nobody else is bound by it; and one that was named must be there.
    world.chronos("create", 2, "1GiB", "1h")
    gone = world.chronos("create", 1, "1GiB", "5m", user=alice, status=1,
                         CHRONOS_CONFIG="/no/such/file")
    assert "/no/such/file cannot be read" in one_line(gone.stderr)


# --- a policy that cannot be used ---------------------------------------------------------------

def break_syntax(world):
    world.policy("[limits\n")
    return f"{FILE}:1: "


def break_key(world):
    world.policy("[limits]\nmemry = '1GiB'\n")
    return f"{FILE}:2: unknown key limits.memry; allowed are memory, partitions and duration"


def break_trust(world):
    world.policy("")
    world.file.chmod(0o666)
    return f"{FILE} is not to be trusted: it can be written by others than root"


def break_folder(world):
    world.policy("")
    world.folder.chmod(0o777)
    return f"{FILE} is not to be trusted: its directory can be written by others than root"


def break_owner(world):
    world.policy("")
    os.chown(world.file, 1, 1)
    return f"{FILE} is not to be trusted: it belongs to "


def break_reading(world):
    world.policy("")
    world.file.unlink()
    world.file.mkdir()
    return f"{FILE} is not a regular file"


@pytest.mark.parametrize("damage", [break_syntax, break_key, break_trust, break_folder,
                                    break_owner, break_reading])
def test_a_broken_policy_gives_out_nothing_and_takes_nothing_away(world, damage):
    alice = world.user()
    world.chronos("create", 0, "64MiB", "1h", "--name", "before", user=alice)
    said = damage(world)
    for user in (alice, None):
        assert said in one_line(world.chronos("create", 1, "1MiB", 60, user=user,
                                               status=1).stderr)
    assert said in one_line(world.chronos("run", "--partition", "before", "true", user=alice,
                                           status=125).stderr)
    assert said in world.chronos("policy", "check", user=alice, status=1).stderr
    assert said in world.chronos("policy", "show", user=alice, status=1).stderr
    listing = world.chronos("list", user=alice)
    assert "before" in listing.stdout and said in listing.stderr
    # A program in the partition goes on; one without is refused.
    inside = program(world, allocate(1 << 20), user=alice)
    assert inside.stdout.split() == ["0"], inside.stderr
    world.chronos("release", "before", user=alice)
    outside = program(world, "import opencl\nprint(len(opencl.devices()))", user=alice)
    assert outside.stdout.split() == ["0"]
    assert said.split()[0].rstrip(":") in only_line(outside.stderr)


# --- unassigned = "deny" ------------------------------------------------------------------------

LOOK = """
import ctypes, json
import opencl as cl
from opencl import declare, pointer, library
get, info = cl.device_ids, cl.device_info
from_type = declare("clCreateContextFromType", pointer, pointer, ctypes.c_ulong, pointer, pointer,
                    ctypes.POINTER(ctypes.c_int))
context_info = declare("clGetContextInfo", ctypes.c_int, pointer, ctypes.c_uint, ctypes.c_size_t,
                       pointer, pointer)
ALL, DEFAULT, GPU, CPU = 0xFFFFFFFF, 1, 4, 2
platforms = (pointer * 8)()
count = ctypes.c_uint()
cl.platform_ids(8, platforms, ctypes.byref(count))
platforms = platforms[:count.value]

def name(device):
    text = ctypes.create_string_buffer(256)
    info(device, 0x102B, 256, text, None)
    return text.value.decode()

def seen(type, room=8, platform=None):
    ids, many = (pointer * 8)(), ctypes.c_uint(77)
    status = get(platform or platforms[0], type, room, ids if room else None, ctypes.byref(many))
    return [status, many.value, [name(d) for d in ids if d]]

def made(type, platform=True):
    properties = (pointer * 3)(0x1084, platforms[0], 0) if platform else None
    error = ctypes.c_int(77)
    context = from_type(properties, type, None, None, ctypes.byref(error))
    if not context:
        return [error.value]
    ids, size = (pointer * 8)(), ctypes.c_size_t()
    context_info(context, 0x1081, 64, ids, ctypes.byref(size))
    buffer, refused = cl.buffer(context, cl.MIB)
    if buffer: cl.release(buffer)
    cl.release_context(context)
    return [error.value, [name(d) for d in ids[:size.value // 8]], refused]
def show(*values): print(json.dumps(values))
"""


def program(world, code, user=None, door="owned", **variables):
    env = {"LD_PRELOAD": str(SHIM)} if door == "owned" else {"OPENCL_LAYERS": str(SHIM)}
    return world.run("env", *(f"{key}={value}" for key, value in {**env, **variables}.items()),
                     PYTHON, "-c", code, user=user)


def answers(result):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("door", ["owned", "layers"])
def test_devices_without_a_partition_are_hidden(world, door):
    alice = world.user()
    world.policy("unassigned = 'deny'\n")
    world.chronos("create", 1, "1GiB", "1h", user=alice)
    run = lambda code: program(world, LOOK + code, user=alice, door=door)  # noqa: E731
    result = run("show(seen(ALL), seen(GPU), seen(GPU, 0), seen(CPU), seen(DEFAULT),"
                 " made(ALL), made(GPU), made(GPU, False), made(DEFAULT), made(CPU))")
    one = [0, 1, ["GPU 1"]]
    context = [0, ["GPU 1"], 0]
    assert answers(result) == [one, one, [0, 1, []], [-1, 0, []], one,
                               context, context, context, context, [-1]]
    assert own_lines(result.stderr) == []
    world.chronos("create", 2, "1GiB", "1h", user=alice)
    both = ["GPU 1", "GPU 2"]
    assert answers(run("show(seen(ALL), seen(ALL, 1), made(ALL))")) == [
        [0, 2, both], [0, 2, ["GPU 1"]], [0, both, 0]]
    # What is wrong with a call is the driver's to say.
    code = "show(get(platforms[0], ALL, 0, (pointer * 1)(), None), seen(0), made(0))"
    bare = world.run(PYTHON, "-c", LOOK + code, user=alice)
    assert answers(run(code)) == answers(bare)


@pytest.mark.parametrize("door", ["owned", "layers"])
def test_without_any_partition_nothing_is_left_and_one_line_says_why(world, door):
    world.policy("\nunassigned = 'deny'\n")
    result = program(world, LOOK + "show(seen(ALL), seen(GPU, 0), made(ALL), made(DEFAULT))",
                     door=door)
    assert answers(result) == [[-1, 0, []], [-1, 0, []], [-1], [-1]]
    assert f"the policy ({FILE}:2) asks for one" in only_line(result.stderr)


def test_a_device_appears_with_its_partition(world):
    world.policy("unassigned = 'deny'\n")
    code = LOOK + """
import subprocess, os
before = seen(ALL)[1]
subprocess.run(os.environ["CREATE"].split(), check=True, stdout=subprocess.DEVNULL)
show(before, seen(ALL), made(ALL))
"""
    result = program(world, code, CREATE=f"{CHRONOS} create 2 1GiB 1h")
    assert answers(result) == [0, [0, 1, ["GPU 2"]], [0, ["GPU 2"], 0]]


def test_named_partitions_do_not_bring_hidden_devices_back(world):
    world.policy("unassigned = 'deny'\n")
    world.chronos("create", 0, "1GiB", "1h", "--name", "p1")
    for name, expected in (("p1", [0, 1, ["GPU 0"]]), ("bogus", [0, 1, ["GPU 0"]])):
        result = program(world, LOOK + "show(seen(ALL), made(ALL))", CHRONOS_PARTITION=name)
        assert answers(result)[0] == expected
        assert answers(result)[1][2] == (0 if name == "p1" else REFUSED)


def test_allow_hides_nothing(world):
    world.policy("unassigned = 'allow'\n")
    world.chronos("create", 0, "64MiB", "1h")
    result = program(world, LOOK + "show(seen(ALL)[1], made(GPU)[1])")
    assert answers(result) == [3, ["GPU 0", "GPU 1", "GPU 2"]]


@pytest.mark.parametrize("door", ["owned", "layers"])
def test_pocl_is_hidden_and_comes_back(pocl_world, door):
    pocl_world.policy("unassigned = 'deny'\n")
    look = LOOK + "show(seen(ALL)[:2], made(ALL)[0], made(DEFAULT)[0], made(ALL, False)[0])"
    assert answers(program(pocl_world, look, door=door)) == [[-1, 0], -1, -1, -1]
    pocl_world.chronos("create", 0, "64MiB", "1h")
    assert answers(program(pocl_world, look, door=door)) == [[0, 1], 0, 0, 0]


# --- readers clamp ------------------------------------------------------------------------------


def scribble(path, limit=None, deadline=None):
    """The owner's own hand in the live words of a grant; see docs/formats.md."""
    with open(path, "r+b") as file:
        for at, value in ((640, limit), (648, deadline)):  # of GrantLayout
            if value is not None:
                file.seek(at)
                file.write(struct.pack("<Q", value))


def test_a_scribbled_grant_counts_for_what_the_policy_allows(world):
    alice = world.user()
    world.policy("[limits]\nmemory = '25%'\nduration = '1h'\n")
    world.chronos("create", 0, "1GiB", "30m", "--name", "mine", user=alice)
    grant, = world.box.files("grant")
    scribble(grant, limit=1 << 45, deadline=1 << 62)
    mine = listed(world)["mine"]
    assert mine["limit_bytes"] == 2 * GIB
    assert 0 < mine["time_remaining_seconds"] <= 3600
    assert world.chronos("available", 0).stdout == "75.00\n"
    # Her own programs are held to it as well.
    assert program(world, allocate(2 * GIB - 1, 2), user=alice).stdout.split() == ["0", str(REFUSED)]
    # Many grants are no way around: the sum counts.
    world.file.unlink()
    scribble(grant, limit=GIB)
    for number in range(3):
        world.chronos("create", 0, "1GiB", "30m", "--name", f"more{number}", user=alice)
    for path in world.box.files("grant"):
        scribble(path, limit=1 << 45)
    world.policy("[limits]\nmemory = '25%'\nduration = '1h'\n")
    assert sum(entry["limit_bytes"] for entry in listed(world).values()) == 2 * GIB
    assert world.chronos("available", 0).stdout == "75.00\n"
    world.policy("[limits]\npartitions = 1\n")
    assert sorted(entry["limit_bytes"] for entry in listed(world).values())[:3] == [0, 0, 0]
    # What root made stays as root made it.
    world.policy("[limits]\nmemory = '1MiB'\nduration = 1\n")
    world.chronos("create", 1, "4GiB", "1h", "--user", alice.pw_name, "--name", "gift")
    assert listed(world)["gift"]["limit_bytes"] == 4 * GIB


def test_a_grant_on_a_device_reserved_for_others_counts_for_nothing(world):
    alice = world.user()
    world.chronos("create", 0, "4GiB", "1h", "--name", "squat", user=alice)
    world.policy("[devices.0]\nreserved_users = ['root']\n")
    assert listed(world)["squat"]["limit_bytes"] == 0
    world.chronos("create", 0, "8GiB", "1h")


# --- the commands -------------------------------------------------------------------------------

def test_check_prints_every_mistake_with_its_line(box):
    path = box.folder / "config.toml"
    path.write_text("unasigned = 'deny'\n[limits]\npartitions = -1\nmemory = '12 parsecs'\n"
                    "[expiry]\non_expiry = 'explode'\n", encoding="utf-8")
    result = box.chronos("policy", "check", path, status=1)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{path}:{n}" for n in (1, 3, 4, 6)]
    assert 'it must be "refuse", "terminate" or "kill"' in lines[3]
    assert "cannot be read" in box.chronos("policy", "check", "/no/such", status=1).stderr


def test_check_says_what_applies(box):
    path = box.folder / "config.toml"
    path.write_text("[users.root]\npartitions = 3\n[users.nobody-of-that-name]\n", encoding="utf-8")
    result = box.chronos("policy", "check", path)
    assert "there is no user 'nobody-of-that-name'" in result.stderr
    if os.geteuid() == 0:
        assert f"  Partitions: at most 3 ({path}:2)\n" in result.stdout


@pytest.mark.parametrize("arguments", [["policy"], ["policy", "mend"], ["policy", "show", "file"],
                                       ["policy", "check", "--user", "root"],
                                       ["policy", "show", "--user", "no-such-user"]])
def test_bad_usage(box, arguments):
    box.chronos(*arguments, status=2)


def test_the_example_of_the_documentation_is_right(box):
    text = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    path = box.folder / "config.toml"
    path.write_text(example, encoding="utf-8")
    result = box.chronos("policy", "check", path)
    for key in ("memory", "partitions", "duration", "closed", "reserved_users", "reserved_groups",
                "unassigned", "on_expiry", "warn_before", "terminate_after", "grace",
                "users.", "groups."):
        assert key in example
    assert "Policy for " in result.stdout


def test_the_ladder_of_the_policy_is_the_default_of_run(box):
    path = box.folder / "config.toml"
    path.write_text("[expiry]\non_expiry = 'kill'\nwarn_before = 0\n", encoding="utf-8")
    box.env["CHRONOS_CONFIG"] = str(path)
    run = ("run", "--device", 0, "--memory", "1MiB", "--duration", "0.3s")
    killed = box.chronos(*run, "--", "sleep", "60", status=124)
    assert "the program is killed" in killed.stderr
    shown = json.loads(box.chronos("policy", "show", "--json").stdout)["expiry"]
    assert shown == {"on_expiry": "kill", "warn_before_seconds": [],
                     "terminate_after_seconds": None, "grace_seconds": None}
    # What is said on the command line stands above it.
    box.chronos(*run, "--on-expiry", "refuse", "--", "sleep", "1", status=0)


def test_every_step_of_the_ladder_can_be_in_the_policy(box):
    path = box.folder / "config.toml"
    path.write_text("[expiry]\non_expiry = 'terminate'\nwarn_before = ['1s', '2s']\n"
                    "terminate_after = '0.5s'\ngrace = '0.25s'\n", encoding="utf-8")
    box.env["CHRONOS_CONFIG"] = str(path)
    shown = box.chronos("policy", "show").stdout
    assert f"  Warning: 2s, 1s before ({path}:3)\n" in shown
    assert f"  SIGTERM: 500ms after the end ({path}:4)\n" in shown
    assert f"  Grace: 250ms ({path}:5)\n" in shown
    deaf = "trap '' TERM; while :; do sleep 0.1; done"
    run = box.chronos("run", "--device", 0, "--memory", "1MiB", "--duration", "4.5s", "--", "sh",
                      "-c", deaf, status=124)
    assert run.stderr.splitlines() == [
        "chronos: partition partition_0001 ends in 2s",
        "chronos: partition partition_0001 ends in 1s",
        "chronos: partition partition_0001 has ended; new allocations are refused, and in 500ms "
        "the program is told to end (SIGTERM, then SIGKILL after 250ms)",
        "chronos: the program is told to end (SIGTERM, then SIGKILL after 250ms)"]
