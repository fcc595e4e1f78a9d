"""The command line: formats word for word, exit statuses, bad input, scripts of the user guide."""

import getpass
import json
import os
import re
import subprocess
import threading

import pytest
from terminal import Terminal

GPU = "NVIDIA GeForce RTX 3080"
ME = getpass.getuser()
IS_ROOT = os.geteuid() == 0

CREATED = re.compile(
    r"Created partition (?P<id>\S+) on device 0 \(NVIDIA GeForce RTX 3080\)\n"
    r"with (?P<mb>\d+) MB for (?P<seconds>\d+) seconds\n"
    r"Assigned to user: (?P<owner>\S+) \(Created by: (?P<creator>\S+), PID: (?P<pid>\d+)\)\n")


def good(result):
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def bad(result, status):
    """The one line of a failed command."""
    assert result.returncode == status, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert re.fullmatch(r"[^\n]+\n", result.stderr), result.stderr
    assert result.stderr[:-1].isprintable()
    return result.stderr[:-1]


# --- formats ------------------------------------------------------------------------------------

def test_create_list_release(chronos):
    created = CREATED.fullmatch(good(chronos("create", 0, 0.5, 3600)))
    assert created, "the text that scripts parse"
    assert created["id"] == "partition_0001"
    assert (created["mb"], created["seconds"]) == ("5120", "3600")
    assert (created["owner"], created["creator"]) == (ME, ME)

    assert re.fullmatch(
        r"Active partitions:\n"
        r"-----------------\n"
        r"ID: partition_0001\n"
        r"  Device: 0 \(NVIDIA GeForce RTX 3080\)\n"
        r"  Memory: 50%\n"
        r"  Time remaining: 35\d\d seconds\n"
        rf"  Owner: {ME} \(PID: {created['pid']}\)\n"
        r"  Memory usage: 0 MB of 5120 MB\n", good(chronos("list")))

    assert good(chronos("release", "partition_0001")) == "Partition partition_0001 released\n"
    assert good(chronos("list")) == "No active partitions\n"
    line = bad(chronos("release", "partition_0001"), 1)
    assert line.startswith("Partition not found or already released: partition_0001")


def test_numbers_are_not_reused(chronos):
    for number in (1, 2, 3):
        identifier = CREATED.fullmatch(good(chronos("create", 0, "1%", 60)))["id"]
        assert identifier == f"partition_{number:04}"
        good(chronos("release", identifier))


def test_stats_block(chronos):
    assert good(chronos("stats")) == (
        "Device statistics:\n"
        "=================\n"
        f"Device 0: {GPU}\n"
        "  Type: GPU\n"
        "  Vendor: NVIDIA Corporation\n"
        "  OpenCL version: OpenCL 3.0\n"
        "  Memory:\n"
        "    Total: 10240 MB\n"
        "    Used: 0 MB\n"
        "    Available: 10240 MB\n"
        "    Usage: 0.00%\n"
        "  Chronos management:\n"
        "    Active partitions: 0\n")
    good(chronos("create", 0, "25%", 60))
    text = good(chronos("stats", "--refresh"))
    assert "    Available: 7680 MB\n" in text
    assert "    Active partitions: 1\n" in text


def test_available_is_a_bare_number(chronos):
    assert good(chronos("available", 0)) == "100.00\n"
    good(chronos("create", 0, 0.25, 60))
    assert good(chronos("available", 0)) == "75.00\n"
    for _ in range(2):
        good(chronos("create", 0, 0.3, 60))
    assert good(chronos("available", 0)) == "15.00\n"


