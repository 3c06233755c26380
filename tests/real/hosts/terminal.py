"""A program under a pseudo-terminal: what the operator sees and types."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Terminal:
    """A running program whose terminal we hold. Its stdout and stderr arrive together, as on a screen."""

    def __init__(
        self, argv: Sequence[str | Path], env: Mapping[str, str], cwd: Path, *, rows: int = 40, columns: int = 120
    ) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # setsid --ctty makes it the controlling terminal, so that Ctrl-C and a hang-up become signals.
        self.program = subprocess.Popen(
            ["setsid", "--ctty", *argv], stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, text: str, timeout: float = 30.0) -> str:
        """Everything seen so far, once ``text`` is in it. Raises AssertionError after ``timeout`` seconds or at the
        end of the program without it."""
        deadline = time.monotonic() + timeout
        while text not in self.seen:
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{text!r} was not seen in: {self.seen}")
        return self.seen

    def type(self, text: str) -> None:
        """Type ``text``; ``\\r`` is the Enter key, ``\\x03`` Ctrl-C."""
        os.write(self._ours, text.encode())

    def end(self, timeout: float = 60.0) -> int:
        """Read to the end of the program; returns its exit code."""
        deadline = time.monotonic() + timeout
        while self._read(deadline - time.monotonic()):
            pass
        return self.program.wait(max(deadline - time.monotonic(), 1.0))

    def hang_up(self) -> None:
        """Close the terminal's window: the program gets SIGHUP, and errors when it writes."""
        if self._ours >= 0:
            os.close(self._ours)
            self._ours = -1

    def close(self) -> None:
        """End the program, whatever it is at."""
        self.hang_up()
        if self.program.poll() is None:
            self.program.send_signal(signal.SIGKILL)
            self.program.wait(10)

    def _read(self, seconds: float) -> bool:
        """Whether more came within ``seconds``."""
        if not select.select([self._ours], [], [], max(seconds, 0))[0]:
            return False
        try:
            piece = os.read(self._ours, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux answers EIO once the program's end is closed
                raise
            return False
        self.seen += piece.decode("utf-8", "replace")
        return bool(piece)
