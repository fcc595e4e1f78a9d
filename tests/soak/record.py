"""What a soak has seen: numbers of all kinds, and everything that must not be."""

import shutil
import threading
from collections import Counter, defaultdict

KINDS = ("leak", "over_limit", "hang", "crash", "bad_output")
MOST_SHOWN = 12  # of each kind


class Record:
    """Threads: all members may be called from any."""

    def __init__(self, evidence, say):
        self.lock = threading.Lock()
        self.evidence = evidence  # a folder for the first problem's traces
        self.say = say
        self.problems = Counter()
        self.texts = []
        self.commands = defaultdict(Counter)  # verb -> {exit status or "killed": times}
        self.signals = Counter()  # to commands
        self.worst = {}  # verb -> seconds of the slowest that was neither killed nor stopped
        self.partitions = Counter()
        self.lines = Counter()  # of Chronos, on programs' stderr
        self.emptied = 0  # times that all processes of a partition were killed and it was looked at
        self.filled = 0  # of these, times that its whole limit was then allocated at once
        self.samples = Counter()  # of all that is held on a device at one instant
        self.leaked_bytes = 0
        self.files_left = []
        self.state_folders = []

    def count(self, name, by=1):
        with self.lock:
            self.partitions[name] += by

    def problem(self, kind, text):
        assert kind in KINDS
        with self.lock:
            self.problems[kind] += 1
            first = not self.texts
            if self.problems[kind] <= MOST_SHOWN:
                self.texts.append(f"{kind}: {text.strip()}")
                self.say(f"PROBLEM {kind}: {text.strip()}")
            if first and self.evidence:
                for folder in self.state_folders:
                    shutil.copytree(folder, self.evidence / folder.name, dirs_exist_ok=True,
                                    ignore=shutil.ignore_patterns("*.fifo"))

    def command(self, verb, status, seconds, disturbed):
        with self.lock:
            self.commands[verb][str(status)] += 1
            if not disturbed:
                self.worst[verb] = max(self.worst.get(verb, 0), seconds)

    def sample(self, judged):
        with self.lock:
            self.samples["judged" if judged else "never still"] += 1

    def line(self, kind):
        with self.lock:
            self.lines[kind] += 1
