"""The journal: what runs did to a cluster, for ``history`` and audit. It reminds; it is never evidence.

One JSON object a line in ``.replctl/journal.jsonl``. No part of a run ever depends on it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import cast

from replctl.execution.state_dir import open_private, readable_state_dir, writable_state_dir
from replctl.model.errors import RefusedError
from replctl.model.outcome import Outcome, StepResult
from replctl.model.values import NodeName, SystemIdentifier

JOURNAL = "journal.jsonl"
OLD_JOURNAL = "journal.jsonl.1"
ROTATE_AT_BYTES = 10 * 1024 * 1024
UNFINISHED = "unfinished"
"""The outcome of a run without an end: it was killed, or still goes on."""


class Event(StrEnum):
    BEGIN = "begin"
    STEP = "step"
    END = "end"


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal. What its event does not have is None."""

    run: str
    time: datetime
    system_identifier: SystemIdentifier | None
    """None while a run does not know it yet: a cluster that is being made."""
    cluster: str
    command: str
    event: Event
    who: str | None = None
    step: str | None = None
    node: NodeName | None = None
    outcome: str | None = None
    exit_code: int | None = None
    ms: float | None = None
    detail: str | None = None
    next: str | None = None
    write_outage_ms: float | None = None


_NUMBERS = ("exit_code", "ms", "write_outage_ms")
_TEXTS = ("system_identifier", "who", "step", "node", "outcome", "detail", "next")


class Journal:
    """Writes the records of one run. What cannot be written is told once by ``warn``, and nothing fails."""

    def __init__(
        self,
        state_dir: Path,
        *,
        run: str,
        cluster: str,
        command: str,
        now: Callable[[], datetime],
        warn: Callable[[str], None],
    ) -> None:
        self._state_dir = state_dir
        self._run = run
        self._cluster = cluster
        self._command = command
        self._now = now
        self._warn: Callable[[str], None] | None = warn
        self._system_identifier: SystemIdentifier | None = None

    def begin(self, who: str, system_identifier: SystemIdentifier | None) -> None:
        """The run starts to change the cluster."""
        self._system_identifier = system_identifier
        self._append(Event.BEGIN, who=who)

    def step(self, result: StepResult) -> None:
        """A step ended, or was taken back."""
        self._append(
            Event.STEP,
            step=result.id,
            node=result.node,
            outcome=result.outcome.value,
            ms=result.ms,
            detail=result.detail or None,
        )

    def end(self, outcome: Outcome, system_identifier: SystemIdentifier | None = None) -> None:
        """The run ended. ``system_identifier`` is that of a cluster that did not exist when the run began."""
        self._system_identifier = self._system_identifier or system_identifier
        self._append(
            Event.END,
            outcome=outcome.kind.value,
            exit_code=int(outcome.exit_code),
            next=outcome.next,
            write_outage_ms=outcome.write_outage_ms,
        )

    def _append(self, event: Event, **values: str | float | None) -> None:
        record: dict[str, str | float | None] = {
            "run": self._run,
            "time": self._now().astimezone(UTC).isoformat(timespec="milliseconds"),
            "system_identifier": self._system_identifier,
            "cluster": self._cluster,
            "command": self._command,
            "event": event.value,
        }
        record |= {key: value for key, value in values.items() if value is not None}
        try:
            _append_line(self._state_dir, json.dumps(record).encode() + b"\n")
        except OSError as error:
            self._warn_once(f"the journal {self._state_dir / JOURNAL} cannot be written: {error.strerror}")

    def _warn_once(self, text: str) -> None:
        warn, self._warn = self._warn, None
        if warn is not None:
            warn(text)


