"""Reads what the script ``wal_tail`` prints of a node's own WAL."""

from __future__ import annotations

from dataclasses import dataclass

from replctl.model.facts import WalTail
from replctl.model.values import Lsn, NodeName

ALIGNMENT = 8
"""MAXALIGN: a record begins at such an address."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A node's WAL from a position on; ``last`` is where its last record begins."""

    tail: WalTail
    last: Lsn | None

    @property
    def problem(self) -> str | None:
        return self.tail.problem


def parse_wal_tail(text: str, node: NodeName, start: Lsn) -> Reading:
    """Commits are added up over the timelines. Raises ValueError on something else's output."""
    commits, problem = 0, None
    last: Lsn | None = None
    end: Lsn | None = None
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "commits":
            commits += int(rest)
        elif word == "last":
            position, _, size = rest.partition(" ")
            last = Lsn.parse(position)
            end = Lsn(-(-(last.position + int(size)) // ALIGNMENT) * ALIGNMENT)
        elif word == "problem":
            problem = rest
    return Reading(WalTail(node, start, end, commits, problem), last)
