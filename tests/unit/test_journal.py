"""The journal: what is written, what is read back, and that it never stands in the way."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from replctl.execution import journal as module
from replctl.execution.journal import UNFINISHED, Event, Journal, read_journal, runs_of
from replctl.model.errors import ExitCode, RefusedError
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome, StepResult
from replctl.model.values import NodeName, SystemIdentifier

ID = SystemIdentifier("7277")
NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
DONE = Outcome("add-replica", "chat", OutcomeKind.DONE, ExitCode.DONE, next="replctl status", write_outage_ms=12.5)
STEP = StepResult("clone:db2", NodeName("db2"), "why", StepOutcome.FAILED, 12.5, "disk full")


class Warnings(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


def a_journal(folder: Path, run: str = "r1", warn: Warnings | None = None, after: float = 0.0) -> Journal:
    return Journal(
        folder / ".replctl",
        run=run,
        cluster="chat",
        command="replctl add-replica db2",
        now=lambda: NOON + timedelta(seconds=after),
        warn=warn if warn is not None else Warnings(),
    )


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.begin("alice@ops1", ID)
    journal.step(STEP)
    journal.end(DONE)
    begin, step, end = read_journal(tmp_path / ".replctl", "chat", ID)
    assert (begin.event, begin.who, begin.time, begin.run) == (Event.BEGIN, "alice@ops1", NOON, "r1")
    assert (step.step, step.node, step.outcome, step.ms, step.detail) == (
        "clone:db2",
        "db2",
        "failed",
        12.5,
        "disk full",
    )
    assert (end.outcome, end.exit_code, end.next, end.write_outage_ms) == ("done", 0, "replctl status", 12.5)
    assert {record.command for record in (begin, step, end)} == {"replctl add-replica db2"}


def test_folder_and_file_are_their_owners_alone(tmp_path: Path) -> None:
    (tmp_path / ".replctl").mkdir(mode=0o755)
    a_journal(tmp_path).begin("alice@ops1", ID)
    assert (tmp_path / ".replctl").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / ".replctl" / "journal.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_new_clusters_identifier_is_filled_in_at_the_end(tmp_path: Path) -> None:
    journal = a_journal(tmp_path)
    journal.begin("alice@ops1", None)
    journal.end(DONE, ID)
    assert [record.system_identifier for record in read_journal(tmp_path / ".replctl", "chat", ID)] == [None, ID]
    assert read_journal(tmp_path / ".replctl", "chat", SystemIdentifier("1")) == []


def test_torn_foreign_and_odd_lines_are_left_out(tmp_path: Path) -> None:
    a_journal(tmp_path).begin("alice@ops1", ID)
    file = tmp_path / ".replctl" / "journal.jsonl"
    good = json.loads(file.read_text())
    odd = [
        "[1]",
        "nonsense",
        "{}",
        json.dumps(good | {"cluster": "other"}),
        json.dumps(good | {"run": "r9", "system_identifier": "1"}),
        json.dumps(good | {"time": "yesterday"}),
        json.dumps(good | {"event": "explosion"}),
        json.dumps(good | {"run": "r2", "ms": "soon", "who": 7, "later_field": 1}),
    ]
    with file.open("a") as out:
        out.write("\n".join(odd) + '\n{"run": "r3", "ti')
    first, second = read_journal(tmp_path / ".replctl", "chat", ID)
    assert first.run == "r1"
    assert (second.run, second.ms, second.who) == ("r2", None, "7")


def test_a_torn_line_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    a_journal(tmp_path).begin("alice@ops1", ID)
    with (tmp_path / ".replctl" / "journal.jsonl").open("a") as out:
        out.write('{"run": "r2", "ti')
    a_journal(tmp_path, "r3").begin("bob@ops2", ID)
    assert [record.run for record in read_journal(tmp_path / ".replctl", "chat", ID)] == ["r1", "r3"]


def test_it_rotates_and_keeps_one_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROTATE_AT_BYTES", 1000)
    for number in range(12):
        a_journal(tmp_path, f"r{number}").begin("alice@ops1", ID)
    folder = tmp_path / ".replctl"
    assert sorted(path.name for path in folder.iterdir()) == ["journal.jsonl", "journal.jsonl.1"]
    assert all(path.stat().st_size <= 1000 for path in folder.iterdir())
    kept = [record.run for record in read_journal(folder, "chat", ID)]
    assert kept == [f"r{number}" for number in range(12 - len(kept), 12)]


def test_runs_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for _ in range(20):
            a_journal(tmp_path, name).step(STEP)

    threads = [threading.Thread(target=write, args=(f"r{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_journal(tmp_path / ".replctl", "chat", None)) == 80


@pytest.mark.parametrize("hindrance", ["file", "symlink"])
def test_a_journal_that_cannot_be_written_is_one_warning(tmp_path: Path, hindrance: str) -> None:
    if hindrance == "file":
        (tmp_path / ".replctl").write_text("")
    else:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / ".replctl").symlink_to("elsewhere")
    warn = Warnings()
    journal = a_journal(tmp_path, warn=warn)
    journal.begin("alice@ops1", ID)
    journal.step(STEP)
    journal.end(DONE)
    assert len(warn) == 1
    assert "cannot be written" in warn[0]


def test_a_journal_that_is_not_there_is_empty_and_stays_away(tmp_path: Path) -> None:
    assert read_journal(tmp_path / ".replctl", "chat", ID) == []
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".replctl").write_text("")
    with pytest.raises(RefusedError, match="cannot be read"):
        read_journal(tmp_path / ".replctl", "chat", ID)


def test_runs_are_put_together(tmp_path: Path) -> None:
    killed = a_journal(tmp_path, "r1")
    killed.begin("alice@ops1", ID)
    killed.step(STEP)
    a_journal(tmp_path, "r2", after=60).begin("bob@ops2", ID)
    a_journal(tmp_path, "r2", after=65).end(DONE)
    first, second = runs_of(read_journal(tmp_path / ".replctl", "chat", ID))
    assert (first.outcome, first.ended, first.ms, len(first.steps)) == (UNFINISHED, None, None, 1)
    assert (second.outcome, second.who, second.ms, second.exit_code) == ("done", "bob@ops2", 5000.0, 0)
