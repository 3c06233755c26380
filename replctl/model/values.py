"""Value types of PostgreSQL's own vocabulary, parsed once at the edge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NewType

NodeName = NewType("NodeName", str)
Timeline = NewType("Timeline", int)
SystemIdentifier = NewType("SystemIdentifier", str)

NAME_PATTERN = r"[a-z][a-z0-9_-]{0,39}"
SLOT_PREFIX = "replctl_"

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


@dataclass(frozen=True, order=True, slots=True)
class Lsn:
    """A position in the WAL, in bytes from its beginning; ordered by position, not by spelling."""

    position: int

    @classmethod
    def parse(cls, text: str) -> Lsn:
        """Read PostgreSQL's ``X/Y`` notation. Raises ValueError on anything else."""
        match = _LSN.fullmatch(text)
        if match is None:
            raise ValueError(f"not an LSN: {text!r}")
        return cls(int(match[1], 16) << 32 | int(match[2], 16))

    def __str__(self) -> str:
        return f"{self.position >> 32:X}/{self.position & 0xFFFFFFFF:X}"

    def __sub__(self, other: Lsn) -> int:
        """The bytes between two positions."""
        return self.position - other.position


@dataclass(frozen=True, slots=True)
class WalRange:
    """WAL of one timeline from a position on."""

    timeline: Timeline
    start: Lsn


def canonical_host(host: str) -> str:
    """One spelling for the many of an IPv6 address; names know no case."""
    try:
        return str(ip_address(host))
    except ValueError:
        return host.lower()


def slot_name(node: NodeName) -> str:
    """The replication slot of a node: slot names allow ``[a-z0-9_]`` alone (PostgreSQL docs, 27.2.6)."""
    return SLOT_PREFIX + node.replace("-", "_")
