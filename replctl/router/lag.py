"""How old a replica's content is, from positions and one monotonic clock. Pure.

``now() - pg_last_xact_replay_timestamp()`` compares two hosts' clocks, grows on an idle primary, and stands still when
the replica's own clock does. Here no server's clock matters: the primary's position is sampled again and again, and a
replica that has replayed what the primary had written at a moment is not older than that moment.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MAX_SAMPLES = 512
"""At four samples a second, two minutes; a replica that is further behind has a lower bound for its age."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The primary's write position (bytes), and the moment (monotonic seconds) just before it was asked for it.

    Whatever was committed before that moment lies before the position.
    """

    at: float
    lsn: int


@dataclass(frozen=True, slots=True)
class Staleness:
    """``seconds`` since the content was current for sure; it may be younger. ``is_lower_bound``: no sample is old
    enough, so it may be older."""

    seconds: float
    is_lower_bound: bool = False


@dataclass(slots=True)
class PositionRing:
    """Samples of one primary, of one timeline, oldest first. Not thread-safe."""

    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))

    def add(self, sample: Sample) -> None:
        """Takes a later sample. Of an idle primary the first and the newest count, so that idleness fills no ring.

        Since the first one a replica may lack the position; at the newest one it was current if it has it.
        """
        if self.samples and sample.lsn < self.samples[-1].lsn:
            self.samples.clear()  # another server's WAL: what was known says nothing of it
        if len(self.samples) > 1 and sample.lsn == self.samples[-1].lsn == self.samples[-2].lsn:
            self.samples.pop()
        self.samples.append(sample)

    def staleness(self, replayed: int, at: float, *, silent: bool = False) -> Staleness | None:
        """Of content that reached ``replayed`` (bytes) at the moment ``at``; None when no sample tells.

        0 when no sample of until then lies further on. ``silent``: the primary does not answer, so that
        nobody knows what it writes, and the age counts from the newest sample that is covered.
        """
        covered = next((sample for sample in reversed(self.samples) if sample.lsn <= replayed), None)
        missing = [sample for sample in self.samples if sample.lsn > replayed and sample.at <= at]
        if covered is None:
            return Staleness(at - missing[0].at, is_lower_bound=True) if missing else None
        if missing or silent:
            return Staleness(max(0.0, at - covered.at))
        return Staleness(0.0)
