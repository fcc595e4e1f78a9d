"""Real users for the end-to-end tests, and a machine that they share.

Needs root, which makes the users; without it the tests skip and say so.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from fake import BUILD
from support import SCRIPTS, FakeBox, Session, poll

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to act as several users")


def propagation():
    """For unshare --propagation: what keeps a test's mounts to itself."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0:
        return "private"
    # In a plain chroot the root is no mount, which unshare insists on; but if nothing is shared,
    # nothing spreads.
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        if any(" shared:" in line for line in mounts):
            pytest.skip("mounts would spread to the machine")
    return "unchanged"


def make_user(name, groups=()):
    """A user of this machine, whose name begins with `name`."""
    full = f"{name}-{uuid.uuid4().hex[:8]}"
    more = ["--groups", ",".join(groups)] if groups else []

    def made():  # another suite may have the password file locked
        command = ["useradd", "--no-create-home", "--shell", "/bin/sh", *more, full]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    poll(f"useradd {full}", made)
    return pwd.getpwnam(full)


def unmake_user(entry):
    def gone():  # what was killed may take a moment, and another suite may have the file locked
        subprocess.run(["pkill", "-9", "-u", str(entry.pw_uid)], check=False)
        command = ["userdel", entry.pw_name]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    poll(f"userdel {entry.pw_name}", gone)


@pytest.fixture(scope="session")
def users():
    """{"alice": ..., "bob": ...}: entries of the password file."""
    made = {name: make_user(name) for name in ("alice", "bob")}
    yield made
    for entry in made.values():
        unmake_user(entry)


@pytest.fixture(scope="session")
def reachable_build():
    """A copy of what is tested that every user may read, wherever the checkout is."""
    folder = Path(tempfile.mkdtemp(prefix="chronos-people-", dir="/tmp"))
    folder.chmod(0o755)
    for part in ("bin/chronos", "bin/chronosd", "lib", "libexec"):
        source = BUILD / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("*.a"))
        else:
            (folder / part).parent.mkdir(exist_ok=True)
            shutil.copy2(source, folder / part)
    shutil.copytree(SCRIPTS, folder / "clients", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


class Person:
    """Somebody at the lab: `alice("create", 0, 0.5, 60)` calls the command as alice."""

    def __init__(self, lab, entry):
        self.lab, self.name, self.uid, self.gid = lab, entry.pw_name, entry.pw_uid, entry.pw_gid
        self.env = {**lab.env, "USER": self.name, "LOGNAME": self.name, "HOME": "/nonexistent"}

    @property
    def identity(self):
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def __call__(self, *arguments, **options):
        return self.lab.chronos(*arguments, **{"env": self.env, **self.identity, **options})

    def session(self, **options):
        return Session(self.lab, **{"door": "named", **self.identity, **options})

    def run(self, *command, **options):
        """Any program, as this user."""
        options.setdefault("timeout", 60)
        return subprocess.run([str(part) for part in command], env=self.env, text=True,
                              capture_output=True, check=False, **{**self.identity, **options})

    def python(self, code, *arguments):
        return self.run("/usr/bin/python3", "-c", code, *arguments)


class Lab(FakeBox):
    """One machine with a fake GPU of 24 GiB (or what `config` says) and several users."""

    def __init__(self, folder, build, users, **config):
        self.command = build / "bin" / "chronos"
        self.shim = build / "lib" / "libchronos_shim.so"
        self.scripts = build / "clients"
        self.library = build / "lib" / "libchronos_fake_driver.so"
        super().__init__(folder, **config)
        self.state.mkdir()
        self.state.chmod(0o1777)
        self.chronos("available", 0)  # the driver makes its witness, which all shall share
        for path in (self.driver.folder, *self.driver.folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o666)
        self.people = {name: Person(self, entry) for name, entry in users.items()}

    def __getattr__(self, name):
        people = self.__dict__.get("people", {})
        if name in people:
            return people[name]
        raise AttributeError(name)


@pytest.fixture
def make_lab(users, reachable_build):
    """Makes a Lab of a driver's configuration."""
    made = []

    def make(**config):
        folder = Path(tempfile.mkdtemp(prefix="chronos-lab-", dir="/dev/shm"))
        folder.chmod(0o755)
        made.append(Lab(folder, reachable_build, users, **config))
        return made[-1]

    yield make
    for lab in made:
        lab.close()
        shutil.rmtree(lab.folder, ignore_errors=True)


@pytest.fixture
def lab(make_lab):
    return make_lab()
