"""A throwaway copy of this machine's root, for what changes a machine: an overlay over `/` with an
/etc, a /run and a /dev/shm of its own, in namespaces of its own. Made in milliseconds, gone with its
keeper."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from people import propagation
from support import PATIENCE

ENTER = r"""
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
echo ready
exec sleep 3600
"""

CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
         "LANG": "C.UTF-8"}


class Root:
    def __init__(self):
        if os.geteuid() != 0:
            pytest.skip("needs root, for a root of its own")
        for tool in ("unshare", "nsenter", "setpriv"):
            if shutil.which(tool) is None:
                pytest.skip(f"no {tool}")
        self.folder = Path(tempfile.mkdtemp(prefix="chronos-root-", dir="/tmp"))
        self.keeper = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation",
             propagation(), "sh", "-c", ENTER, "sh", str(self.folder)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.keeper.stdout.readline() != "ready\n":
            errors = self.keeper.communicate(timeout=PATIENCE)[1]
            shutil.rmtree(self.folder, ignore_errors=True)
            pytest.skip(f"no overlay root here: {errors.strip()}")
        children = Path(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children")
        self.pid = int(children.read_text(encoding="utf-8").split()[0])

    def command(self, *command, user=None):
        root = f"/proc/{self.pid}/root{self.folder}/root"
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", f"--root={root}", f"--wd={root}"]
        if user is not None:
            enter += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups",
                      "env", f"HOME=/home/{user}"]
        return [*enter, *map(str, command)]

    def start(self, *command, user=None, env=None, **options):
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen(self.command(*command, user=user), env={**CLEAN, **(env or {})},
                                text=True, **options)

    def run(self, *command, user=None, status=0, env=None, timeout=PATIENCE, **options):
        result = subprocess.run(self.command(*command, user=user), env={**CLEAN, **(env or {})},
                                stdin=subprocess.DEVNULL, text=True, capture_output=True,
                                timeout=timeout, check=False, **options)
        if status is not None:
            assert result.returncode == status, result.stdout + result.stderr
        return result

    def sh(self, script, **options):
        return self.run("sh", "-c", script, **options)

    def path(self, path):
        """That file of the root, as seen from here."""
        return Path(f"/proc/{self.pid}/root{self.folder}/root{path}")

    def close(self):
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()
        self.keeper.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)
