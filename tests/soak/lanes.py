"""One user's partitions: made, changed, ended, and each time said to the auditor.

A lane is a place on one device on which its user has at most one active partition. On an exclusive
device the witness's limit is the most that the lane may hold at that moment:

    what ended partitions still hold (it can only shrink) + the partition's limit

It is raised before a command that grants more and lowered after one that grants less; where a
command was killed, `list` tells what it did. On a device that users share it is the device's size.
"""

import json
import os
import signal
import subprocess
import threading
import time

MIB = 1 << 20
DEVICE_BYTES = 1 << 30
SOON = 2.5  # seconds before a deadline in which a command may come too late


class Lane:
    def __init__(self, user, index, device, exclusive, is_pocl=False):
        self.prefix = f"u{user}l{index}g"
        self.index, self.device, self.exclusive, self.is_pocl = index, device, exclusive, is_pocl
        self.generation = 0
        self.active = False
        self.by_root = False
        self.limit = 0
        self.deadline = 0.0
        self.draining = 0  # bytes of ended partitions, as last looked at
        self.above = 0  # what the active one held when its limit was lowered below that
        self.how = None  # it will have ended

    @property
    def name(self):
        return f"{self.prefix}{self.generation}"


class Outcome:
    def __init__(self, status, out, err, disturbed):
        self.status, self.out, self.err, self.disturbed = status, out, err, disturbed


