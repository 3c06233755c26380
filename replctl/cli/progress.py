"""How a run goes, on stderr: a live display on a terminal, lines elsewhere, warnings alone with ``-o json``."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

from replctl.cli.copying import CopyMeter, copy_text
from replctl.cli.render_error import warning
from replctl.cli.step_words import OUTCOME_WORDS, step_word
from replctl.cli.text import escape, human_duration
from replctl.cli.waiting_screen import WaitingScreen
from replctl.execution.session import Awaited, Phase, Unwatched
from replctl.model.outcome import StepOutcome, StepResult
from replctl.model.plan import Step
from replctl.model.values import NodeName
from replctl.remote.ports import Clock

STEP_WIDTH = 16
"""Columns; the longest step is ``role-replication``."""
QUIET_SECONDS = 2.0
"""Between two lines about one step without a terminal."""
HERE = "here"
"""The operator's own machine, in the place of a node."""


def node_width(nodes: Iterable[NodeName]) -> int:
    return max((len(name) for name in (*nodes, HERE)), default=0)


def end_words(result: StepResult) -> str:
    words = OUTCOME_WORDS[result.outcome]
    if result.ms is not None and result.outcome is not StepOutcome.UNCHANGED:
        words += f" in {human_duration(result.ms)}"
    return f"{words}: {escape(result.detail)}" if result.detail else words


class QuietReporter:
    """Warnings alone: stdout is a program's, and stderr stays short."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._turn = threading.RLock()

    def phase(self, phase: Phase, nodes: Iterable[NodeName] = ()) -> AbstractContextManager[Awaited]:
        return Unwatched().phase(phase, nodes)

    def __enter__(self) -> QuietReporter:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def step_started(self, step: Step) -> None:
        pass

    def step_says(self, step: Step, text: str) -> None:
        pass

    def step_copied(self, step: Step, done_bytes: int, total_bytes: int | None) -> None:
        pass

    def step_ended(self, result: StepResult) -> None:
        pass

    def warn(self, text: str) -> None:
        with self._turn:
            self._console.print(warning(text), soft_wrap=not self._console.is_terminal)


class WaitingReporter(QuietReporter):
    """Warnings, and on a terminal what is waited for before the steps."""

    def __init__(self, console: Console, clock: Clock) -> None:
        super().__init__(console)
        self._waiting = WaitingScreen(console, clock, self._turn)

    def phase(self, phase: Phase, nodes: Iterable[NodeName] = ()) -> AbstractContextManager[Awaited]:
        return self._waiting.phase(phase, nodes)


@dataclass(slots=True)
class _Said:
    """What was last printed about a running step."""

    text: str = ""
    at: float | None = None
    meter: CopyMeter = field(default_factory=CopyMeter)


class PlainReporter(QuietReporter):
    """One line an event, without times and colours, for logs and pipes."""

    def __init__(self, console: Console, clock: Clock, nodes: Iterable[NodeName]) -> None:
        super().__init__(console)
        self._clock = clock
        self._width = node_width(nodes)
        self._running: dict[str, _Said] = {}

    def step_started(self, step: Step) -> None:
        with self._turn:
            self._running[step.id] = _Said()
            self._print(step.id, step.node, step.why)

    def step_says(self, step: Step, text: str) -> None:
        with self._turn:
            self._say(step, text)

    def step_copied(self, step: Step, done_bytes: int, total_bytes: int | None) -> None:
        with self._turn:
            meter = self._running.setdefault(step.id, _Said()).meter
            meter.add(self._clock.now(), done_bytes)
            self._say(step, f"copying {copy_text(done_bytes, total_bytes, meter.bytes_per_second)}")

    def step_ended(self, result: StepResult) -> None:
        with self._turn:
            self._running.pop(result.id, None)
            self._print(result.id, result.node, end_words(result))

    def _say(self, step: Step, text: str) -> None:
        said, now = self._running.setdefault(step.id, _Said()), self._clock.now()
        if text != said.text and (said.at is None or now - said.at >= QUIET_SECONDS):
            said.text, said.at = text, now
            self._print(step.id, step.node, text)

    def _print(self, step_id: str, node: NodeName | None, text: str) -> None:
        line = f"{node or HERE:<{self._width}}  {step_word(step_id, node):<{STEP_WIDTH}} {escape(text)}"
        self._console.print(Text(line.rstrip()), soft_wrap=True)


Display = QuietReporter
"""Told of steps and phases; a context manager, open while steps run."""


def live_reporter(console: Console, clock: Clock, nodes: Iterable[NodeName]) -> Display:
    """Of a terminal: one line a running step."""
    from replctl.cli.live_steps import RichReporter  # noqa: PLC0415 - Rich's progress display, for a terminal alone

    return RichReporter(console, clock, nodes)
