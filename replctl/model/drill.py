"""What a drill of the switchover measured, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

from replctl.model.values import NodeName


@dataclass(frozen=True, slots=True)
class Route:
    """Where the primary's role goes, and where it comes back to."""

    to: NodeName
    home: NodeName


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A row whose COMMIT was answered: its number, the node that answered, and when by the run's clock, in seconds."""

    number: int
    node: NodeName
    at: float


@dataclass(frozen=True, slots=True)
class DrillReport:
    """One drill. Times are in milliseconds; None is what it did not come to, or could not find out."""

    to: NodeName
    write_outage_ms: tuple[float | None, float | None]
    """There and back: from the last row that one primary acknowledged to the first one of the other."""
    read_outage_ms: float | None
    """The longest time in which no node that the env file has reads go to answered one."""
    rows: int
    """How many rows were acknowledged."""
    missing: tuple[int, ...] | None
    """The numbers of acknowledged rows that the primary does not have in the end."""
    repeated: tuple[int, ...] | None
    """The numbers of rows that it has more than once."""

    @property
    def lost(self) -> int | None:
        return None if self.missing is None else len(self.missing)

    @property
    def twice(self) -> int | None:
        return None if self.repeated is None else len(self.repeated)

    @property
    def longest_write_outage_ms(self) -> float | None:
        return max((ms for ms in self.write_outage_ms if ms is not None), default=None)


@dataclass(frozen=True, slots=True)
class LastDrill:
    """The note of the last drill that went there and back. A reminder, never evidence."""

    at: str
    """When it ended: UTC, as ISO 8601."""
    to: NodeName
    write_outage_ms: tuple[float, float]
    read_outage_ms: float | None
    rows: int
    lost: int
