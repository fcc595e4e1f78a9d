"""`chronos doctor`: what is wrong here is found, and what a program does is told to the byte."""

import json
import os
import shutil
import signal
import stat
import subprocess

import pytest

from support import (BUILD, CHRONOS, CLIENTS, LIBRARY, MIB, PATIENCE, PYTHON, SHIM,
                     built)
from support import any_box, box, fake_box, pocl  # noqa: F401

pytestmark = built

LIMIT = 64 * MIB
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def doctor(box, *, status=0, variables=None, **options):
    """The findings of the machine, as JSON."""
    env = {**box.env, **(variables or {})}
    result = box.chronos("doctor", "--json", env=env, status=status, **options)
    report = json.loads(result.stdout)
    assert report["schema_version"] == 1
    assert report["healthy"] == (status == 0)
    for finding in report["findings"]:
        assert finding["status"] in ("ok", "note", "warning", "problem")
        assert finding["remedy"] or finding["status"] != "problem"
    return report


def found(report, status, topic, words):
    return any(one["status"] == status and one["topic"] == topic and words in one["text"]
               for one in report["findings"])


# --- the machine --------------------------------------------------------------------------------

def test_a_machine_where_all_is_well(any_box):
    any_box.create(LIMIT)
    report = doctor(any_box)
    assert not [one for one in report["findings"] if one["status"] == "problem"]
    assert report["devices"][0]["device"] == 0
    assert report["doors"]["ld_preload"] == {"layer": True, "driver": True, "problem": None}
    assert report["doors"]["driver_door_alone"]["driver"]
    assert not report["doors"]["driver_door_alone"]["layer"]
    first = report["loaders"][0]
    assert first["found_first"] and first["version"]
    # By the layer alone nothing is preloaded.
    assert first["opencl_layers"] == {"layer": True, "driver": False, "problem": None}
    assert found(report, "ok", "partitions", "p1: 0 B of 64 MiB of device 0")


def test_the_text_is_a_line_a_finding(box):
    text = box.chronos("doctor").stdout
    assert [line.split()[0] for line in text.splitlines()]
    assert {line.split()[0] for line in text.splitlines()} <= {"ok", "note", "warning"}
    assert "\x1b" not in text
    assert "\x1b[32mok\x1b[0m" in box.chronos("doctor", "--color", "always").stdout


def test_a_broken_driver(box):
    vendors = box.env["OCL_ICD_VENDORS"].rstrip("/")
    with open(os.path.join(vendors, "zz.icd"), "w", encoding="utf-8") as file:
        file.write("/nowhere/libbroken.so\n")
    assert found(doctor(box), "warning", "driver", "libbroken.so")


def test_a_driver_with_a_read_only_table_and_one_that_crashes(fake_box):
    assert doctor(fake_box(table_read_only=True))["doors"]["ld_preload"]["driver"]
    report = doctor(fake_box(crash_on="clGetDeviceIDs"), status=1)
    assert found(report, "problem", "device", "crashed")


def test_no_driver_at_all(box, tmp_path):
    (tmp_path / "empty").mkdir()
    report = doctor(box, status=1, variables={"OCL_ICD_VENDORS": f"{tmp_path}/empty/"})
    assert found(report, "problem", "device", "OpenCL")


def test_a_loader_that_cannot_be_loaded(box, tmp_path):
    (tmp_path / "libOpenCL.so.1").write_text("this is no library, though long enough for a header" * 9)
    report = doctor(box, status=1, variables={"LD_LIBRARY_PATH": str(tmp_path)})
    assert found(report, "problem", "loader", "cannot be loaded")


def test_a_state_directory_that_is_not_there_or_no_directory(box, tmp_path):
    assert found(doctor(box), "note", "state", "no partitions yet")
    (tmp_path / "file").write_text("")
    report = doctor(box, status=1, variables={"CHRONOS_STATE_DIR": str(tmp_path / "file")})
    assert found(report, "problem", "state", "Not a directory")


