"""Whether a host answers: opened by failures, closed again with some caution. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

FAILED_PROBES_TO_OPEN = 2
GOOD_PROBES_TO_CLOSE = 2
"""A host that comes and goes is not taken back at its first sign of life."""
MAX_BACKOFF_SECONDS = 2.0


class Condition(StrEnum):
    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Circuit:
    """A host's condition and what led to it."""

    condition: Condition = Condition.UNKNOWN
    failures: int = 0
    """In a row."""
    good_probes: int = 0
    """In a row, since it was down."""
    problem: str = "it has not been asked yet"

    def answered(self) -> Circuit:
        """After a good probe."""
        good = self.good_probes + 1
        if self.condition is Condition.DOWN and good < GOOD_PROBES_TO_CLOSE:
            return replace(self, failures=0, good_probes=good)
        return Circuit(Condition.UP)

    def missed(self, problem: str) -> Circuit:
        """After a probe that failed."""
        failures = self.failures + 1
        open_now = self.condition is not Condition.UP or failures >= FAILED_PROBES_TO_OPEN
        return Circuit(Condition.DOWN if open_now else Condition.UP, failures, 0, problem)

    def broke(self, problem: str) -> Circuit:
        """After the application's own connection failed: whoever comes next goes elsewhere."""
        return Circuit(Condition.DOWN, self.failures + 1, 0, problem)

    def probe_delay(self, period: float) -> float:
        """Seconds until the next probe: longer with each failure, up to MAX_BACKOFF_SECONDS."""
        slower = max(0, self.failures - FAILED_PROBES_TO_OPEN)
        return max(period, min(period * 2.0 ** min(slower, 16), MAX_BACKOFF_SECONDS))
