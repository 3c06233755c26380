"""What changed between one look and the next: figures over time, their direction, and events. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from replctl.model.facts import ClusterFacts
from replctl.model.report import NodeReport, NodeRole, StatusReport
from replctl.model.values import Lsn, NodeName

KEPT = 240
"""Looks that are remembered; a screen shows as many as fit."""
EVENTS_KEPT = 50
BARS, PLAIN_BARS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
STEADY = 0.1
"""A change by less than this share of the larger figure is none."""


class Direction:
    """Arrows of a figure's way, by what the terminal can show."""

    UP, DOWN, LEVEL = ("↑", "^"), ("↓", "v"), ("→", "-")


def sparkline(values: Sequence[int | None], width: int, bars: str = BARS) -> str:
    """The last ``width`` values as bars between 0 and their largest; a blank is unknown."""
    shown = values[-width:]
    top = max((value for value in shown if value is not None), default=0)
    return "".join(" " if value is None else bars[_height(value, top, len(bars))] for value in shown)


def _height(value: int, top: int, heights: int) -> int:
    """The lowest bar is zero, and nothing but zero."""
    return 0 if value <= 0 else 1 + (heights - 2) * value // top


def direction(values: Sequence[int | None]) -> tuple[str, str]:
    """Where the last values lead, beside those before them: an arrow, and its plain form."""
    known = [value for value in values[-10:] if value is not None]
    half = len(known) // 2
    if half == 0:
        return Direction.LEVEL
    before, after = sum(known[:half]) / half, sum(known[-half:]) / half
    if abs(after - before) <= STEADY * max(before, after):
        return Direction.LEVEL
    return Direction.UP if after > before else Direction.DOWN


@dataclass(slots=True)
class Trends:
    """The looks so far, as a screen shows them."""

    lag: dict[NodeName, deque[int | None]] = field(default_factory=dict[NodeName, "deque[int | None]"])
    """Unreplayed bytes of each replica."""
    wal: deque[int | None] = field(default_factory=lambda: deque[int | None](maxlen=KEPT))
    """Bytes of WAL a second, between one look and the next."""
    events: deque[tuple[str, str]] = field(default_factory=lambda: deque[tuple[str, str]](maxlen=EVENTS_KEPT))
    """Time of day and what happened, oldest first."""
    _last: StatusReport | None = None
    _position: tuple[NodeName, Lsn, float] | None = None

    def add(self, facts: ClusterFacts, report: StatusReport, *, at: float, time_of_day: str) -> None:
        """One more look; ``at`` in seconds of a clock that only goes forward."""
        for node in report.nodes:
            if node.role is NodeRole.REPLICA or node.name in self.lag:
                self.lag.setdefault(node.name, deque(maxlen=KEPT)).append(node.unreplayed_bytes)
        self.wal.append(self._wal_rate(facts, at))
        if self._last is not None:
            self.events.extend((time_of_day, event) for event in events_between(self._last, report))
        self._last = report

    def _wal_rate(self, facts: ClusterFacts, at: float) -> int | None:
        before, primary = self._position, facts.primary
        self._position = (primary.node, primary.current, at) if primary else None
        if primary is None or before is None or before[0] != primary.node or at <= before[2]:
            return None
        return max(0, round((primary.current - before[1]) / (at - before[2])))


def events_between(before: StatusReport, now: StatusReport) -> Iterator[str]:
    """What an operator would want to have seen: roles, states, the env file, the primary and health. What matters most
    comes last: the newest is shown first."""
    earlier = {node.name: node for node in before.nodes}
    for node in now.nodes:
        yield from _node_events(earlier[node.name], node)
    if before.health is not now.health:
        yield f"health: {before.health} -> {now.health}"
    if before.primary != now.primary:
        yield f"primary: {before.primary or 'unknown'} -> {now.primary or 'unknown'}"


def _node_events(before: NodeReport, now: NodeReport) -> Iterator[str]:
    if before.role is not now.role:
        yield f"{now.name}: {before.role} -> {now.role}"
    if before.state is not now.state:
        yield f"{now.name}: {before.state} -> {now.state}"
    if before.upstream != now.upstream and before.upstream and now.upstream:
        yield f"{now.name}: streams from {now.upstream}, no longer from {before.upstream}"
    if before.in_env is not now.in_env and None not in (before.in_env, now.in_env):
        yield f"{now.name}: {'listed in' if now.in_env else 'left out of'} the env file"
    was, is_now = before.slot, now.slot
    if was and is_now and was.active is not is_now.active:
        yield f"{now.name}: its slot is {'used again' if is_now.active else 'idle: nobody takes its WAL'}"
