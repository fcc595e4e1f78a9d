"""The kill storm of scripts/soak. See there for the options, and docs/soak.md for what it does."""

import argparse
import ctypes
import json
import os
import pwd
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
from board import LANES, Board  # noqa: E402
from fake import BUILD, FakeDriver  # noqa: E402
from lanes import DEVICE_BYTES, Commander, Lane, kill_all_of  # noqa: E402
from people import make_user  # noqa: E402
from record import Record  # noqa: E402
from report import summary, text_of  # noqa: E402

POCL = Path("/etc/OpenCL/vendors/pocl.icd")
EXCLUSIVE, SHARED = 3, 2  # lanes of a user on fake devices; one more on PoCL
PR_SET_CHILD_SUBREAPER = 36
LEFT_BEHIND_BY_DESIGN = re.compile(r"chronos\.\d+\.([0-9a-f]{32}\.(counter|devices)|probe\.lock)")

# What programs may find on their standard error.
LINES = (
    (re.compile(r"chronos: partition \S+: refused .* in use by \d+ process"), "over the limit"),
    (re.compile(r"chronos: partition \S+: refused .*"), "no place in the ledger"),
    (re.compile(r"chronos: partition \S+ has ended: refused"), "ended meanwhile"),
    (re.compile(r"chronos: partition \S+ (was not found|has ended)"), "ended before"),
    (re.compile(r"chronos: you have no partition on"), "none on this device"),
    (re.compile(r"chronos: partition \S+ cannot be used: "), "ended while looked at"),
    (re.compile(r"chronos: partition \S+ (was released|has expired|expired)"), "run: ended meanwhile"),
    (re.compile(r"Partition not found or already released"), "run: not found"),
    (re.compile(r"Partition \S+ has ended"), "run: ended before"),
)


class Person:
    """A user of the storm: who they are, their environment, board, lanes and keeper."""

    def __init__(self, soak, number, entry):
        self.number, self.name = number, entry.pw_name
        self.uid, self.owner = entry.pw_uid, entry.pw_name
        self.identity = {"user": entry.pw_uid, "group": entry.pw_gid,
                         "extra_groups": []} if soak.is_root else {}
        folder = soak.folder / self.name
        folder.mkdir()
        os.chown(folder, entry.pw_uid, entry.pw_gid)
        config = folder / "config.toml"
        config.write_text('unassigned = "deny"\n', encoding="utf-8")
        os.chown(config, entry.pw_uid, entry.pw_gid)
        self.board = Board(folder / "board", (entry.pw_uid, entry.pw_gid))
        self.root_env = soak.env
        self.env = {**soak.env, "USER": self.name, "LOGNAME": self.name, "HOME": str(folder),
                    "CHRONOS_CONFIG": str(config), "POCL_CACHE_DIR": str(folder / "pocl")}
        self.storm_env = {**self.env, "CHRONOS_SOAK_BOARD": str(folder / "board"),
                          "CHRONOS_SOAK_COMMAND": str(soak.command),
                          "CHRONOS_SOAK_POCL": soak.pocl_vendors or ""}
        if number % 4 == 3:
            self.storm_env["OPENCL_LAYERS"] = str(soak.shim)
        else:
            self.storm_env["LD_PRELOAD"] = str(soak.shim)
        if number % 4 == 1:
            self.storm_env["CHRONOS_LIFETIME"] = "counts"
        self.lanes = [Lane(number, i, number * EXCLUSIVE + i, True) for i in range(EXCLUSIVE)]
        self.lanes += [Lane(number, EXCLUSIVE + i, soak.users * EXCLUSIVE + i, False) for i in range(SHARED)]
        if soak.pocl_vendors:
            self.lanes.append(Lane(number, EXCLUSIVE + SHARED, 0, False, is_pocl=True))
        for lane in self.lanes:
            words = self.board.lanes[lane.index]
            words.device, words.is_pocl, words.open = lane.device, int(lane.is_pocl), 1
        assert len(self.lanes) <= LANES
        self.keeper = self.reader = None


