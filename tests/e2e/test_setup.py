"""`chronos setup` and its undoing, on a machine of the test's own: /run, /dev/shm and /etc/tmpfiles.d
are empty file systems in a mount namespace."""

import json
import os
import subprocess

import pytest

from people import lab, make_lab, needs_root, propagation, reachable_build, users  # noqa: F401
from support import PATIENCE, built

pytestmark = [built, needs_root]

BOOT = "/etc/tmpfiles.d/chronos.conf"


class Machine:
    def __init__(self, lab):
        self.lab = lab
        lab.env.pop("CHRONOS_STATE_DIR")
        for person in lab.people.values():
            person.env.pop("CHRONOS_STATE_DIR")
        self.keeper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", propagation(), "sh", "-ec",
             "mkdir -p /etc/tmpfiles.d; mount -t tmpfs tmpfs /etc/tmpfiles.d; "
             "mount -t tmpfs -o mode=755 tmpfs /run; "
             "mkdir /run/shm; mount -t tmpfs -o mode=1777 tmpfs /run/shm; "
             "mkdir -p /run/shm/lab; mount --bind \"$0\" /run/shm/lab; "
             "mount --move /run/shm /dev/shm; rmdir /run/shm; "
             f"mkdir -p {lab.folder}; mount --move /dev/shm/lab {lab.folder}; rmdir /dev/shm/lab; rm -rf /run/mount; "
             "echo ready; exec sleep 3600", str(lab.folder)], stdout=subprocess.PIPE, text=True)
        assert self.keeper.stdout.readline() == "ready\n"

    def run(self, *command, user=None, status=0):
        """A program on this machine, as root or as a person of the lab."""
        enter = ["nsenter", f"--target={self.keeper.pid}", "--mount", "--root", "--wd"]
        if user is not None:
            enter += ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
        result = subprocess.run([*enter, *map(str, command)], env=self.lab.env, text=True,
                                capture_output=True, timeout=PATIENCE, check=False)
        assert result.returncode == status, result.stdout + result.stderr
        return result

    def chronos(self, *arguments, **options):
        return self.run(self.lab.command, *arguments, **options)

    def sh(self, script, **options):
        return self.run("sh", "-ec", script, **options).stdout

    def close(self):
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()


@pytest.fixture
def machine(lab):
    made = Machine(lab)
    yield made
    made.close()


def test_setup_makes_a_directory_for_all(machine):
    done = machine.chronos("setup")
    assert done.stdout == f"State directory /run/chronos is ready, and will be after each boot ({BOOT})\n"
    assert machine.sh("stat -c '%a %U %G' /run/chronos") == "1777 root root\n"
    assert "\nd /run/chronos 1777 root root -\n" in machine.sh(f"cat {BOOT}")
    assert machine.sh(f"stat -c '%a %U' {BOOT}") == "644 root\n"
    # Again, and after somebody took rights away: it is as it should be.
    machine.sh("chmod 700 /run/chronos; chown nobody /run/chronos")
    machine.chronos("setup")
    assert machine.sh("stat -c '%a %U %G' /run/chronos") == "1777 root root\n"
    # It is what everybody uses from then on, with root's view of the devices.
    alice, bob = machine.lab.alice, machine.lab.bob
    machine.chronos("create", 0, "50%", "1h", "--name", "p1", user=alice)
    machine.chronos("create", 0, "60%", "1h", user=bob, status=3)
    assert machine.sh("ls /dev/shm | grep -c '^chronos\\.' || true") == "0\n"
    assert machine.sh("ls /run/chronos | grep -c '\\.grant$'") == "1\n"
    assert machine.sh("ls /run/chronos | grep '\\.devices$'").startswith("chronos.0.")


@pytest.mark.skipif(not os.access("/usr/bin/systemd-tmpfiles", os.X_OK)
                    and not os.access("/bin/systemd-tmpfiles", os.X_OK),
                    reason="systemd-tmpfiles is not installed")
def test_the_directory_is_made_at_boot(machine):
    machine.chronos("setup")
    machine.sh("rm -r /run/chronos; systemd-tmpfiles --create chronos.conf")
    assert machine.sh("stat -c '%a %U %G' /run/chronos") == "1777 root root\n"


