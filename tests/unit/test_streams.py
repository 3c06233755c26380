"""Output that nobody reads any more is no error."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest

from replctl.cli.streams import SteadyStream, open_console, show


def test_a_closed_terminal_is_no_error() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", buffering=1) as stream:
        steady = SteadyStream(stream)
        os.close(master)
        for _ in range(3):
            steady.write("undoing\n")
            steady.flush()


def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        steady = SteadyStream(stream)
        assert steady.write("text" * 10_000) == 40_000
        steady.flush()
        steady.write("more")


def test_a_full_disk_is_one() -> None:
    with open("/dev/full", "w") as stream, pytest.raises(OSError, match="No space left"):  # noqa: PTH123
        SteadyStream(stream).write("text" * 10_000)


def test_it_looks_like_what_it_wraps() -> None:
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stream:
        steady = SteadyStream(stream)
        assert (steady.fileno(), steady.encoding, steady.isatty()) == (stream.fileno(), "utf-8", stream.isatty())
        assert steady.writable()


def test_lines_end_where_their_text_ends() -> None:
    out = io.StringIO()
    show(open_console(out), "[bold]text[/bold]   ")
    assert out.getvalue() == "[bold]text[/bold]\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_descriptors_closed_from_the_start_are_no_error(closed: str) -> None:
    script = (
        "from replctl.cli.exits import run_command; from replctl.model.errors import *\n"
        "def body():\n    print('x'); raise RefusedError('no', hint='Do.')\n"
        "raise SystemExit(run_command(body))"
    )
    ended = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, script], check=False)
    assert ended.returncode == 3