def test_a_state_directory_where_anybody_can_remove_files(box):
    box.create(LIMIT)
    box.state.chmod(0o777)
    assert found(doctor(box, status=1), "problem", "state", "not sticky")


@as_root
def test_a_state_directory_that_a_user_cannot_read(box):
    box.create(LIMIT)
    box.state.chmod(0o700)
    for folder in [box.folder, *box.folder.parents[:3]]:
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o055)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(CHRONOS), "doctor"]
    result = subprocess.run(command, env=box.env, text=True, capture_output=True, timeout=PATIENCE,
                            check=False)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "problem state" in result.stdout and "Permission denied" in result.stdout


def test_a_user_namespace(box):
    box.create(LIMIT)
    command = ["unshare", "--user", "--map-root-user", str(CHRONOS), "doctor", "--json"]
    result = subprocess.run(command, env=box.env, text=True, capture_output=True, timeout=PATIENCE,
                            check=False)
    if not result.stdout:
        pytest.skip(f"no user namespaces here: {result.stderr}")
    assert found(json.loads(result.stdout), "warning", "system", "user namespace")


def test_a_damaged_grant_of_ones_own(box):
    box.create(LIMIT)
    os.truncate(box.files("grant")[0], 100)
    assert found(doctor(box, status=1), "problem", "partitions", "truncated")


@pytest.mark.parametrize("name, words", [("nope", "not found"), (",", "names no partition"),
                                         ("p1", "already released")])
def test_a_partition_that_is_named_and_cannot_be_used(box, name, words):
    box.create(LIMIT)
    box.chronos("release", "p1")
    report = doctor(box, status=1, variables={"CHRONOS_PARTITION": name})
    assert found(report, "problem", "environment", words)


def test_a_partition_that_is_named_and_can_be_used(box):
    box.create(LIMIT)
    report = doctor(box, variables={"CHRONOS_PARTITION": "p1"})
    assert found(report, "ok", "environment", "CHRONOS_PARTITION names p1")


def test_a_relative_preload_that_the_shim_itself_has_put_right(box):
    report = doctor(box, status=1, cwd=SHIM.parent, variables={"LD_PRELOAD": f"./{SHIM.name}"})
    assert found(report, "problem", "environment", "relative path ./libchronos_shim.so")
    assert found(doctor(box, variables={"LD_PRELOAD": str(SHIM)}), "ok", "environment", "names the shim")


@pytest.mark.parametrize("preload", [{}, {"LD_PRELOAD": str(SHIM)}])
def test_the_order_of_layers(box, preload):
    layer = CLIENTS / "counting_layer.so"
    report = doctor(box, variables={"OPENCL_LAYERS": f"{layer}:{SHIM}", **preload})
    assert found(report, "warning", "environment", "not name the shim first")
    report = doctor(box, variables={"OPENCL_LAYERS": f"{SHIM}:{layer}", **preload})
    assert found(report, "ok", "environment", "names the shim first")
    report = doctor(box, status=1, variables={"OPENCL_LAYERS": f"{SHIM}:/no/layer.so"})
    assert found(report, "problem", "environment", "/no/layer.so")


def test_an_installation_without_the_shim(box, tmp_path):
    for part in ("bin/chronos", "libexec/chronos/chronos-probe"):
        (tmp_path / part).parent.mkdir(parents=True)
        shutil.copy(BUILD / part, tmp_path / part)
    result = subprocess.run([tmp_path / "bin" / "chronos", "doctor"], env=box.env, text=True,
                            capture_output=True, timeout=PATIENCE, check=False)
    assert result.returncode == 1
    assert "problem installation libchronos_shim.so is missing" in result.stdout


def test_the_library_hands_it_out(box):
    library = BUILD / "lib" / "libchronos.so"
    code = ("import ctypes, json; l = ctypes.CDLL(%r); s = ctypes.c_char_p();"
            "assert l.chronos_doctor_json(ctypes.byref(s)) == 0; print(s.value.decode())"
            % str(library))
    result = subprocess.run([PYTHON, "-c", code], env=box.env, text=True, capture_output=True,
                            timeout=PATIENCE, check=False)
    assert json.loads(result.stdout)["healthy"], result.stderr


