"""What a command wants to know of a cluster beside what every look at it tells."""

from __future__ import annotations

from dataclasses import dataclass

from replctl.model.values import NodeName, WalRange


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a changing command wants to know beside the nodes themselves."""

    login_at: NodeName | None = None
    """Where a replication login is tried,"""
    login_from: tuple[NodeName, ...] = ()
    """from each of these nodes."""
    size: bool = False
    """The size of the primary's databases."""
    by_psql: tuple[NodeName, ...] = ()
    """Nodes that are asked through psql on their host when they do not let us in."""
    configuration: bool = False
    """What the primary's configuration files set."""
    settings: tuple[NodeName, ...] = ()
    """Nodes whose files and settings are read as their servers see them."""
    segments: bool = False
    """Which WAL segments the primary has."""
    wal: tuple[tuple[NodeName, tuple[WalRange, ...]], ...] = ()
    """What these nodes' own WAL holds from a position on."""
