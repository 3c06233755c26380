"""What one command tells beside its result: steps and waiting on stderr, calls in a log, timings in the end."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import Any

from rich.console import Console

from replctl.cli.options import Output, Tracing
from replctl.cli.progress import Display, PlainReporter, QuietReporter, WaitingReporter, live_reporter
from replctl.cli.streams import open_console, show
from replctl.cli.timings import Timed, Timings, timings_renderable
from replctl.cli.verbose import heard_by, traced_as
from replctl.model.values import NodeName
from replctl.remote.ports import Clock

Told = Display | Timed
"""A Reporter and Phases of execution/session.py."""


class Telling:
    """To be made while the streams of stderr and stdout are the command's own; ``output`` is that of the result."""

    def __init__(self, tracing: Tracing, output: StrEnum, clock: Clock) -> None:
        self.console: Console = open_console(sys.stderr)
        self._tracing = tracing
        self._json = output.value == Output.JSON.value
        self._clock = clock
        self._timings = Timings(clock) if tracing.timings else None

    @property
    def timing(self) -> bool:
        """Timings are wished for."""
        return self._timings is not None

    @property
    def _lively(self) -> bool:
        """A display that moves and the lines of --verbose would draw over each other."""
        return self.console.is_terminal and not self._tracing.verbose

    def of_looks(self) -> Display:
        """For a command that only looks, or whose result is a program's."""
        if self._lively and not (self._json and not sys.stdout.isatty()):
            return WaitingReporter(self.console, self._clock)
        return QuietReporter(self.console)

    def of_steps(self, nodes: Iterable[NodeName]) -> Display:
        """For a command with a plan."""
        if self._json:
            return self.of_looks()
        return (live_reporter if self._lively else PlainReporter)(self.console, self._clock, nodes)

    @contextmanager
    def open(self, display: Display) -> Generator[Told]:
        """While it is open, calls are shown, kept and timed as the options say; then the timings are told.

        Raises UsageError for a log file that cannot be written to.
        """
        with ExitStack() as stack:
            stack.enter_context(traced_as(self._tracing, display.warn))
            if self._timings is None:
                yield display
                return
            stack.callback(self._tell, self._timings)
            stack.enter_context(heard_by(self._timings.heard))
            yield Timed(display, self._timings)

    def timed(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document, with the timings until now where they are wished for."""
        return {**document, **(self._timings.document() if self._timings is not None else {})}

    def _tell(self, timings: Timings) -> None:
        if not timings.told:
            show(self.console, timings_renderable(timings))