def test_json(chronos):
    created = json.loads(good(chronos("create", 0, "1GiB", "1h", "--name", "p1", "--json")))
    assert created["schema_version"] == 1
    listed = json.loads(good(chronos("list", "--json")))
    assert listed["schema_version"] == 1
    (partition,) = listed["partitions"]
    for volatile in ("time_remaining_seconds", "expires_at"):
        created.pop(volatile), partition.pop(volatile)
    assert created == {"schema_version": 1, **partition}
    assert partition == {
        "partition_id": "p1", "name": "p1", "device": 0, "device_name": GPU,
        "memory_fraction": pytest.approx(0.1), "limit_bytes": 1 << 30, "used_bytes": 0,
        "draining_bytes": 0, "peak_bytes": 0, "refusals": 0, "duration_seconds": 3600,
        "owner": ME, "creator": ME,
        "pid": partition["pid"], "state": "active", "processes": []}

    (device,) = json.loads(good(chronos("stats", "--json")))["devices"]
    assert list(device) == [
        "device", "name", "vendor", "type", "opencl_version", "platform", "uuid", "pci",
        "total_bytes", "used_bytes", "reserved_bytes", "draining_bytes", "available_bytes",
        "active_partitions"]
    assert device["available_bytes"] == 9 << 30
    assert device["uuid"] is None and device["pci"] is None

    assert json.loads(good(chronos("available", 0, "--json"))) == {
        "schema_version": 1, "device": 0, "available_percent": 90.0, "available_bytes": 9 << 30}
    released = json.loads(good(chronos("release", "p1", "--json")))
    assert (released["partition_id"], released["state"]) == ("p1", "released")
    assert json.loads(good(chronos("list", "--json")))["partitions"] == []


def test_expiry_needs_nobody(chronos):
    good(chronos("create", 0, 0.5, "0.2s"))
    give_up = threading.Event()
    threading.Timer(20, give_up.set).start()
    while good(chronos("list")) != "No active partitions\n":
        assert not give_up.is_set()
    assert good(chronos("available", 0)) == "100.00\n"


def test_help_and_version(chronos):
    assert re.fullmatch(r"chronos \d+\.\d+\.\d+\n", good(chronos("--version")))
    overview = good(chronos("help"))
    for verb in ("create", "list", "release", "stats", "available", "run"):
        assert f"chronos {verb}" in overview
        assert f"chronos {verb}" in good(chronos("help", verb))
        assert good(chronos(verb, "--help")) == good(chronos("help", verb))


# --- on a terminal ------------------------------------------------------------------------------

def on_terminal(chronos, *arguments, columns=100, **env):
    with Terminal(chronos.command(*arguments), {**chronos.env, "TERM": "xterm", **env},
                  columns) as terminal:
        return terminal.rest()


def test_a_terminal_gets_a_table(chronos):
    good(chronos("create", 0, 0.5, 3600))
    text = on_terminal(chronos, "list", NO_COLOR="1")
    header, row = text.splitlines()
    assert header.split()[:3] == ["PARTITION", "DEVICE", "SHARE"]
    assert row.startswith("partition_0001  0 NVIDIA")
    assert "\x1b" not in text
    assert "\x1b[" in on_terminal(chronos, "list")
    assert "\x1b" not in on_terminal(chronos, "--color", "never", "list")
    assert "\x1b[" in on_terminal(chronos, "list", "--color=always", NO_COLOR="1")
    assert json.loads(on_terminal(chronos, "list", "--json"))["schema_version"] == 1


def test_colour_does_not_enter_scripts(chronos):
    chronos.env["TERM"] = "xterm"
    good(chronos("create", 0, 0.5, 3600))
    assert "\x1b" not in good(chronos("list"))
    assert good(chronos("available", 0, "--color", "always")) == "50.00\n"


# --- exit statuses and bad input ------------------------------------------------------------------

def test_no_capacity(chronos):
    good(chronos("create", 0, 0.8, 60))
    line = bad(chronos("create", 0, 0.3, 60), 3)
    assert line.startswith("Not enough available memory on device 0")


def test_simultaneous_creates_never_overbook(chronos):
    good(chronos("stats"))
    started = [chronos.start("create", 0, 0.3, 60) for _ in range(64)]
    results = [(process.communicate(timeout=60), process.returncode) for process in started]
    assert sorted(status for _, status in results) == [0] * 3 + [3] * 61
    for (_, errors), status in results:
        if status == 3:
            assert errors.startswith("Not enough available memory on device 0")
    assert good(chronos("available", 0)) == "10.00\n"


