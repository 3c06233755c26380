"""Standard output and error that outlive their reader, and the consoles on them."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_NOBODY_READS = {errno.EPIPE, errno.EIO}
"""The pipe's reader has ended; the terminal was closed."""

UNWRAPPED = 4000
"""Columns without a terminal: nothing wraps, so that every line can be searched for."""


class SteadyStream(io.TextIOBase):
    """A text stream that goes quiet once nobody can read it: an undo must not die of a closed terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._go_quiet(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._go_quiet(error)

    def _go_quiet(self, error: OSError) -> None:
        if error.errno not in _NOBODY_READS:
            raise error
        # What the stream still buffers goes there too, at the latest when the interpreter ends.
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, self._stream.fileno())
        os.close(quiet)


@contextmanager
def steady_streams() -> Generator[None]:
    """Standard output and error are steady inside, and can spell every character."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Python has None for a descriptor that was closed before it started.
    sys.stdout, sys.stderr = (cast("TextIO", SteadyStream(stream or io.StringIO())) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def open_console(stream: TextIO) -> Console:
    """A console that reads no markup in what it prints, as much of that comes from other machines."""
    from rich.console import Console  # noqa: PLC0415 - what prints plain text or JSON waits for no Rich

    return Console(
        file=stream,
        width=None if stream.isatty() else UNWRAPPED,
        markup=False,
        emoji=False,
        highlight=False,
    )


def show(console: Console, renderable: RenderableType) -> None:
    """Print; without a terminal, lines end where their text ends."""
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as captured:
        console.print(renderable)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def print_json(document: object) -> None:
    """One document on stdout, indented for people who look at it."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_json_line(document: object) -> None:
    """One document on one line of stdout, written out at once: a pipe's reader waits for it."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
