"""A view of this machine that has a policy: /etc/chronos exists in a mount namespace of its own, and
nowhere else. Commands run in it as any user."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from people import make_user, unmake_user
from support import CHRONOS, PATIENCE, SCRIPTS, SHIM

# An /etc of links to the real one, and a folder `chronos` beside them.
ENTER = r"""
set -e
mount --bind /etc "$1/old"
mount -t tmpfs -o mode=755 tmpfs "$1/new"
for entry in "$1"/old/* "$1"/old/.[!.]*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    [ "${entry##*/}" = chronos ] || ln -s "$entry" "$1/new/"
done
mkdir "$1/new/chronos"
mount --bind "$1/policy" "$1/new/chronos"
mount --rbind "$1/new" /etc
echo ready
exec cat
"""


class Machine:
    def __init__(self, box):
        self.box = box
        self.users = []
        folder = box.folder / "machine"
        for name in ("old", "new", "policy"):
            (folder / name).mkdir(parents=True)
        self.folder = folder / "policy"
        self.file = self.folder / "config.toml"
        if (box.folder / "fake").exists():
            (box.folder / "fake").chmod(0o777)
        box.state.mkdir(exist_ok=True)
        box.state.chmod(0o1777)
        self.keeper = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "sh", "-c", ENTER, "sh", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.keeper.stdout.readline().strip() != "ready":
            errors = self.keeper.communicate(timeout=PATIENCE)[1]
            pytest.skip(f"no mount namespace here: {errors.strip()}")

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait(timeout=PATIENCE)
        for stream in (self.keeper.stdout, self.keeper.stderr):
            stream.close()
        for user in self.users:
            unmake_user(user)

    def policy(self, text):
        """What /etc/chronos/config.toml says from now on."""
        self.file.write_text(text, encoding="utf-8")
        self.file.chmod(0o644)

    def user(self, *groups):
        user = make_user("chronos", groups)
        self.users.append(user)
        readable = subprocess.run(["test", "-r", str(SCRIPTS / "session.py"), "-a", "-r", str(SHIM)],
                                  user=user.pw_uid, group=user.pw_gid, check=False)
        if readable.returncode != 0:
            pytest.skip(f"{user.pw_name} may not read the build")
        return user

    def command(self, *arguments, user=None):
        drop = []
        if user is not None:
            drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
        return ["nsenter", "-t", str(self.keeper.pid), "-m", "--", *drop,
                *(str(argument) for argument in arguments)]

    def run(self, *arguments, user=None, **variables):
        """In the shim's and the driver's environment, without a door."""
        return subprocess.run(self.command(*arguments, user=user), env={**self.box.env, **variables},
                              text=True, capture_output=True, timeout=2 * PATIENCE, check=False)

    def chronos(self, *arguments, user=None, status=0, **variables):
        result = self.run(CHRONOS, *arguments, user=user, **variables)
        assert result.returncode == status, result.stdout + result.stderr
        return result


def open_folder():
    """A folder that every user may enter; pytest's own are closed again by its next run."""
    folder = Path(tempfile.mkdtemp(prefix="chronos-e2e-", dir="/dev/shm"))
    folder.chmod(0o755)
    return folder


def make_machine(box):
    if os.geteuid() != 0:
        pytest.skip("needs root, for a root-owned policy")
    for tool in ("unshare", "nsenter", "setpriv"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    return Machine(box)