def test_bad_usage(box):
    assert box.chronos("doctor", "extra", status=125).returncode == 125  # a program that is not there
    assert "need a program" in box.chronos("doctor", "--partition", "p1", status=2).stderr
    assert "unknown option" in box.chronos("doctor", "--nope", status=2).stderr


# --- a program ----------------------------------------------------------------------------------

def trace(box, *command, status=0, options=("--partition", "p1"), **more):
    """(report, CompletedProcess) of a program under the doctor."""
    output = box.folder / "report.json"
    result = subprocess.run([str(CHRONOS), "doctor", "--json", "--output", str(output), *options,
                             "--", *map(str, command)], env=box.env, text=True, check=False,
                            capture_output=True, timeout=2 * PATIENCE, **more)
    assert result.returncode == status, result.stdout + result.stderr
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["schema_version"] == 1 and report["exit_status"] == status
    return report, result


def calls_of(report):
    return {one["call"]: one for one in report["calls"]}


def test_allocations_and_refusals_by_call(any_box):
    any_box.create(LIMIT)
    report, result = trace(any_box, CLIENTS / "linked_c", "--size", 24 * MIB, "--count", 3, status=3)
    assert result.stdout.splitlines() == ["ok 25165824"] * 2 + ["error -4"]
    call = calls_of(report)["clCreateBuffer"]
    assert (call["allocated"], call["allocated_bytes"]) == (2, 48 * MIB)
    assert (call["refused"], call["refused_bytes"]) == (1, 24 * MIB)
    assert call["largest_bytes"] == 24 * MIB
    assert report["largest_process_peak_bytes"] == 48 * MIB
    assert report["processes"][0]["left_bytes"] == 0
    assert report["doors"]["layer"]["processes"] == report["doors"]["driver"]["processes"] == 1
    assert report["partitions"][0]["refusals"] == 1
    assert report["not_covered"] == []


@pytest.mark.parametrize("kind, call", [
    ("buffer-props", "clCreateBufferWithProperties"), ("image2d", "clCreateImage"),
    ("pipe", "clCreatePipe"), ("svm", "clSVMAlloc"), ("usm-device", "clDeviceMemAllocINTEL"),
    ("usm-shared", "clSharedMemAllocINTEL"), ("arm-svm", "clSVMAllocARM")])
def test_every_call_has_its_own_line(box, kind, call):
    box.create(LIMIT)
    report, result = trace(box, CLIENTS / "entry_points", "--kind", kind, "--size", 4 * MIB,
                           "--count", 3, stdin=subprocess.DEVNULL)
    assert result.stdout.split().count("ok") == 3
    assert list(calls_of(report)) == [call]
    assert (calls_of(report)[call]["allocated"], calls_of(report)[call]["allocated_bytes"]) == \
        (3, 12 * MIB)
    assert report["processes"][0]["peak_bytes"] == 12 * MIB
    assert report["processes"][0]["left_bytes"] == 0


def test_what_the_driver_fails_is_told_apart(fake_box):
    box = fake_box(faults=[{"call": "clCreateBuffer", "after": 1, "error": -6}])
    box.create(LIMIT)
    report, _ = trace(box, CLIENTS / "linked_c", "--size", MIB, "--count", 2, status=3)
    call = calls_of(report)["clCreateBuffer"]
    assert (call["allocated"], call["allocated_bytes"], call["driver_failed"], call["refused"]) == \
        (1, MIB, 1, 0)


FAMILY = """
import os, signal, sys
import opencl as cl
c = cl.context()
print(cl.buffer(c, 1 << 20)[1], flush=True)
if os.fork() == 0:
    print(cl.buffer(c, 2 << 20)[1], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c",
                              "import opencl as cl; cl.buffer(cl.context(), 4 << 20)"])
os.wait()
"""