class Commander(threading.Thread):
    """Runs the commands of one user, one after the other, at random."""

    def __init__(self, soak, person, rng):
        super().__init__(name=person.name, daemon=True)
        self.soak, self.person, self.rng, self.record = soak, person, rng, soak.record
        self.board = person.board
        self.lanes = person.lanes

    # --- commands ---------------------------------------------------------------------------

    def command(self, verb, *arguments, root=False, lane=None, disturb=True):
        """Runs `chronos VERB`; now and then kills or stops it meanwhile."""
        person = self.person
        env = dict(person.root_env if root else person.env)
        if lane is not None and lane.is_pocl:
            env["OCL_ICD_VENDORS"] = self.soak.pocl_vendors
        identity = {} if root else person.identity
        draw = self.rng.random() if disturb else 1.0
        delay, length = self.rng.uniform(0, 0.006), self.rng.uniform(0, 0.3)
        begin = time.monotonic()
        process = subprocess.Popen(
            [self.soak.command, verb, *map(str, arguments)], env=env, text=True, cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **identity)
        sent = None
        if draw < 0.07:
            time.sleep(delay)
            sent = "killed"
            process.kill()
        elif draw < 0.10:
            time.sleep(delay)
            sent = "stopped"
            process.send_signal(signal.SIGSTOP)
            time.sleep(length)
            process.send_signal(signal.SIGCONT)
        try:
            out, err = process.communicate(timeout=self.soak.bound)
        except subprocess.TimeoutExpired:
            self.record.problem("hang", f"chronos {verb} {arguments} took over {self.soak.bound} s")
            process.kill()
            out, err = process.communicate()
        seconds = time.monotonic() - begin
        status = process.returncode
        if sent:
            self.record.signals[sent] += 1
        killed = sent == "killed" and status == -signal.SIGKILL
        self.record.command(verb, "killed" if killed else status, seconds, sent is not None)
        if not killed:
            self.judge(verb, arguments, status, out, err)
        return Outcome(None if killed else status, out, err, sent is not None)

    def judge(self, verb, arguments, status, out, err):
        what = f"{self.person.name}: chronos {verb} {' '.join(map(str, arguments))}: {status}"
        if status < 0:
            self.record.problem("crash", f"{what}: {err}")
        elif status not in (0, 1, 3) and not (verb == "run" and status == 125):
            self.record.problem("bad_output", f"{what}: {err}")
        elif (status == 0) != (not err.strip()) and verb != "run":
            self.record.problem("bad_output", f"{what}: {out!r} {err!r}")
        elif "--json" in arguments and status == 0:
            try:
                json.loads(out)
            except ValueError:
                self.record.problem("bad_output", f"{what}: not JSON: {out!r}")

    def expect(self, outcome, statuses, what):
        if outcome.status is not None and outcome.status not in statuses:
            self.record.problem("bad_output",
                                f"{self.person.name}: {what}: status {outcome.status}, not "
                                f"{statuses}: {outcome.err.strip()}")

    # --- what there is, and what there may be --------------------------------------------------

    def look(self, lane):
        """(the lane's partition if it is active, bytes held in ended ones) by `chronos list`."""
        outcome = self.command("list", "--json", root=self.rng.random() < 0.5, disturb=False)
        if outcome.status != 0:
            self.record.problem("bad_output", f"list --json: {outcome.status}: {outcome.err}")
            return None, lane.draining
        found, draining = None, 0
        for entry in json.loads(outcome.out)["partitions"]:
            if entry["owner"] != self.person.owner:
                continue
            if not entry["partition_id"].startswith(lane.prefix):
                continue
            if entry["state"] == "draining":
                draining += entry["used_bytes"]
            elif entry["partition_id"] == lane.name:
                found = entry
            else:
                self.record.problem("bad_output", f"an unknown active partition: {entry}")
        return found, draining

    def watch(self, lane, limit):
        if lane.exclusive:
            # 0 would mean no limit.
            self.soak.witness.set_limit(max(lane.draining + max(limit, lane.above), 1), lane.device)

    def sample(self, lane):
        """What is held may not be more than what is watched for: an allocation that went over would
        have been counted, but what was held before a limit was lowered is seen only so."""
        if not lane.exclusive:
            return
        held = self.soak.witness.held_at_once(lane.device)
        limit = self.soak.witness.limit(lane.device)
        self.record.sample(held is not None)
        if held is not None and held > limit:
            self.record.problem("over_limit", f"{self.person.name} {lane.name}: {held} bytes are held, "
                                              f"and {limit} are accounted for ({lane.draining} draining)")

    def resync(self, lane, may_end=False):
        """After a command of which it is not known what it did."""
        found, lane.draining = self.look(lane)
        if lane.active and not found:
            if not may_end and time.monotonic() < lane.deadline - SOON:
                self.record.problem("bad_output", f"{self.person.name} {lane.name} has gone")
            self.record.count("released" if may_end else "expired")
        elif found and not lane.active:
            self.record.count("created by a killed command")
        lane.active = found is not None
        lane.above = 0
        if found:
            lane.above = max(found["used_bytes"], found["draining_bytes"])
            lane.limit = found["limit_bytes"]
            lane.deadline = time.monotonic() + found["time_remaining_seconds"] + 1
            self.watch(lane, lane.limit)
        else:
            self.watch(lane, 0)
        self.sample(lane)
        self.tell(lane)

    def tell(self, lane):
        words = self.board.lanes[lane.index]
        words.limit = lane.limit
        words.generation = lane.generation

    # --- steps -----------------------------------------------------------------------------

    def run(self):
        try:
            while not self.soak.stopping.is_set():
                self.step(self.rng.choice(self.lanes))
                self.soak.stopping.wait(self.rng.uniform(0.02, 0.25))
        except Exception as error:  # a thread must not go quietly
            self.record.problem("bad_output", f"the soak itself: {error!r}")
            self.soak.stopping.set()
            raise

    def step(self, lane):
        if lane.active and time.monotonic() > lane.deadline:
            lane.how = "expired"
            self.note_end(lane)
        if not lane.active:
            if lane.generation and self.rng.random() < 0.4:
                self.empty(lane)
            self.create(lane)
            return
        draw = self.rng.random()
        if draw < 0.40:
            self.resize(lane)
        elif draw < 0.55:
            self.extend(lane)
        elif draw < 0.67:
            self.release(lane)
        elif draw < 0.74:
            self.empty(lane)
        elif draw < 0.90:
            self.ask(lane)
        elif draw < 0.95:
            self.run_true(lane)

    def draw_limit(self, lane):
        if not lane.exclusive and not lane.is_pocl:  # four of these are too much for the device
            return self.rng.randrange(64 * MIB, 500 * MIB)
        most = 16 if lane.is_pocl else 256
        return self.rng.choice((self.rng.randrange(1 << 16, most * MIB),
                                self.rng.randrange(1 << 16, 4 * MIB)))

    def create(self, lane):
        lane.generation += 1
        lane.limit = self.draw_limit(lane)
        lane.by_root = self.soak.is_root and self.rng.random() < 0.25
        duration = self.rng.choice((1, 2, 3, 3600, 3600, 3600))
        _, lane.draining = self.look(lane)
        self.watch(lane, lane.limit)
        arguments = [0 if lane.is_pocl else lane.device, f"{lane.limit}B", duration, "--name", lane.name]
        if lane.by_root:
            arguments += ["--user", self.person.owner]
        begin = time.monotonic()
        outcome = self.command("create", *arguments, root=lane.by_root, lane=lane)
        lane.how = None
        if outcome.status == 0:
            lane.active = True
            lane.deadline = begin + duration
            self.record.count("created by root" if lane.by_root else "created")
            self.tell(lane)
            return
        # Devices of one's own are never full; others may be.
        self.expect(outcome, (3,) if not lane.exclusive and not lane.is_pocl else (),
                    f"create {arguments}")
        self.resync(lane)

    def resize(self, lane):
        limit = self.draw_limit(lane)
        drain = self.rng.random() < 0.4
        if limit > lane.limit:
            self.watch(lane, limit)
        outcome = self.command("resize", lane.name, f"{limit}B", *(["--drain"] if drain else []),
                               root=lane.by_root, lane=lane)
        near = time.monotonic() > lane.deadline - SOON
        if outcome.status == 0:
            grows = limit > lane.limit
            lane.limit = limit
            self.record.count("grown" if grows else "shrunk, draining" if drain else "shrunk")
            if drain and not grows:
                self.resync(lane)
                return
            if not grows:
                lane.above = 0
            self.watch(lane, limit)
            self.sample(lane)
            self.tell(lane)
            return
        may = {1} if near or (limit < lane.limit and not drain) else set()
        if limit > lane.limit and not lane.exclusive and not lane.is_pocl:
            may.add(3)
        self.expect(outcome, may, f"resize {lane.name} {limit} drain={drain}")
        self.resync(lane)

    def extend(self, lane):
        by = self.rng.choice((1, 2, 60))
        outcome = self.command("extend", lane.name, by, root=lane.by_root, lane=lane)
        if outcome.status == 0:
            lane.deadline += by
            self.record.count("extended")
            return
        self.expect(outcome, (1,) if time.monotonic() > lane.deadline - SOON else (),
                    f"extend {lane.name}")
        self.resync(lane)

    def release(self, lane):
        arguments = [lane.name]
        if self.rng.random() < 0.2:
            arguments += ["--force", "--grace", "0"]
        near = time.monotonic() > lane.deadline - SOON
        outcome = self.command("release", *arguments, root=lane.by_root and self.rng.random() < 0.5,
                               lane=lane)
        if outcome.status == 0:
            lane.how = "released by force" if len(arguments) > 1 else "released"
            self.note_end(lane)
            return
        self.expect(outcome, (1,) if near or len(arguments) > 1 else (), f"release {arguments}")
        self.resync(lane, may_end=True)

    def note_end(self, lane):
        found, lane.draining = self.look(lane)
        if found:
            if lane.how != "expired":
                self.record.problem("bad_output", f"{lane.how}, and still active: {found}")
            elif time.monotonic() > lane.deadline + 2:
                self.record.problem("bad_output", f"past its deadline, and still active: {found}")
            return
        lane.active, lane.above = False, 0
        self.watch(lane, 0)
        self.sample(lane)
        self.record.count(lane.how)

    def ask(self, lane):
        draw = self.rng.random()
        if draw < 0.5:
            self.command("list", *self.rng.choice(([], ["--json"])))
        elif draw < 0.8:
            outcome = self.command("available", 0 if lane.is_pocl else lane.device, "--json", lane=lane)
            self.expect(outcome, (0,), "available")
        else:
            self.expect(self.command("stats", "--json", lane=lane), (0,), "stats")

    def run_true(self, lane):
        outcome = self.command("run", "--partition", lane.name, "--", "true", lane=lane)
        near = time.monotonic() > lane.deadline - SOON
        self.expect(outcome, (0, 125) if near else (0,), f"run --partition {lane.name}")

    # --- everybody out ------------------------------------------------------------------------

    def empty(self, lane):
        """Kills all of the lane's processes: nothing may be left of what they held."""
        words = self.board.lanes[lane.index]
        words.open = 0
        begin, before = time.monotonic(), self.board.header.sweeps
        while words.emptied <= before + 1:
            if self.soak.stopping.is_set():
                return
            if time.monotonic() > begin + self.soak.bound:
                self.record.problem("hang", f"{self.person.name}: processes of lane {lane.index} "
                                            "do not go away")
                break
            time.sleep(0.01)
        self.record.emptied += 1
        found, lane.draining = self.look(lane)
        held = self.soak.witness.held(lane.device) if lane.exclusive else 0
        left = lane.draining + (found["used_bytes"] if found else 0)
        if left or held:
            self.record.leaked_bytes += left
            self.record.problem("leak", f"{self.person.name} {lane.name}: nobody lives, and {left} "
                                        f"bytes are charged, {held} held: {found}")
        if lane.active and found:
            self.resync(lane)
            self.fill(lane)
        words.open = 1

    def fill(self, lane):
        """The whole limit in one buffer."""
        if lane.is_pocl or time.monotonic() > lane.deadline - SOON:
            return
        outcome = self.command("run", "--partition", lane.name, "--", self.soak.storm, "fill",
                               lane.limit, f"Soak {lane.device}", lane=lane, disturb=False)
        self.record.filled += 1
        if outcome.status != 0 and time.monotonic() < lane.deadline - SOON / 2:
            self.record.problem("leak", f"{self.person.name} {lane.name}: nobody lives, and its "
                                        f"limit of {lane.limit} bytes cannot be allocated: "
                                        f"{outcome.status} {outcome.err}")


def kill_all_of(uid):
    """Every process of a user that the soak has made."""
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid:
                os.kill(int(name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            pass
