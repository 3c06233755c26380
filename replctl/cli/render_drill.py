"""A drill in words: what one has just measured, and the line of the status about the last one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.text import Text

from replctl.cli.text import escape, human_duration, wrapped
from replctl.model.drill import DrillReport, LastDrill


def drill_rows(drill: DrillReport) -> Iterator[tuple[str, str, str]]:
    """Label, text and the label's style."""
    there, back = drill.write_outage_ms
    ways = ((there, f"on the way to {drill.to}"), (back, "on the way back"))
    if seen := [f"for {human_duration(ms)} {way}" for ms, way in ways if ms is not None]:
        yield "writes:", f"were down {', '.join(seen)}", "bold"
    if drill.read_outage_ms is not None:
        yield (
            "reads:",
            f"were answered all the time but for {human_duration(drill.read_outage_ms)} at the longest",
            "bold",
        )
    yield "rows:", f"{drill.rows} acknowledged, {_fate(drill)}", "bold red" if drill.lost or drill.twice else "bold"


def _fate(drill: DrillReport) -> str:
    if drill.lost is None or drill.twice is None:
        return "and they could not be read back"
    lost = f"{drill.lost} LOST" if drill.lost else "none lost"
    return f"{lost}, {drill.twice or 'none'} written twice"


def drill_line(drill: LastDrill, width: int) -> Text:
    """One line, or where ``width`` columns are too few for it, one for the proof and one for the figures."""
    there, back = (human_duration(ms) for ms in drill.write_outage_ms)
    reads = "" if drill.read_outage_ms is None else f", reads for {human_duration(drill.read_outage_ms)}"
    rows = f"{drill.rows} rows, {f'{drill.lost} LOST' if drill.lost else 'none lost'}"
    at = f"{datetime.fromisoformat(drill.at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    proof = f"last drill {at} to {escape(drill.to)} and back: {rows};"
    figures = f"writes were down for {there} and {back}{reads}"
    one = f"{proof} {figures}"
    return Text(one if len(one) <= width else f"{wrapped(proof, width)}\n{wrapped(figures, width)}", _style(drill))


def _style(drill: LastDrill) -> str:
    return "bold red" if drill.lost else ""