def test_setup_and_undo_without_a_trace(machine):
    machine.chronos("setup")
    machine.chronos("create", 0, "10%", "1h", "--name", "p1")
    refused = machine.chronos("setup", "--undo", status=1)
    assert "partitions in /run/chronos that would no longer be counted (1)" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    machine.chronos("release", "p1")
    done = machine.chronos("setup", "--undo")
    assert done.stdout.startswith("Removed /run/chronos and /etc/tmpfiles.d/chronos.conf")
    assert machine.sh("ls -A /run /etc/tmpfiles.d") == "/etc/tmpfiles.d:\n\n/run:\n"
    assert machine.chronos("setup", "--undo").stdout == "There is nothing to undo\n"
    machine.chronos("create", 0, "10%", "1h")  # in /dev/shm


def test_what_would_be_forgotten_is_refused(machine):
    machine.chronos("create", 0, "10%", "1h", "--name", "p1", user=machine.lab.alice)
    refused = machine.chronos("setup", status=1)
    assert "partitions in /dev/shm that would no longer be counted (1)" in refused.stderr
    assert machine.sh("ls -A /run /etc/tmpfiles.d") == "/etc/tmpfiles.d:\n\n/run:\n"
    machine.chronos("setup", "--force")
    assert json.loads(machine.chronos("list", "--json").stdout)["partitions"] == []
    machine.chronos("create", 0, "10%", "1h", "--name", "p2")
    machine.chronos("setup", "--undo", "--force")
    assert [one["state"] for one in json.loads(machine.chronos("list", "--json").stdout)["partitions"]] \
        == ["active"]  # the one in /dev/shm, which nobody had taken away
    assert machine.sh("ls -A /run") == ""


def test_what_is_not_ours_stays(machine):
    machine.sh(f"echo mine > {BOOT}")
    refused = machine.chronos("setup", status=1)
    assert refused.stderr.startswith(f"{BOOT} was not made by chronos")
    machine.chronos("setup", "--undo", status=1)
    assert machine.sh(f"cat {BOOT}") == "mine\n"
    machine.sh(f"rm {BOOT}; touch /run/chronos")
    refused = machine.chronos("setup", status=1)
    assert refused.stderr.startswith("/run/chronos is not a directory")
    machine.sh("rm /run/chronos; ln -s /tmp /run/chronos")
    refused = machine.chronos("setup", status=1)
    assert refused.stderr.startswith("/run/chronos is not a directory")
    machine.sh("rm /run/chronos")
    machine.chronos("setup")
    machine.sh("touch /run/chronos/notes", user=machine.lab.bob)
    refused = machine.chronos("setup", "--undo", status=1)
    assert "files that are not of chronos, such as notes" in refused.stderr
    assert machine.sh("ls /run/chronos") == "notes\n"


def test_only_root(machine):
    for arguments in ((), ("--undo",)):
        refused = machine.chronos("setup", *arguments, user=machine.lab.alice, status=1)
        assert refused.stderr.startswith("Permission denied: only administrators can set up")
    assert machine.sh("ls -A /run /etc/tmpfiles.d") == "/etc/tmpfiles.d:\n\n/run:\n"


def test_a_package_that_makes_the_directory_at_boot(machine):
    """Setup adds no file of its own, and its undoing keeps the package's from being read."""
    packaged = "/usr/lib/tmpfiles.d/chronos.conf"
    machine.sh(f"mount -t tmpfs tmpfs /usr/lib/tmpfiles.d; printf '# x\nd /run/chronos 1777 root root -\n' > {packaged}")
    machine.sh(f"printf '# Made by `chronos setup`, before there was a package\n' > {BOOT}")
    done = machine.chronos("setup")
    assert done.stdout == f"State directory /run/chronos is ready, and will be after each boot ({packaged})\n"
    assert machine.sh("ls -A /etc/tmpfiles.d") == ""
    done = machine.chronos("setup", "--undo")
    assert done.stdout == (f"Removed /run/chronos, and {packaged} is not read any more ({BOOT}); "
                           "the state is in /dev/shm from now on\n")
    assert "d /run" not in machine.sh(f"cat {BOOT}")
    assert machine.chronos("setup", "--undo").stdout == "There is nothing to undo\n"
    assert "d /run" not in machine.sh(f"cat {BOOT}; test ! -e /run/chronos")
    machine.chronos("setup")
    assert machine.sh("ls -A /etc/tmpfiles.d") == ""
