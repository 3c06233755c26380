"""What every Process promises: commands whose stdin we keep."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from replctl.model.errors import ConnectionLostError, InterruptedByOperator, WaitTimeoutError
from replctl.remote.shell_runner import ShellRunner
from tests.contract.routes import Interrupt, Route, closing, eventually, running

LINE_SECONDS = 5.0


@pytest.fixture
def marker() -> Iterator[str]:
    marker = f"6{uuid.uuid4().int % 10**12:012d}"
    yield marker
    assert eventually(lambda: not running(marker)), "a process was left behind"


def test_a_conversation(runner: ShellRunner) -> None:
    process = runner.spawn(["sh", "-c", 'while read -r line; do echo "got $line"; done; echo end; exit 4'])
    for word in ("one", "two"):
        process.write(f"{word}\n".encode())
        assert process.read_line(LINE_SECONDS) == f"got {word}".encode()
    process.close_stdin()
    assert process.read_line(LINE_SECONDS) == b"end"
    with pytest.raises(EOFError):
        process.read_line(LINE_SECONDS)
    assert process.wait(LINE_SECONDS).status == 4


def test_no_line_in_time(runner: ShellRunner) -> None:
    process = runner.spawn(["cat"])
    started = time.monotonic()
    assert process.read_line(0.2) is None
    assert 0.15 < time.monotonic() - started < 1
    process.write(b"now\n")
    assert process.read_line(LINE_SECONDS) == b"now"
    process.kill()


def test_lines_end_with_lf_or_cr_and_the_last_with_neither(runner: ShellRunner) -> None:
    process = runner.spawn(["printf", "10%%\\r20%%\\rdone\\nrest"])
    assert [process.read_line(LINE_SECONDS) for _ in range(4)] == [b"10%", b"20%", b"done", b"rest"]
    with pytest.raises(EOFError):
        process.read_line(LINE_SECONDS)
    process.kill()


def test_wait_has_what_was_not_read(runner: ShellRunner) -> None:
    process = runner.spawn(["sh", "-c", "echo first; echo second; echo words >&2; exit 7"])
    assert process.read_line(LINE_SECONDS) == b"first"
    result = process.wait(LINE_SECONDS)
    assert (result.status, result.stdout, result.stderr) == (7, b"second\n", b"words\n")


def test_wait_leaves_the_process_as_it_is(runner: ShellRunner, marker: str) -> None:
    process = runner.spawn(["sleep", marker])
    with pytest.raises(WaitTimeoutError):
        process.wait(0.2)
    assert running(marker)
    process.kill()
    assert running(marker) == []


def test_kill_ends_the_children_too(runner: ShellRunner, marker: str) -> None:
    process = runner.spawn(["sh", "-c", f"sleep {marker} & echo up; wait"])
    assert process.read_line(LINE_SECONDS) == b"up"
    process.kill()
    assert running(marker) == []
    process.kill()


def test_kill_takes_a_second_for_what_ignores_sigterm(runner: ShellRunner, marker: str) -> None:
    process = runner.spawn(["sh", "-c", f"trap '' TERM; echo up; while :; do sleep {marker} & wait; done"])
    assert process.read_line(LINE_SECONDS) == b"up"
    started = time.monotonic()
    process.kill()
    assert time.monotonic() - started < 4
    assert eventually(lambda: not running(marker))


def test_the_end_of_stdin_ends_a_reader(runner: ShellRunner) -> None:
    process = runner.spawn(["sh", "-c", "cat >/dev/null; echo closed"])
    process.close_stdin()
    assert process.read_line(LINE_SECONDS) == b"closed"
    assert process.wait(LINE_SECONDS).status == 0


def test_writing_to_what_has_ended(runner: ShellRunner) -> None:
    process = runner.spawn(["true"])
    with pytest.raises(EOFError):
        process.read_line(LINE_SECONDS)
    with pytest.raises(ConnectionLostError):
        process.write(b"x")
    process.kill()


def test_a_long_wait_is_interruptible(route: Route, marker: str) -> None:
    interrupt = Interrupt()
    with closing(route.open(interrupt)) as runner:
        process = runner.spawn(["sleep", marker])
        interrupt.now = True
        with pytest.raises(InterruptedByOperator):
            process.read_line(30)
        with pytest.raises(InterruptedByOperator):
            process.wait(30)
        process.kill()
        assert running(marker) == []
