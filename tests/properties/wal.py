"""The WAL of the simulation: a line of branches.

A branch is made by initdb or by a promotion and is unique, so that two promotions from one timeline can be told apart
here; PostgreSQL tells them apart by the positions in their history files alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from replctl.model.host import History, Switch
from replctl.model.values import Lsn, Timeline

Branches = tuple[tuple[int, int], ...]
"""(unique number of the branch, position where it began), oldest first"""


@dataclass(frozen=True)
class Commit:
    """A write that a client was told of: where its record ends, and on which branch."""

    branch: int
    end: int


@dataclass(frozen=True)
class Wal:
    """The branches that a node's WAL ran through, each with its beginning, and where it ends."""

    branches: Branches
    end: int

    @property
    def timeline(self) -> int:
        return len(self.branches)

    def holds(self, other: Wal) -> bool:
        """Whether all of the other's WAL is part of this: then the other can stream from here."""
        shared = len(other.branches)
        return self.branches[:shared] == other.branches and other.end <= self._left(shared - 1)

    def has(self, commit: Commit) -> bool:
        """Whether a write is part of this."""
        for place, (branch, _) in enumerate(self.branches):
            if branch == commit.branch:
                return commit.end <= self._left(place)
        return False

    def forks_from(self, other: Wal) -> int:
        """The position up to which this and the other are one."""
        shared = 0
        for own, theirs in zip(self.branches, other.branches, strict=False):
            if own != theirs:
                break
            shared += 1
        return min(self._left(shared - 1), other._left(shared - 1)) if shared else 0

    def promoted(self, branch: int) -> Wal:
        return Wal((*self.branches, (branch, self.end)), self.end + 1)

    def written(self, amount: int) -> Wal:
        return replace(self, end=self.end + amount)

    def left(self, timeline: int) -> int | None:
        """Where the WAL of a timeline ends here; None where it was never on that."""
        return self._left(timeline - 1) if 0 < timeline <= len(self.branches) else None

    def _left(self, place: int) -> int:
        """Where the WAL left a branch."""
        return self.branches[place + 1][1] if len(self.branches) > place + 1 else self.end


def history(branches: Branches) -> History:
    """The one history file of the last of these branches."""
    ends = (began for _, began in branches[1:])
    switches = (Switch(Timeline(number), Lsn(end)) for number, end in enumerate(ends, start=1))
    return History(Timeline(len(branches)), tuple(switches))


def prefixes(branches: Branches, longer_than: int) -> Iterator[Branches]:
    """The timelines of these that are later than a given one."""
    return (branches[:length] for length in range(longer_than + 1, len(branches) + 1))
