"""Counts that only ever grow."""

from __future__ import annotations

import threading
from itertools import count


class Tally:
    """Thread-safe. Counting is one step of the interpreter and waits for nobody; those who look take turns."""

    def __init__(self) -> None:
        self._steps = count()
        self._looks = 0
        self._looking = threading.Lock()

    def add(self) -> None:
        next(self._steps)

    @property
    def total(self) -> int:
        """A later look never tells less."""
        with self._looking:  # a look is a step too, which is taken off again
            steps = next(self._steps) - self._looks
            self._looks += 1
            return steps
