"""The steps of a run on a terminal: a line each while they run."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID
from rich.table import Column, Table
from rich.text import Text

from replctl.cli.copying import CopyMeter, copy_text
from replctl.cli.progress import HERE, STEP_WIDTH, WaitingReporter, end_words, node_width
from replctl.cli.step_words import OUTCOME_STYLES, step_word
from replctl.cli.text import escape
from replctl.execution.session import Awaited, Phase, Unwatched
from replctl.model.outcome import StepResult
from replctl.model.plan import Step
from replctl.model.values import NodeName
from replctl.remote.ports import Clock

WIDE = 110
"""Columns from which a running step's reason and what it waits for fit beside each other."""
REFRESH_SECONDS = 0.1


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


class RichReporter(WaitingReporter):
    """One line a running step on a terminal; what has ended scrolls away above."""

    def __init__(self, console: Console, clock: Clock, nodes: Iterable[NodeName]) -> None:
        super().__init__(console, clock)
        self._clock = clock
        self._width = node_width(nodes)
        self._wide = console.width >= WIDE
        self._tasks: dict[str, TaskID] = {}
        self._meters: dict[str, CopyMeter] = {}
        # Rich's own refresh thread writes outside of the lock that our prints are under, and then lines get lost.
        self._progress = Progress(*self._columns(), console=console, transient=True, expand=True, auto_refresh=False)
        self._stopped = threading.Event()
        self._ticker: threading.Thread | None = None

    def phase(self, phase: Phase, nodes: Iterable[NodeName] = ()) -> AbstractContextManager[Awaited]:
        """Between two plans of one run the steps' own display has the terminal."""
        return super().phase(phase, nodes) if self._ticker is None else Unwatched().phase(phase, nodes)

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
            Text(end_words(result), OUTCOME_STYLES[result.outcome]),
        )
        self._console.print(Padding(line, (0, 0, 0, 2)))