class Soak:
    def __init__(self, options):
        self.options = options
        self.is_root = os.geteuid() == 0
        self.users = options.users if self.is_root else 1
        self.bound = 60  # seconds that a command or a call may take on a busy machine
        self.stopping = threading.Event()
        self.interrupted = False
        self.people, self.entries, self.programs = [], [], None
        self.folder = Path(tempfile.mkdtemp(prefix="chronos-soak-", dir="/dev/shm"))
        self.folder.chmod(0o755)
        if options.output:
            options.output.mkdir(parents=True, exist_ok=True)
        self.record = Record(options.output, self.say)
        self.began = time.monotonic()

    def say(self, text):
        print(text, flush=True)

    # --- the machine ---------------------------------------------------------------------------

    def prepare(self):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.copy_programs()
        self.command = self.programs / "bin" / "chronos"
        self.shim = self.programs / "lib" / "libchronos_shim.so"
        self.storm = self.programs / "chronos_soak_storm"
        count = self.users * EXCLUSIVE + SHARED
        driver = FakeDriver(
            self.folder / "fake", library=self.programs / "lib" / "libchronos_fake_driver.so",
            back_memory=False, enforce_device_memory=False,  # it is to see what Chronos lets through
            devices=[{"name": f"Soak {i}", "uuid": f"{i + 1:032x}", "memory_bytes": DEVICE_BYTES,
                      "witness_limit_bytes": DEVICE_BYTES} for i in range(count)])
        state = self.folder / "state"
        state.mkdir()
        state.chmod(0o1777)
        self.state = state
        self.pocl_vendors = None
        if POCL.exists() and not self.options.without_pocl:
            vendors = self.folder / "pocl-vendors"
            vendors.mkdir()
            shutil.copy(POCL, vendors)
            self.pocl_vendors = f"{vendors}/"
        drop = re.compile("CHRONOS_|LD_PRELOAD|OPENCL_LAYERS|OCL_ICD_VENDORS|POCL_")
        self.env = {name: value for name, value in os.environ.items() if not drop.match(name)}
        config = self.folder / "config.toml"
        config.write_text("", encoding="utf-8")
        self.env.update(driver.variables, CHRONOS_STATE_DIR=str(state), CHRONOS_CONFIG=str(config),
                        POCL_CACHE_DIR=str(self.folder / "pocl-cache"))
        self.chronos("available", "0")  # makes the witness, which all shall share
        for path in (driver.folder, *driver.folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        self.witness = driver.witness()
        for device in range(count):
            self.witness.set_limit(DEVICE_BYTES if device >= self.users * EXCLUSIVE else 1, device)
        self.record.state_folders = [state, driver.folder]
        self.devices = count
        if self.is_root:
            self.entries = []
            for number in range(self.users):
                self.entries.append(make_user(f"soak{number}"))
        entries = self.entries or [pwd.getpwuid(os.geteuid())]
        self.people = [Person(self, number, entry) for number, entry in enumerate(entries)]

    def copy_programs(self):
        """Where every user may read them, wherever the checkout is."""
        self.programs = Path(tempfile.mkdtemp(prefix="chronos-soak-", dir="/tmp"))
        for part in ("bin/chronos", "lib/libchronos_shim.so", "lib/libchronos_fake_driver.so",
                     "libexec", "tests/soak/chronos_soak_storm"):
            source = BUILD / part
            target = self.programs / (Path(part).name if part.startswith("tests") else part)
            target.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
        subprocess.run(["chmod", "-R", "a+rX", str(self.programs)], check=True)

    def chronos(self, *arguments, status=0, env=None, **options):
        result = subprocess.run([str(self.command), *arguments], env=env or self.env, text=True,
                                capture_output=True, timeout=self.bound, check=False, cwd="/",
                                **options)
        if result.returncode != status:
            self.record.problem("bad_output", f"chronos {' '.join(arguments)}: {result.returncode} "
                                              f"{result.stdout}{result.stderr}")
        return result.stdout

    # --- the storm -----------------------------------------------------------------------------

    def start(self):
        for person in self.people:
            header = person.board.header
            header.user = person.number
            header.seed = self.options.seed * 1000 + person.number
            header.per_mille = self.options.rate * 1000 // len(self.people)
            header.processes = self.options.processes
            header.hang_ns = self.bound * 10**9
            person.keeper = subprocess.Popen(
                [str(self.storm)], env=person.storm_env, cwd="/", stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
                # No Ctrl-C; but of our session, so that `nice` counts where the kernel groups by these.
                process_group=0, **person.identity)
            person.reader = threading.Thread(target=self.read_lines, args=(person,), daemon=True)
            person.reader.start()
        self.commanders = [
            Commander(self, person, random.Random(f"{self.options.seed}:{person.number}"))
            for person in self.people]
        for commander in self.commanders:
            commander.start()

    def read_lines(self, person):
        for line in person.keeper.stderr:
            line = line.rstrip("\n")
            for pattern, kind in LINES:
                if pattern.match(line):
                    self.record.line(kind)
                    break
            else:
                kind = ("hang" if " hangs in a call " in line else
                        "crash" if " was ended by signal " in line else "bad_output")
                self.record.problem(kind, f"{person.name}: {line!r}")

    def kills(self):
        return sum(person.board.counters()["kills"] for person in self.people)

    def watch(self):
        """Until the time or the number is reached, or something stops it."""
        over = [0] * self.devices
        next_line = time.monotonic() + self.options.progress
        while not self.stopping.wait(0.5):
            for device in range(self.devices):
                self.check_over(device, over)
            for person in self.people:
                if person.keeper.poll() is not None:
                    self.record.problem("crash", f"the keeper of {person.name} ended with "
                                                 f"{person.keeper.returncode}")
                    self.stopping.set()
            passed = time.monotonic() - self.began
            if self.options.kills and self.kills() >= self.options.kills:
                break
            if self.options.seconds and passed >= self.options.seconds:
                break
            for device in range(self.users * EXCLUSIVE, self.devices):
                self.sample_shared(device)
            if time.monotonic() >= next_line:
                next_line += self.options.progress
                counters = [person.board.counters() for person in self.people]
                admitted = sum(c["admitted"] for c in counters)
                self.say(f"  {passed:6.0f} s: {self.kills()} kills ({self.kills() / passed:.0f}/s), "
                         f"{admitted} allocations, {sum(self.record.partitions.values())} changes "
                         f"of partitions, {sum(self.record.problems.values())} problems")
        self.ran = time.monotonic() - self.began
        self.stopping.set()
        for device in range(self.devices):
            self.check_over(device, over)
        self.over_limit = sum(over)

    def sample_shared(self, device):
        held = self.witness.held_at_once(device, attempts=3)
        self.record.sample(held is not None)
        if held is not None and held > DEVICE_BYTES:
            self.record.problem("over_limit", f"device {device}: {held} bytes are held of "
                                              f"{DEVICE_BYTES} that it has")

    def check_over(self, device, over):
        count = self.witness.over_limit(device)
        if count == over[device]:
            return
        over[device] = count
        lanes = [vars(lane) for person in self.people for lane in person.lanes
                 if lane.device == device and not lane.is_pocl]
        self.record.problem("over_limit", f"device {device}: {count} allocations over the limit, by "
                            f"up to {self.witness.worst_excess(device)} bytes; watched: "
                            f"{self.witness.limit(device)}; {lanes}")

    def stop(self):
        self.stopping.set()
        for commander in self.commanders:
            commander.join(self.bound + 10)
            if commander.is_alive():
                self.record.problem("hang", f"the commands of {commander.name} do not come to an end")
        for person in self.people:
            person.keeper.stdin.close()
        for person in self.people:
            try:
                status = person.keeper.wait(self.bound)
                if status != 0:
                    self.record.problem("crash", f"the keeper of {person.name} ended with {status}")
            except subprocess.TimeoutExpired:
                self.record.problem("hang", f"the processes of {person.name} cannot be ended")
            person.reader.join(10)

    def audit_end(self):
        """Nobody lives: nothing may be charged or held; and then no file may be left."""
        listed = json.loads(self.chronos("list", "--json"))["partitions"]
        for entry in listed:
            if entry["used_bytes"] or entry["draining_bytes"]:
                self.record.leaked_bytes += entry["used_bytes"]
                self.record.problem("leak", f"at the end nobody lives, and is charged: {entry}")
        for device in range(self.devices):
            held = self.witness.held(device)
            if held:
                self.record.problem("leak", f"device {device}: the driver still holds {held} bytes")
        self.chronos("release", "--all", env=self.env if self.is_root else self.people[0].env)
        everybody = [(person.env, person.identity) for person in self.people]
        if self.is_root:
            everybody.append((self.env, {}))
        for env, identity in everybody:  # the one more command that clears up after killed ones
            self.chronos("create", "0", "1MiB", "60", "--name", "last", env=env, **identity)
            self.chronos("release", "last", env=env, **identity)
        left = json.loads(self.chronos("list", "--json"))["partitions"]
        if left:
            self.record.problem("leak", f"partitions that do not end: {left}")
        for path in sorted(self.state.iterdir()):
            if not LEFT_BEHIND_BY_DESIGN.fullmatch(path.name):
                self.record.files_left.append(path.name)
                self.record.problem("leak", f"left behind: {path.name}")

    def clean(self):
        self.stopping.set()
        for person in self.people:
            if person.keeper and person.keeper.poll() is None:
                person.keeper.kill()
                person.keeper.wait()
        for entry in self.entries:
            for _ in range(3):
                kill_all_of(entry.pw_uid)
        while True:  # what came to us as the nearest subreaper
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                if not self.kill_own_children():
                    break
                time.sleep(0.02)
        for entry in self.entries:
            for _ in range(50):
                if subprocess.run(["userdel", entry.pw_name], capture_output=True,
                                  check=False).returncode == 0:
                    break
                kill_all_of(entry.pw_uid)
                time.sleep(0.1)
        for folder in (self.folder, self.programs):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    def kill_own_children(self):
        with open(f"/proc/self/task/{threading.main_thread().native_id}/children",
                  encoding="ascii") as file:
            pids = [int(pid) for pid in file.read().split()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return bool(pids)


def main():
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--rate", type=int, default=60)
    parser.add_argument("--progress", type=int, default=10)
    parser.add_argument("--output", type=Path, default=None)
    parser.add_argument("--without-pocl", action="store_true")
    options = parser.parse_args()
    if options.users < 1 or options.users > 16:
        parser.error("--users must be 1 to 16")
    if not options.seconds and not options.kills:
        options.seconds = 60
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 31)

    soak = Soak(options)

    def interrupt(number, _):
        soak.interrupted = True
        soak.say(f"{signal.Signals(number).name}: ending early")
        soak.stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        soak.prepare()
        who = (f"{len(soak.people)} users" if soak.is_root else
               "one user, the caller: only root can make several")
        soak.say(f"Seed {options.seed}: {who}, {options.processes} processes each, "
                 f"{'with' if soak.pocl_vendors else 'without'} PoCL")
        soak.start()
        soak.watch()
        soak.stop()
        soak.audit_end()
        result = summary(soak)
    finally:
        soak.clean()
    soak.say(text_of(result))
    if options.output:
        (options.output / "soak.json").write_text(json.dumps(result, indent=2) + "\n",
                                                  encoding="utf-8")
    failed = sum(soak.record.problems.values())
    passed = not failed and not soak.interrupted
    soak.say(f"{int(passed)} passed, {int(not passed)} failed")
    return 1 if failed else 130 if soak.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