def _append_line(state_dir: Path, line: bytes) -> None:
    # No fsync: steps are recorded while a switchover keeps writes waiting.
    with writable_state_dir(state_dir) as folder:
        _rotate(folder, len(line))
        journal = open_private(folder, JOURNAL, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            os.write(journal, _end_of_torn_line(journal) + line)
        finally:
            os.close(journal)


def _rotate(folder: int, more: int) -> None:
    with suppress(FileNotFoundError):
        if os.stat(JOURNAL, dir_fd=folder, follow_symlinks=False).st_size + more > ROTATE_AT_BYTES:
            os.rename(JOURNAL, OLD_JOURNAL, src_dir_fd=folder, dst_dir_fd=folder)


def _end_of_torn_line(journal: int) -> bytes:
    """A run that died while it wrote must not take the next run's record with it."""
    size = os.fstat(journal).st_size
    return b"\n" if size and os.pread(journal, 1, size - 1) != b"\n" else b""


def read_journal(state_dir: Path, cluster: str, system_identifier: SystemIdentifier | None) -> list[Record]:
    """The records of a cluster, oldest first. None for ``system_identifier`` when it is not known.

    Lines that are torn, and runs on another cluster, are left out. Raises RefusedError when a journal that is
    there cannot be read.
    """
    try:
        text = _read(state_dir)
    except OSError as error:
        raise RefusedError(
            f"the journal in {state_dir} cannot be read: {error.strerror}",
            code="journal",
            hint="Run replctl as the owner of that folder.",
        ) from error
    found = [record for line in text.splitlines() if (record := _parse(line)) is not None]
    foreign = {record.run for record in found if system_identifier and _is_foreign(record, system_identifier)}
    return [record for record in found if record.cluster == cluster and record.run not in foreign]


def _is_foreign(record: Record, system_identifier: SystemIdentifier) -> bool:
    return record.system_identifier not in {None, system_identifier}


def _read(state_dir: Path) -> bytes:
    try:
        with readable_state_dir(state_dir) as folder:
            return _read_file(folder, OLD_JOURNAL) + b"\n" + _read_file(folder, JOURNAL)
    except FileNotFoundError:
        return b""


def _read_file(folder: int, name: str) -> bytes:
    try:
        descriptor = open_private(folder, name, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _parse(line: bytes) -> Record | None:
    try:
        found: object = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    said = cast("dict[str, object]", found)
    try:
        return Record(
            time=datetime.fromisoformat(str(said["time"])).astimezone(UTC),
            event=Event(str(said["event"])),
            run=str(said["run"]),
            cluster=str(said["cluster"]),
            command=str(said["command"]),
            **{name: _text(said.get(name)) for name in _TEXTS},  # pyright: ignore[reportArgumentType]
            **{name: _number(said.get(name)) for name in _NUMBERS},  # pyright: ignore[reportArgumentType]
        )
    except (KeyError, ValueError):
        return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True)
class Run:
    """One run, put together from its records."""

    run: str
    command: str
    who: str
    started: datetime
    ended: datetime | None
    """None for a run that was killed, or that still goes on."""
    outcome: str
    """The outcome's name, or UNFINISHED."""
    exit_code: int | None
    next: str | None
    write_outage_ms: float | None
    steps: tuple[Record, ...]

    @property
    def ms(self) -> float | None:
        """How long the run took, in milliseconds."""
        return None if self.ended is None else (self.ended - self.started).total_seconds() * 1000


def runs_of(records: Iterable[Record]) -> list[Run]:
    """The runs of a journal, oldest first."""
    by_run: dict[str, list[Record]] = {}
    for record in records:
        by_run.setdefault(record.run, []).append(record)
    return sorted((_run(group) for group in by_run.values()), key=lambda run: run.started)


def _run(records: list[Record]) -> Run:
    first = records[0]
    end = next((record for record in records if record.event is Event.END), None)
    return Run(
        run=first.run,
        command=first.command,
        who=first.who or "",
        started=first.time,
        ended=end.time if end else None,
        outcome=(end.outcome if end else None) or UNFINISHED,
        exit_code=end.exit_code if end else None,
        next=end.next if end else None,
        write_outage_ms=end.write_outage_ms if end else None,
        steps=tuple(record for record in records if record.event is Event.STEP),
    )