def test_children_forked_killed_and_started_anew(any_box):
    any_box.create(LIMIT)
    report, result = trace(any_box, PYTHON, "-c", FAMILY)
    assert result.stdout.split() == ["0", "0"]
    call = calls_of(report)["clCreateBuffer"]
    assert (call["allocated"], call["allocated_bytes"]) == (3, 7 * MIB)
    assert sorted(one["peak_bytes"] for one in report["processes"]) == [MIB, 2 * MIB, 4 * MIB]
    assert len({one["pid"] for one in report["processes"]}) == 3
    assert report["doors"]["layer"]["processes"] == 3
    assert report["not_covered"] == []


def test_a_function_that_is_not_hooked_is_named(box):
    box.create(LIMIT)
    code = ("import ctypes; cl = ctypes.CDLL('libOpenCL.so.1'); p = ctypes.c_void_p();"
            "cl.clGetPlatformIDs(1, ctypes.byref(p), None);"
            "ask = cl.clGetExtensionFunctionAddressForPlatform; ask.restype = ctypes.c_void_p;"
            "print(ask(p, b'clHostMemAllocINTEL') is not None)")
    report, result = trace(box, PYTHON, "-c", code)
    assert result.stdout == "True\n"
    named = [one for one in report["not_covered"] if one["kind"] == "extension"]
    assert [one for one in named if "clHostMemAllocINTEL" in one["text"]]


def test_imports_are_told_and_not_charged(box):
    """In the report and in its text; what fails is not an import."""
    box.create(LIMIT)
    code = ("import opencl as cl; from extensions import *; the = cl.context();"
            f"one = lambda: result(gl_buffer, the, 1, {2 * LIMIT});"
            "print(one() > 0, one() > 0, result(gl_buffer, None, 1, 64),"
            " result(gl_texture, the, 1, 0xDE1, 0, 5) > 0)")
    report, result = trace(box, PYTHON, "-c", code)
    assert result.stdout == "True True -34 True\n"
    assert report["imports"]["objects"] == report["processes"][0]["imports"] == 3
    assert report["imports"]["bytes"] == report["processes"][0]["import_bytes"] > 4 * LIMIT
    assert report["calls"] == []
    assert report["largest_process_peak_bytes"] == report["partitions"][0]["refusals"] == 0
    named = [one["text"].split(":")[0] for one in report["not_covered"] if one["kind"] == "import"]
    assert named == ["clCreateFromGLBuffer", "clCreateFromGLTexture"]
    text = box.chronos("doctor", "--partition", "p1", "--", PYTHON, "-c", code).stderr
    assert "imports, charged to nobody: 3 objects, " in text
    text = box.chronos("doctor", "--partition", "p1", "--", CLIENTS / "linked_c", "--size", MIB,
                       "--count", 1).stderr
    assert "imports" not in text and "not covered: nothing" in text


def test_a_library_that_comes_before_the_shim_is_named(box):
    """`chronos run` puts the shim first; what sets LD_PRELOAD anew inside need not."""
    box.create(LIMIT)
    direct = LIBRARY.with_name("libchronos_fake_direct.so")
    hold = [CLIENTS / "linked_c", "--size", LIMIT, "--count", 2]
    report, result = trace(box, "env", f"LD_PRELOAD={direct}:{SHIM}", *hold)
    assert result.stdout.split() == ["ok", str(LIMIT)] * 2
    texts = [one["text"] for one in report["not_covered"] if one["kind"] == "earlier_library"]
    assert len(texts) == 1 and texts[0].startswith(f"{direct} comes before the shim")
    report, result = trace(box, "env", f"LD_PRELOAD={SHIM}:{direct}", *hold, status=3)
    assert "earlier_library" not in [one["kind"] for one in report["not_covered"]]


