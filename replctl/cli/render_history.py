"""``replctl history``: the journal as a table of runs, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from replctl.cli.step_words import KIND_STYLES
from replctl.cli.text import escape, human_duration
from replctl.execution.journal import UNFINISHED, Record, Run
from replctl.model.outcome import OutcomeKind

_STYLES: dict[str, str] = {kind.value: style for kind, style in KIND_STYLES.items()} | {UNFINISHED: "bold yellow"}


def history_renderable(runs: Sequence[Run]) -> RenderableType:
    """Runs, the newest last. Times are UTC."""
    if not runs:
        return Text("no run is recorded")
    table = Table(
        Column("TIME (UTC)", no_wrap=True),
        Column("OUTCOME", no_wrap=True),
        Column("TOOK", no_wrap=True, justify="right"),
        Column("WHO", overflow="fold"),
        Column("COMMAND", overflow="fold"),
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold dim",
    )
    for run in runs:
        table.add_row(*_row(run))
    return table


def _row(run: Run) -> list[Text]:
    return [
        Text(run.started.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")),
        Text(escape(run.outcome), _STYLES.get(run.outcome, "")),
        Text("-" if run.ms is None else human_duration(run.ms)),
        Text(escape(run.who)),
        Text(escape(run.command), "bold" if run.outcome != OutcomeKind.UNCHANGED else ""),
    ]


def history_document(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The runs, the newest last. Times are ISO 8601 in UTC, durations in milliseconds."""
    return [_run(run) for run in runs]


def _run(run: Run) -> dict[str, Any]:
    return {
        "run": run.run,
        "started": run.started.isoformat(),
        "ended": run.ended.isoformat() if run.ended else None,
        "command": run.command,
        "who": run.who,
        "outcome": run.outcome,
        "exit_code": run.exit_code,
        "ms": run.ms,
        "write_outage_ms": run.write_outage_ms,
        "next": run.next,
        "steps": [_step(record) for record in run.steps],
    }


def _step(record: Record) -> dict[str, Any]:
    return {
        "time": record.time.isoformat(),
        "id": record.step,
        "node": record.node,
        "outcome": record.outcome,
        "ms": record.ms,
        "detail": record.detail,
    }