@pytest.mark.parametrize("arguments", [
    ("9", "0.5", "60"), ("-1", "0.5", "60"), ("zero", "0.5", "60"), ("", "0.5", "60"),
    ("0x0", "0.5", "60"), ("99999999999999999999", "0.5", "60"),
    ("0", "0", "60"), ("0", "1.5", "60"), ("0", "-1", "60"), ("0", "nan", "60"),
    ("0", "-nan", "60"), ("0", "inf", "60"), ("0", "-inf", "60"), ("0", "1e400", "60"),
    ("0", "12 parsecs", "60"), ("0", "", "60"), ("0", "-.5", "60"),
    ("0", "0.5", "0"), ("0", "0.5", "-5"), ("0", "0.5", "-1h"), ("0", "0.5", "12 parsecs"),
    ("0", "0.5", "nan"), ("0", "0.5", "1e400"), ("0", "0.5", "36501d"), ("0", "0.5", "3153600001"),
    ("0", "0.5", "\n"), ("0", "\x1b[31m", "60"),
    ("0", "0.5"), ("0",), (), ("0", "0.5", "60", "70"), ("0", "0.5", "60", "--bogus"),
    ("0", "0.5", "60", "--name"), ("0", "0.5", "60", "--name", "a/b"),
    ("0", "0.5", "60", "--name", ".."), ("0", "0.5", "60", "--name", "a\nb"),
    ("0", "0.5", "60", "--name", "x" * 300), ("0", "0.5", "60", "--name", ""),
    ("0", "0.5", "60", "--name", "partition_0007"),
    ("0", "0.5", "60", "--user", "no-such-user"), ("0", "0.5", "60", "--color", "pink"),
], ids=repr)
def test_bad_create(chronos, arguments):
    bad(chronos("create", *arguments), 2)
    assert good(chronos("list")) == "No active partitions\n"


def test_bad_input_is_named(chronos):
    assert bad(chronos("create", 0, "-1", 60), 2).startswith("invalid memory '-1'")
    assert bad(chronos("create", "-1", "0.5", 60), 2).startswith("invalid device '-1'")
    assert bad(chronos("create", 0, "0.5", "-5"), 2).startswith("invalid duration '-5'")
    assert "`chronos help create`" in bad(chronos("create", 0, "0.5"), 2)
    assert "'-inf'" in bad(chronos("create", 0, "-inf", 60), 2)


@pytest.mark.parametrize("identifier", [
    "nope", "..", "a/b", "../../etc/passwd", "a\nb", "x" * 300, "", "partition_0002", "@", "p1@",
    "list", "[]", "{}", "p1@" + "0" * 32, "*"], ids=repr)
def test_unknown_ids(chronos, identifier):
    good(chronos("create", 0, 0.5, 60, "--name", "p1"))
    good(chronos("create", 0, 0.1, 60))
    good(chronos("release", "partition_0002"))
    line = bad(chronos("release", identifier), 1)
    assert line.startswith("Partition not found or already released: ")
    assert "ID: p1\n" in good(chronos("list"))


def test_a_partition_without_a_name_is_not_the_empty_one(chronos):
    good(chronos("create", 0, 0.5, 60))
    bad(chronos("release", ""), 1)
    assert "ID: partition_0001" in good(chronos("list"))


def test_a_name_in_use(chronos):
    good(chronos("create", 0, 0.1, 60, "--name", "p1"))
    assert "p1" in bad(chronos("create", 0, 0.1, 60, "--name", "p1"), 1)


@pytest.mark.parametrize("arguments", [
    (), ("",), ("bogus",), ("--bogus",), ("help", "bogus"), ("list", "extra"), ("release",),
    ("available",), ("available", "7"), ("available", "x"), ("stats", "0"), ("list", "--jsno"),
    ("\x1b[2J",)], ids=repr)
def test_bad_usage(chronos, arguments):
    bad(chronos(*arguments), 2)