def test_a_program_of_its_own_loader_has_no_layer(box):
    box.create(LIMIT)
    env = dict(box.env)
    box.env["TEST_DRIVER"] = str(LIBRARY)
    report, _ = trace(box, CLIENTS / "own_loader", "--size", MIB, "--count", 1)
    box.env = env
    assert report["doors"]["layer"]["processes"] == 0
    assert report["doors"]["driver"]["calls"] > 0
    assert [one["kind"] for one in report["not_covered"]] == ["no_layer"]


def test_a_read_only_table_still_counts(fake_box):
    box = fake_box(table_read_only=True)
    box.create(LIMIT)
    report, _ = trace(box, CLIENTS / "linked_c", "--size", MIB, "--count", 1)
    assert calls_of(report)["clCreateBuffer"]["allocated"] == 1


def test_a_static_program_and_one_that_lost_its_environment(box, tmp_path):
    box.create(LIMIT)
    report, _ = trace(box, "/sbin/ldconfig", "--version")
    assert [one["kind"] for one in report["not_covered"]] == ["process"]
    assert "linked statically" in report["not_covered"][0]["text"]
    # It says that it runs, and stays when the command ends: then it is seen for certain.
    script = "mkfifo $0; env -i sh -c 'echo > $0; exec >&- 2>&-; read line < $0' $0 & cat $0; echo $!"
    report, result = trace(box, "bash", "-c", script, tmp_path / "ready")
    os.kill(int(result.stdout.split()[-1]), signal.SIGKILL)
    texts = [one["text"] for one in report["not_covered"] if one["kind"] == "process"]
    assert any("without the shim in LD_PRELOAD" in text for text in texts), texts


def test_the_programs_streams_and_status_are_its_own(box):
    box.create(LIMIT)
    result = box.chronos("doctor", "--partition", "p1", "--", "sh", "-c",
                         "echo out; echo err >&2; exit 7", status=7)
    assert result.stdout == "out\n"
    assert result.stderr.startswith("err\nchronos doctor: sh ended with status 7\n")
    assert "OpenCL: not used" in result.stderr
    result = box.chronos("doctor", "--partition", "p1", "--", "/no/such", status=127)
    assert "cannot execute" in result.stderr
    result = box.chronos("doctor", "--output", "/no/such/file", "--", "echo", "hello", status=125)
    assert result.stdout == "" and "cannot write to" in result.stderr
    box.chronos("doctor", "--partition", "nope", "--", "echo", status=125)


def test_a_partition_for_one_command(box):
    report, _ = trace(box, CLIENTS / "linked_c", "--size", 2 * MIB, "--count", 1,
                      options=("--device", "0", "--memory", "16MiB", "--duration", "1h"))
    assert report["partitions"][0]["peak_bytes"] == 2 * MIB
    assert box.partitions() == {}


def test_a_trace_is_written_only_where_it_is_safe(box, tmp_path):
    """Into a directory of one's own that nobody else can write to; else nothing is, and all works."""
    box.create(LIMIT)
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(mine)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for value, files in ((mine, 1), (tmp_path / "link", 1), (shared, 0), (tmp_path / "none", 0),
                         ("mine", 1), ("", 1)):
        result = box.run(CLIENTS / "linked_c", "--size", MIB, "--count", 1, cwd=tmp_path,
                         variables={"CHRONOS_TRACE": str(value)})
        assert (result.returncode, result.stdout) == (0, f"ok {MIB}\n"), result.stderr
        if value != shared:
            assert len(list(mine.iterdir())) == files or value == tmp_path / "none"
    assert list(shared.iterdir()) == []
    assert len(list(mine.iterdir())) == 1
    assert stat.S_IMODE(next(mine.iterdir()).stat().st_mode) == 0o600


def test_nothing_is_left_behind(box):
    before = set(os.listdir("/dev/shm"))
    box.create(LIMIT)
    trace(box, CLIENTS / "linked_c", "--size", MIB, "--count", 1)
    doctor(box)
    assert not [name for name in set(os.listdir("/dev/shm")) - before if "trace" in name]
