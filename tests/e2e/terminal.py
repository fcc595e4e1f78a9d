"""A program on a terminal of its own, typed at and read by a test."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time


class Terminal:
    """Runs `command` as the leader of a session on a new pseudo-terminal. A context manager."""

    def __init__(self, command, env, columns=100, rows=40):
        self.seen = ""  # everything that came, without what expect() has taken
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(command[0], command, env)
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass

    def type(self, text):
        os.write(self.fd, text.encode())

    def _read(self, deadline):
        ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # nobody has the other end open any more
            return False
        self.seen += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def expect(self, pattern, timeout=20):
        """Reads until `pattern` matches; returns the match and forgets all up to its end."""
        deadline = time.monotonic() + timeout
        while not (match := re.search(pattern, self.seen)):
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} did not come; there was {self.seen!r}")
        self.seen = self.seen[match.end():]
        return match

    def rest(self, timeout=20):
        """What comes until the program ends."""
        deadline = time.monotonic() + timeout
        while self._read(deadline):
            pass
        text, self.seen = self.seen, ""
        return text