def test_no_opencl_at_all(chronos, tmp_path):
    (tmp_path / "none").mkdir()
    chronos.env["OCL_ICD_VENDORS"] = f"{tmp_path}/none/"
    for arguments in (("create", 0, 0.5, 60), ("stats",), ("available", 0)):
        bad(chronos(*arguments), 1)
    assert good(chronos("list")) == "No active partitions\n"


def test_list_and_release_need_no_driver(chronos, tmp_path):
    good(chronos("create", 0, 0.5, 60, "--name", "p1"))
    (tmp_path / "none").mkdir()
    chronos.env["OCL_ICD_VENDORS"] = f"{tmp_path}/none/"
    assert f"  Device: 0 ({GPU})\n" in good(chronos("list"))
    assert good(chronos("release", "p1")) == "Partition p1 released\n"


def test_a_number_follows_its_device(chronos, fake_driver):
    """A partition is listed under the number that its device has today."""
    plain = {"name": "Plain", "memory_bytes": 1 << 30}
    good(chronos("create", 0, 0.5, 60))
    from witness import write_driver
    from fake import LIBRARY
    write_driver(fake_driver.folder, LIBRARY, {
        "platform": {"name": "Fake", "vendor": "NVIDIA Corporation", "version": "OpenCL 3.0 fake"},
        "devices": [plain, {"name": GPU, "memory_bytes": 10 << 30}]})
    good(chronos("stats", "--refresh"))
    devices = json.loads(good(chronos("stats", "--json")))["devices"]
    number = next(device["device"] for device in devices if device["name"] == GPU)
    assert number == 1
    assert f"  Device: 1 ({GPU})\n" in good(chronos("list"))


@pytest.mark.skipif(IS_ROOT, reason="root may")
def test_only_root_creates_for_others(chronos):
    line = bad(chronos("create", 0, 0.5, 60, "--user", "root"), 1)
    assert line.startswith("Permission denied: only administrators can create partitions for other")


@pytest.mark.skipif(not IS_ROOT, reason="needs root")
def test_of_other_users(chronos):
    text = good(chronos("create", 0, 0.5, 60, "--user", "nobody", "--name", "theirs"))
    assert f"Assigned to user: nobody (Created by: {ME}, PID: " in text
    good(chronos("create", 0, 0.1, 60, "--name", "roots"))
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

    def as_nobody(*arguments):
        return subprocess.run([*nobody, *chronos.command(*arguments)], env=chronos.env, text=True,
                              capture_output=True, timeout=60, check=False)

    if as_nobody("--version").returncode != 0:
        pytest.skip("the build cannot be reached by another user")
    line = bad(as_nobody("release", "roots"), 1)
    assert line.startswith("Permission denied: partition owned by root")
    line = bad(chronos("run", "--partition", "theirs", "true"), 125)
    assert line.startswith("Permission denied: partition owned by nobody")
    assert good(as_nobody("release", "theirs")) == "Partition theirs released\n"


# --- where output goes ----------------------------------------------------------------------------

def test_a_full_disk_is_an_error(chronos):
    with open("/dev/full", "w", encoding="ascii") as full:
        result = chronos("create", 0, 0.5, 60, "--name", "p1", stdout=full)
    assert result.returncode == 1
    assert re.fullmatch(r"cannot write to standard output: No space left on device "
                        r"\(partition p1 has been created all the same\)\n", result.stderr)
    assert "ID: p1" in good(chronos("list"))


def test_a_closed_pipe_is_an_error(chronos):
    read_end, write_end = os.pipe()
    os.close(read_end)
    result = chronos("list", stdout=write_end)
    os.close(write_end)
    assert result.returncode == 1
    assert result.stderr == "cannot write to standard output: Broken pipe\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(chronos, closed):
    """What cannot be written is an error, and nothing else goes wrong."""
    shell = subprocess.run(["sh", "-c", f'chronos create 0 0.1 60 --name p1 {closed}; echo $?'],
                           env=chronos.env, text=True, capture_output=True, timeout=60, check=False)
    assert shell.stdout.splitlines()[-1] == ("1" if ">&-" in closed.split() else "0")
    assert "ID: p1" in good(chronos("list"))


