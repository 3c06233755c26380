"""``--timings``: how long each step and each phase around the steps took, and on how many calls."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from replctl.cli.progress import HERE, Display
from replctl.cli.step_words import step_word
from replctl.cli.text import escape
from replctl.execution.session import Awaited, Phase
from replctl.model.outcome import StepOutcome, StepResult
from replctl.model.plan import Step
from replctl.model.values import NodeName
from replctl.remote.ports import Clock
from replctl.remote.tracing import Call, Kind

PHASE, STEP = "phase", "step"
CONNECT, UNDO, OTHER = "connect", "undo", "other"
"""Parts that are no Phase: the longest SSH connection, a part of ``observe``; what was taken back; the rest."""


@dataclass(slots=True)
class Part:
    """One step, or all the times that one phase was gone through."""

    kind: str
    name: str
    node: NodeName | None
    times: int = 0
    ms: float = 0.0
    commands: int = 0
    statements: int = 0


class Timings:
    """Adds up, told by several threads. A call belongs to the step or phase in whose context it is made."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.now()
        self._parts: dict[tuple[str, str, NodeName | None], Part] = {}
        self._current: ContextVar[Part | None] = ContextVar("part", default=None)
        self._rest = OTHER
        self._turn = threading.Lock()
        self.told = False
        """The document that a command printed has them."""

    def heard(self, call: Call) -> None:
        """Counted when it begins: one that hangs counts too."""
        if call.ms is None and call.kind in (Kind.COMMAND, Kind.STATEMENT):
            self._count(call.kind)
        elif call.ms is not None and call.kind is Kind.SSH:
            self._connected(call.node, call.ms)

    def _count(self, kind: Kind) -> None:
        part = self._current.get() or self._part(PHASE, self._rest, None)
        with self._turn:
            part.commands += kind is Kind.COMMAND
            part.statements += kind is Kind.STATEMENT

    def _connected(self, node: NodeName, ms: float) -> None:
        with self._turn:
            longest = self._parts.setdefault((PHASE, CONNECT, None), Part(PHASE, CONNECT, None))
            longest.times += 1
            if ms >= longest.ms:
                longest.ms, longest.node = ms, node

    def _part(self, kind: str, name: str, node: NodeName | None) -> Part:
        with self._turn:
            return self._parts.setdefault((kind, name, node), Part(kind, name, node))

    @contextmanager
    def phase(self, phase: Phase) -> Generator[None]:
        part, began = self._part(PHASE, phase.value, None), self._clock.now()
        token = self._current.set(part)
        try:
            yield
        finally:
            self._current.reset(token)
            self._took(part, (self._clock.now() - began) * 1000)

    def _took(self, part: Part, ms: float) -> None:
        with self._turn:
            part.times += 1
            part.ms += ms

    def step_started(self, step: Step) -> None:
        self._current.set(self._part(STEP, step.id, step.node))

    def step_ended(self, result: StepResult) -> None:
        self._current.set(None)
        if result.outcome in (StepOutcome.UNDONE, StepOutcome.UNDO_FAILED):
            part = self._part(PHASE, UNDO, None)
        else:
            part = self._part(STEP, result.id, result.node)
        if result.outcome is StepOutcome.FAILED:
            self._rest = UNDO
        self._took(part, result.ms or 0.0)

    def parts(self) -> list[Part]:
        """Phases in the order in which they came, then steps, each with its node."""
        with self._turn:
            parts = list(self._parts.values())
        return sorted(parts, key=lambda part: part.kind)

    @property
    def total_ms(self) -> float:
        return (self._clock.now() - self._began) * 1000

    def document(self) -> dict[str, Any]:
        """The field ``timings`` of a JSON document. Times are in milliseconds."""
        self.told = True
        parts = [
            {
                "kind": part.kind,
                "name": part.name,
                "node": part.node,
                "times": part.times,
                "ms": round(part.ms, 1),
                "commands": part.commands,
                "statements": part.statements,
            }
            for part in self.parts()
        ]
        return {"timings": {"total_ms": round(self.total_ms, 1), "parts": parts}}


class Timed:
    """A display of steps and phases that are timed as well. Implements session.Reporter and session.Phases."""

    def __init__(self, display: Display, timings: Timings) -> None:
        self._display = display
        self._timings = timings

    @contextmanager
    def phase(self, phase: Phase, nodes: Iterable[NodeName] = ()) -> Generator[Awaited]:
        with self._timings.phase(phase), self._display.phase(phase, nodes) as awaited:
            yield awaited

    def step_started(self, step: Step) -> None:
        self._timings.step_started(step)
        self._display.step_started(step)

    def step_says(self, step: Step, text: str) -> None:
        self._display.step_says(step, text)

    def step_copied(self, step: Step, done_bytes: int, total_bytes: int | None) -> None:
        self._display.step_copied(step, done_bytes, total_bytes)

    def step_ended(self, result: StepResult) -> None:
        self._timings.step_ended(result)
        self._display.step_ended(result)

    def warn(self, text: str) -> None:
        self._display.warn(text)


def timings_renderable(timings: Timings) -> RenderableType:
    """The table. A connection is a part of the look that needed it, and so is never marked as the longest."""
    parts, total = timings.parts(), timings.total_ms
    longest = max((part for part in parts if part.name != CONNECT), key=lambda part: part.ms, default=None)
    table = Table(
        Column("WHAT", no_wrap=True),
        Column("NODE", no_wrap=True),
        Column("TOOK", no_wrap=True, justify="right"),
        Column("COMMANDS", no_wrap=True, justify="right"),
        Column("SQL", no_wrap=True, justify="right"),
        Column("", no_wrap=True),
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold dim",
    )
    for part in parts:
        table.add_row(*_row(part), Text("longest" if part is longest else ""), style="bold" if part is longest else "")
    commands, statements = sum(part.commands for part in parts), sum(part.statements for part in parts)
    table.add_row("total", "", f"{total:.0f} ms", str(commands), str(statements), style="dim")
    return Group(Text(), Text("timings", "bold"), table)


def _row(part: Part) -> list[Text]:
    name = step_word(part.name, part.node) if part.kind == STEP else part.name
    times = f" ({part.times} times)" if part.kind == PHASE and part.times > 1 and part.name != CONNECT else ""
    where = part.node or (HERE if part.kind == STEP else "")
    counts = ("", "") if part.name == CONNECT else (str(part.commands), str(part.statements))
    return [Text(escape(f"{name}{times}")), Text(where), Text(f"{part.ms:.0f} ms"), *map(Text, counts)]
