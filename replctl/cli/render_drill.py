"""A drill in words: what one has just measured, and the line of the status about the last one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.text import Text

from replctl.cli.text import escape, human_duration, wrapped
from replctl.model.drill import DrillReport, LastDrill

UNKNOWN = "an unknown time"


def drill_rows(drill: DrillReport) -> Iterator[tuple[str, str, str]]:
    """Label, text and the label's style."""
    there, back = drill.write_outage_ms
    yield "writes:", f"were down for {_time(there)} on the way to {drill.to}, for {_time(back)} on the way back", "bold"
    if drill.read_outage_ms is not None:
        yield "reads:", f"were answered all the time but for {_time(drill.read_outage_ms)} at the longest", "bold"
    yield "rows:", f"{drill.rows} acknowledged, {_fate(drill)}", "bold red" if drill.lost or drill.twice else "bold"


def _fate(drill: DrillReport) -> str:
    if drill.lost is None or drill.twice is None:
        return "and nobody could be asked for them"
    lost = f"{drill.lost} LOST" if drill.lost else "none lost"
    return f"{lost}, {drill.twice or 'none'} written twice"


def _time(ms: float | None) -> str:
    return UNKNOWN if ms is None else human_duration(ms)


def drill_line(drill: LastDrill, width: int) -> Text:
    """One sentence for ``width`` columns."""
    there, back = (human_duration(ms) for ms in drill.write_outage_ms)
    reads = "" if drill.read_outage_ms is None else f", reads for {human_duration(drill.read_outage_ms)}"
    rows = f"{drill.rows} rows, {f'{drill.lost} LOST' if drill.lost else 'none lost'}"
    at = f"{datetime.fromisoformat(drill.at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    line = f"last drill {at} to {escape(drill.to)} and back: writes down for {there} and {back}{reads}; {rows}"
    return Text(wrapped(line, width), "bold red" if drill.lost else "")
