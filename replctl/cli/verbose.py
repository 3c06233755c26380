"""What runs where, as the adapters tell it: on stderr with --verbose, in a file with --log-file.

Secrets are no part of what they tell.
"""

from __future__ import annotations

import errno
import logging
import os
import shlex
import stat
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, cast

from replctl import __version__
from replctl.cli.options import Tracing
from replctl.cli.text import escape
from replctl.model.errors import UsageError
from replctl.remote.tracing import CALLS, Call

Heard = Callable[[Call], None]


class Listener(logging.Handler):
    """Passes on each call, once when it begins and once when it has ended."""

    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.DEBUG)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        call: object = getattr(record, "call", None)
        if isinstance(call, Call):
            self._heard(call)


@contextmanager
def heard_by(heard: Heard) -> Generator[None]:
    """While it is open, ``heard`` is told of every call, from the thread that makes it."""
    logger, listener = logging.getLogger(CALLS), Listener(heard)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(before)


@contextmanager
def traced_as(tracing: Tracing, warn: Callable[[str], None]) -> Generator[None]:
    """Show and keep the calls as the options say. Raises UsageError for a file that cannot be written to."""
    with ExitStack() as stack:
        if tracing.verbose:
            stack.enter_context(heard_by(show_call))
        if tracing.log_file is not None:
            log = stack.enter_context(closing(LogFile(tracing.log_file, warn)))
            stack.enter_context(heard_by(log.heard))
        yield


def show_call(call: Call) -> None:
    """One line on stderr, when the call begins."""
    if call.ms is None:
        sys.stderr.write(f"{escape(f'{call.node}{call.kind.value} {call.text}')}\n")


class LogFile:
    """Appends one line a call, when it has ended: the UTC time at which it began, node, milliseconds, what it was."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Raises UsageError. The file is made with mode 0600; of one that is there the mode stays."""
        self._path = path
        self._warn = warn
        self._file: BinaryIO | None = _opened(path)
        self._open: dict[int, Call] = {}
        command = shlex.join(["replctl", *sys.argv[1:]])
        self._write(f"{_time(datetime.now(UTC))} {command} (replctl {__version__}, process {os.getpid()})")

    def heard(self, call: Call) -> None:
        if call.ms is None:
            self._open[id(call)] = call
        elif self._open.pop(id(call), None) is not None:
            self._write(_line(call))

    def close(self) -> None:
        """What was left behind to its thread is told as well: nobody knows how it ended."""
        for call in list(self._open.values()):
            self._write(_line(call))
        self._open.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: str) -> None:
        """One write a line: several runs may append to one file."""
        if self._file is None:
            return
        try:
            self._file.write(f"{escape(line)}\n".encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._file.close()
            self._file = None
            self._warn(f"{self._path}: the log ends here: {(error.strerror or 'unknown reason').lower()}")


def _opened(path: Path) -> BinaryIO:
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        # A pipe that nobody reads is there, and cannot be opened.
        reason = "is no plain file" if error.errno == errno.ENXIO else (error.strerror or "unknown reason").lower()
        raise _unusable(path, reason) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _unusable(path, "is no plain file")
    return cast("BinaryIO", os.fdopen(file, "ab", buffering=0))


def _unusable(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"--log-file {path}: {reason}", hint="Name a file in a folder that you may write to.", code="log-file"
    )


def _line(call: Call) -> str:
    took = "unfinished" if call.ms is None else f"{call.ms:.1f} ms"
    remark = f"  [{call.remark}]" if call.remark else ""
    return f"{_time(call.began)} {call.node} {took} {call.kind.value} {call.text}{remark}"


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
