"""The operator's interrupts: at once while nothing is being changed, between two actions while something is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from enum import Enum
from types import FrameType

from replctl.model.errors import InterruptedByOperator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STDERR = 2


class _Phase(Enum):
    READING = "reading"
    """Nothing is changed yet: a signal also ends a prompt or a read that blocks."""
    CHANGING = "changing"
    """A signal is noted; what runs ends or unwinds in its own order."""
    UNDOING = "undoing"
    """Half an undo is worse than a slow one: signals are only counted."""


def write_to_stderr(text: str) -> None:
    """Write past every buffer: a signal may arrive in the middle of a print. The terminal may be gone."""
    with suppress(OSError):
        os.write(_STDERR, f"\n{text}\n".encode())


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP as a Cancellation, while its context is open. For the main thread."""

    def __init__(self, say: Callable[[str], None] = write_to_stderr) -> None:
        self._say = say
        self._phase = _Phase.READING
        self._seen: signal.Signals | None = None
        self._ignored = 0
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    @property
    def ignored(self) -> int:
        """How many signals arrived while an undo ran."""
        return self._ignored

    def raise_if_cancelled(self) -> None:
        """Raises InterruptedByOperator once a signal was seen, but not inside ``undoing``."""
        if self._seen is not None and self._phase is not _Phase.UNDOING:
            raise InterruptedByOperator(
                f"interrupted by {self._seen.name}", hint="Run the same command again to carry on."
            )

    @contextmanager
    def changing(self) -> Generator[None]:
        """While the cluster is changed a signal is seen by ``raise_if_cancelled`` alone, and answered on stderr."""
        with self._in(_Phase.CHANGING):
            yield

    @contextmanager
    def undoing(self) -> Generator[None]:
        """While changes are taken back no signal is obeyed; the first one is answered with a word on stderr."""
        with self._in(_Phase.UNDOING):
            yield

    @contextmanager
    def _in(self, phase: _Phase) -> Generator[None]:
        before, self._phase = self._phase, phase
        try:
            yield
        finally:
            self._phase = before

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            # nohup and a shell's background jobs have them ignored: that is to stay so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _arrived(self, number: int, _frame: FrameType | None) -> None:
        match self._phase:
            case _Phase.READING:
                self._seen = signal.Signals(number)
                self.raise_if_cancelled()
            case _Phase.CHANGING:
                if self._seen is None:
                    self._say("interrupted: what this run changed is undone, or finished where it must be; please wait")
                self._seen = signal.Signals(number)
            case _Phase.UNDOING:
                self._ignored += 1
                if self._ignored == 1:
                    self._say("undoing what this run changed; please wait")
