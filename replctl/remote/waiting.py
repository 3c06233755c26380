"""Waiting as an object: a deadline, an injected clock, and more time while progress is seen.

Nothing else may sleep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from replctl.remote.ports import Cancellation, Clock

T = TypeVar("T")


class SystemClock:
    """CLOCK_BOOTTIME, where the kernel has it, also counts while the laptop sleeps; CLOCK_MONOTONIC does not."""

    def __init__(self) -> None:
        self._id = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now(self) -> float:
        return time.clock_gettime(self._id)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class NeverCancelled:
    """The cancellation of what must not be interrupted: undo, and commands that have nothing to undo."""

    def raise_if_cancelled(self) -> None:
        return


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait and how often to look. All figures in seconds."""

    clock: Clock
    cancellation: Cancellation
    timeout: float
    poll: float = 0.05

    def attempts(self, progress: Callable[[], object] | None = None) -> Iterator[float]:
        """Yield the seconds waited so far, before each look, until the deadline passes.

        The deadline moves on by ``timeout`` whenever ``progress()`` answers another value than before.
        """
        started = self.clock.now()
        deadline = started + self.timeout
        seen = progress() if progress else None
        while True:
            self.cancellation.raise_if_cancelled()
            now = self.clock.now()
            yield now - started
            if progress and (latest := progress()) != seen:
                seen, deadline = latest, self.clock.now() + self.timeout
            if self.clock.now() >= deadline:
                return
            self.clock.sleep(self.poll)

    def until(self, look: Callable[[], T | None], progress: Callable[[], object] | None = None) -> T | None:
        """The first answer of ``look`` that is not None; None when the deadline passed without one."""
        for _ in self.attempts(progress):
            if (found := look()) is not None:
                return found
        return None
