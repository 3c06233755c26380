"""What brings a node back that has, or may have, WAL of its own: data, like all actions (actions.py)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from replctl.model.values import NodeName, WalRange


class Promise(StrEnum):
    """What the operator was told of diverged WAL: that it holds no commit, or what it holds and agreed to give up."""

    NO_COMMIT = "no-commit"
    GIVEN_UP = "given-up"


@dataclass(frozen=True, slots=True)
class RecoverAlone:
    """Have a crashed server replay its own WAL as a standby of nobody, and stop it cleanly."""


@dataclass(frozen=True, slots=True)
class KeepDivergedWal:
    """Copy the WAL that no other node has to a directory beside the data directory, before it is rewound."""

    ranges: tuple[WalRange, ...]
    promise: Promise


@dataclass(frozen=True, slots=True)
class CheckRewind:
    """pg_rewind's own dry run: it finds the common checkpoint and every file, and writes nothing."""

    source: NodeName


@dataclass(frozen=True, slots=True)
class Rewind:
    """Move the data directory out of its place, where nothing can start it, and rewind it to ``source``."""

    source: NodeName
    kept: tuple[WalRange, ...]
    """What KeepDivergedWal kept: the node's own files are kept beside it meanwhile."""


@dataclass(frozen=True, slots=True)
class InstallRewound:
    """Rename the rewound directory back to its place."""