# --- scripts of the user guide, as written --------------------------------------------------------

def bash(chronos, tmp_path, script, *arguments):
    path = tmp_path / "script.sh"
    path.write_text(script)
    return subprocess.run(["bash", str(path), *arguments], env=chronos.env, cwd=tmp_path, text=True,
                          capture_output=True, timeout=60, check=False)


needs_bc = pytest.mark.skipif(not any(os.access(f"{folder}/bc", os.X_OK)
                                      for folder in os.environ["PATH"].split(":")),
                              reason="bc is not installed")


@needs_bc
def test_guide_enough_memory(chronos, tmp_path):
    script = """\
available=$(chronos available 0)
if (( $(echo "$available > 50" | bc -l) )); then
    echo "Enough memory available"
    chronos create 0 0.5 3600
fi
"""
    first = bash(chronos, tmp_path, script)
    assert first.stderr == ""
    assert first.stdout.startswith("Enough memory available\nCreated partition partition_0001 on ")
    assert bash(chronos, tmp_path, script).stdout == ""  # 50.00 is not more than 50


@needs_bc
def test_guide_check_first(chronos, tmp_path):
    script = """\
# Check before requesting
available=$(chronos available 0)
echo "Available: $available%"

if (( $(echo "$available < 50" | bc -l) )); then
    echo "Not enough memory available, try later"
    exit 1
fi

chronos create 0 0.5 3600
"""
    assert bash(chronos, tmp_path, script).stdout.startswith("Available: 100.00%\nCreated ")
    good(chronos("create", 0, 0.2, 60))
    refused = bash(chronos, tmp_path, script)
    assert refused.returncode == 1
    assert refused.stdout == "Available: 30.00%\nNot enough memory available, try later\n"


BATCH_JOB = """\
#!/bin/bash
# submit_job.sh

JOB_SCRIPT=$1
GPU_MEMORY=${2:-0.5}
DURATION=${3:-3600}

PARTITION_ID=$(chronos create 0 $GPU_MEMORY $DURATION 2>&1 | grep "partition_" | awk '{print $3}')

if [ -z "$PARTITION_ID" ]; then
    echo "Failed to create partition"
    exit 1
fi

echo "Running $JOB_SCRIPT with partition $PARTITION_ID"
bash $JOB_SCRIPT

chronos release $PARTITION_ID
echo "Job complete"
"""


def test_guide_batch_job(chronos, tmp_path):
    (tmp_path / "job.sh").write_text("chronos list | grep -c 'ID: partition_0001'\n")
    done = bash(chronos, tmp_path, BATCH_JOB, "job.sh")
    assert done.stderr == ""
    assert done.stdout == ("Running job.sh with partition partition_0001\n1\n"
                           "Partition partition_0001 released\nJob complete\n")
    failed = bash(chronos, tmp_path, BATCH_JOB, "job.sh", "1.5")
    assert (failed.returncode, failed.stdout) == (1, "Failed to create partition\n")


def test_guide_pipeline(chronos, tmp_path):
    stub = tmp_path / "bin"
    stub.mkdir()
    (stub / "pytest").write_text("#!/bin/sh\necho \"tests ran with $*\"\n")
    (stub / "pytest").chmod(0o755)
    chronos.env["PATH"] = f"{stub}:{chronos.env['PATH']}"
    done = bash(chronos, tmp_path, """\
#!/bin/bash
# test_pipeline.sh

# Request GPU for test duration
chronos create 0 0.3 300  # 5 minutes

# Get partition ID
PARTITION_ID=$(chronos list | grep "ID:" | awk '{print $2}' | head -1)

# Run tests
pytest tests/gpu/ --gpu-memory 0.3

# Cleanup
chronos release $PARTITION_ID

echo "Tests complete"
""")
    assert done.stderr == ""
    assert done.stdout.endswith("tests ran with tests/gpu/ --gpu-memory 0.3\n"
                                "Partition partition_0001 released\nTests complete\n")
    assert good(chronos("list")) == "No active partitions\n"
