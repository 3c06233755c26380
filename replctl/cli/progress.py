"""How a run goes, on stderr: a live display on a terminal, lines elsewhere, warnings alone with ``-o json``."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.table import Column, Table
from rich.text import Text

from replctl.cli.copying import CopyMeter, copy_text
from replctl.cli.render_error import warning
from replctl.cli.step_words import OUTCOME_STYLES, OUTCOME_WORDS, step_word
from replctl.cli.text import escape, human_duration
from replctl.cli.waiting_screen import WaitingScreen
from replctl.execution.session import Awaited, Phase, Unwatched
from replctl.model.outcome import StepOutcome, StepResult
from replctl.model.plan import Step
from replctl.model.values import NodeName
from replctl.remote.ports import Clock

WIDE = 110
"""Columns from which a running step's reason and what it waits for fit beside each other."""
STEP_WIDTH = 16
"""Columns; the longest step is ``role-replication``."""
REFRESH_SECONDS = 0.1
QUIET_SECONDS = 2.0
"""Between two lines about one step without a terminal."""
HERE = "here"
"""The operator's own machine, in the place of a node."""


def node_width(nodes: Iterable[NodeName]) -> int:
    return max((len(name) for name in (*nodes, HERE)), default=0)


def _ended(result: StepResult) -> str:
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
            self._print(result.id, result.node, _ended(result))

    def _say(self, step: Step, text: str) -> None:
        said, now = self._running.setdefault(step.id, _Said()), self._clock.now()
        if text != said.text and (said.at is None or now - said.at >= QUIET_SECONDS):
            said.text, said.at = text, now
            self._print(step.id, step.node, text)

    def _print(self, step_id: str, node: NodeName | None, text: str) -> None:
        line = f"{node or HERE:<{self._width}}  {step_word(step_id, node):<{STEP_WIDTH}} {escape(text)}"
        self._console.print(Text(line.rstrip()), soft_wrap=True)


class _TextColumn(ProgressColumn):
    """A task's text from one of its fields."""

    def __init__(self, name: str, column: Column) -> None:
        super().__init__(table_column=column)
        self._name = name

    def render(self, task: Task) -> Text:
        text: Text = task.fields[self._name]
        return text


class _CopyBar(ProgressColumn):
    """The bar of a copy; empty for steps that copy nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=width)

    def render(self, task: Task) -> RenderableType:
        return self._bar.render(task) if task.fields["copies"] else Text("")


def _flexible() -> Column:
    return Column(no_wrap=True, overflow="ellipsis", ratio=1)


class RichReporter:
    """One line a running step on a terminal; what has ended scrolls away above."""

    def __init__(self, console: Console, clock: Clock, nodes: Iterable[NodeName]) -> None:
        self._console = console
        self._clock = clock
        self._width = node_width(nodes)
        self._wide = console.width >= WIDE
        self._turn = threading.RLock()
        self._waiting = WaitingScreen(console, clock, self._turn)
        self._tasks: dict[str, TaskID] = {}
        self._meters: dict[str, CopyMeter] = {}
        # Rich's own refresh thread writes outside of the lock that our prints are under, and then lines get lost.
        self._progress = Progress(*self._columns(), console=console, transient=True, expand=True, auto_refresh=False)
        self._stopped = threading.Event()
        self._ticker: threading.Thread | None = None

    def phase(self, phase: Phase, nodes: Iterable[NodeName] = ()) -> AbstractContextManager[Awaited]:
        """Between two plans of one run the steps' own display has the terminal."""
        return (self._waiting if self._ticker is None else Unwatched()).phase(phase, nodes)

    def _columns(self) -> Iterable[ProgressColumn]:
        yield SpinnerColumn()
        yield _TextColumn("node", Column(no_wrap=True, width=self._width))
        if self._wide:
            yield _TextColumn("why", _flexible())
            yield _TextColumn("says", _flexible())
        else:
            yield _TextColumn("short", _flexible())
        yield _CopyBar(24 if self._wide else 12)

    def __enter__(self) -> RichReporter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ticker is not None:
            self._stopped.set()
            self._ticker.join()
            self._progress.stop()

    def _begin(self) -> None:
        """With the first step: until then the line of what is waited for has the terminal."""
        if self._ticker is None:
            self._progress.start()
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        while not self._stopped.wait(REFRESH_SECONDS):
            with self._turn:
                self._progress.refresh()

    def step_started(self, step: Step) -> None:
        with self._turn:
            self._begin()
            why = Text(escape(step.why))
            self._tasks[step.id] = self._progress.add_task(
                step.id,
                total=None,
                node=Text(step.node or HERE, "bold"),
                why=why,
                says=Text(""),
                short=why,
                copies=False,
            )

    def step_says(self, step: Step, text: str) -> None:
        with self._turn:
            if (task := self._tasks.get(step.id)) is not None:
                self._tell(task, escape(text))

    def step_copied(self, step: Step, done_bytes: int, total_bytes: int | None) -> None:
        with self._turn:
            if (task := self._tasks.get(step.id)) is None:
                return
            meter = self._meters.setdefault(step.id, CopyMeter())
            meter.add(self._clock.now(), done_bytes)
            self._tell(task, copy_text(done_bytes, total_bytes, meter.bytes_per_second))
            self._progress.update(task, completed=done_bytes, total=total_bytes, copies=True)

    def _tell(self, task: TaskID, text: str) -> None:
        self._progress.update(task, says=Text(text, "cyan"), short=Text(text, "cyan"))

    def step_ended(self, result: StepResult) -> None:
        with self._turn:
            if (task := self._tasks.pop(result.id, None)) is not None:
                self._progress.remove_task(task)
            self._meters.pop(result.id, None)
            self._print_end(result)

    def _print_end(self, result: StepResult) -> None:
        line = Table.grid(
            Column(no_wrap=True, min_width=self._width),
            Column(no_wrap=True, min_width=STEP_WIDTH),
            padding=(0, 2, 0, 0),
        )
        line.add_column(overflow="fold")
        line.add_row(
            Text(result.node or HERE, "bold"),
            Text(step_word(result.id, result.node)),
            Text(_ended(result), OUTCOME_STYLES[result.outcome]),
        )
        self._console.print(Padding(line, (0, 0, 0, 2)))

    def warn(self, text: str) -> None:
        with self._turn:
            self._console.print(warning(text))


Display = RichReporter | QuietReporter
"""Told of steps and phases; a context manager, open while steps run."""


def reporter_on(console: Console, clock: Clock, nodes: Iterable[NodeName]) -> RichReporter | PlainReporter:
    """The reporter that suits the console."""
    return (RichReporter if console.is_terminal else PlainReporter)(console, clock, nodes)
