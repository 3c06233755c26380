"""What --verbose shows and --log-file keeps of every call: all of them, how long they took, and no secret."""

from __future__ import annotations

import os
import pwd
import re
import stat
from pathlib import Path

import pytest
from psycopg import sql

from replctl.cli.options import Tracing
from replctl.cli.verbose import LogFile, heard_by, traced_as
from replctl.model.errors import CommandFailedError, UsageError, WaitTimeoutError
from replctl.model.secret import Secret
from replctl.model.values import NodeName
from replctl.remote.local import LocalShells
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.sql import shown
from replctl.remote.tracing import Call, Kind, traced
from replctl.remote.waiting import NeverCancelled, SystemClock

DB1 = NodeName("db1")
LINE = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) db1 (?P<took>\d+\.\d ms|unfinished) (?P<call>.*)")


@pytest.fixture
def runner():
    runner = ShellRunner(LocalShells(DB1), pwd.getpwuid(os.geteuid()).pw_name, SystemClock(), NeverCancelled())
    yield runner
    runner.close()


def nobody(warning: str) -> None:
    raise AssertionError(warning)


def calls_of(path: Path) -> list[str]:
    """What stands behind time, node and duration; the first line is the command line."""
    first, *rest = path.read_text().splitlines()
    assert re.match(r"\d{4}-\S+Z replctl ", first)
    found = [LINE.fullmatch(line) for line in rest]
    assert None not in found, rest
    return [line["call"] for line in found if line is not None]


def test_every_call_has_a_line_once_it_has_ended(runner: ShellRunner, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with traced_as(Tracing(log_file=log), nobody):
        runner.run(("printf", "%s", "two\nlines"), timeout=10)
        runner.run(("false",), timeout=10, check=False)
        with pytest.raises(CommandFailedError):
            runner.run(("sh", "-c", "exit 3"), timeout=10)
        with pytest.raises(WaitTimeoutError):
            runner.run(("sleep", "60"), timeout=0.2)
        process = runner.spawn(("cat",))
        process.close_stdin()
        process.wait(10)
        runner.spawn(("sleep", "61")).kill()
        with traced(DB1, Kind.STATEMENT, lambda: shown("select\n  1")):
            pass
    told = calls_of(log)
    assert told[:3] == ["$ printf %s 'two lines'", "$ false  [status 1]", "$ sh -c 'exit 3'  [status 3]"]
    assert told[3].startswith("$ /bin/sh -c 'kill -s TERM")
    assert told[4] == "$ sleep 60  [failed: timeout]"
    assert told[5] == "$ cat"
    assert told[-2] == "$ sleep 61  [ended by replctl]"
    assert told[-1] == "> select 1"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_secrets_are_in_no_line(runner: ShellRunner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    with traced_as(Tracing(verbose=True, log_file=log), nobody):
        runner.run(("cat",), stdin=Secret("hunter2"), timeout=10)
        with traced(
            DB1,
            Kind.STATEMENT,
            lambda: shown(
                sql.SQL("alter role {} password {}").format(
                    sql.Identifier("app"), sql.Literal("SCRAM-SHA-256$4096:abc")
                )
            ),
        ):
            pass
    said = capsys.readouterr().err
    assert 'db1> alter role "app" password ...\n' in said
    assert "db1$ cat\n" in said
    for text in (said, log.read_text()):
        assert "hunter2" not in text
        assert "SCRAM" not in text


def test_a_log_is_appended_to_and_its_mode_stays(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("what was there\n")
    log.chmod(0o640)
    for _ in range(2):
        with traced_as(Tracing(log_file=log), nobody):
            traced(DB1, Kind.COMMAND, lambda: "true").end()
    lines = log.read_text().splitlines()
    assert lines[0] == "what was there"
    assert [line.partition(" ")[2].partition(" (")[0][:7] for line in lines[1::2]] == ["replctl", "replctl"]
    assert len(lines) == 5
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


def test_what_was_left_behind_is_unfinished(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with traced_as(Tracing(log_file=log), nobody):
        left = traced(DB1, Kind.COMMAND, lambda: "sleep 1000")
    left.end()
    assert calls_of(log) == ["$ sleep 1000"]
    assert " db1 unfinished $ " in log.read_text()


@pytest.mark.parametrize("make", ["folder", "missing", "pipe", "below a file"])
def test_a_file_that_cannot_be_written_to_is_a_usage_error(tmp_path: Path, make: str) -> None:
    path = tmp_path / "log"
    if make == "folder":
        path.mkdir()
    elif make == "missing":
        path = tmp_path / "nowhere/log"
    elif make == "pipe":
        os.mkfifo(path)
    else:
        path.touch()
        path /= "log"
    with pytest.raises(UsageError, match="--log-file") as caught, traced_as(Tracing(log_file=path), nobody):
        raise AssertionError
    assert caught.value.exit_code == 2


def test_a_full_disk_ends_the_log_with_a_warning_and_nothing_else(tmp_path: Path) -> None:
    said: list[str] = []
    log = LogFile(tmp_path / "log", said.append)
    assert log._file is not None
    log._file.close()
    log._file = os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)
    with heard_by(log.heard):
        for _ in range(3):
            traced(DB1, Kind.COMMAND, lambda: "true").end()
    log.close()
    assert len(said) == 1
    assert "the log ends here: no space left on device" in said[0]


def test_nobody_who_listens_costs_nothing() -> None:
    def text() -> str:
        raise AssertionError

    with traced(DB1, Kind.STATEMENT, text) as call:
        pass
    assert call.ms is not None


def test_listeners_are_gone_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[Call] = []
    for _ in range(2):
        with heard_by(heard.append), traced_as(Tracing(verbose=True), nobody):
            traced(DB1, Kind.SSH, lambda: "SSH to db1").end()
    traced(DB1, Kind.SSH, lambda: "SSH to db1").end()
    assert len(heard) == 4
    assert capsys.readouterr().err == "db1@ SSH to db1\n" * 2
