"""The names of what replctl keeps beside a data directory, all built from its path."""

from __future__ import annotations

from replctl.model.actions import Place
from replctl.model.inventory import Node


def staging_dir(node: Node) -> str:
    """Where a new cluster or a base backup is built, on the same file system as its target."""
    return f"{node.postgres.data_dir}.replctl-new"


def staging_marker(node: Node) -> str:
    """The file that makes a staging directory ours: run and system identifier, as JSON."""
    return f"{node.postgres.data_dir}.replctl-new.json"


def rewind_dir(node: Node) -> str:
    """Where pg_rewind changes a data directory: out of its place, so that nothing can start it half rewound."""
    return f"{node.postgres.data_dir}.replctl-rewind"


def rewind_marker(node: Node) -> str:
    """How far that has come: ``begun`` or ``done``."""
    return f"{rewind_dir(node)}.state"


def aside_prefix(node: Node) -> str:
    """What is moved aside gets this name with the UTC time behind it."""
    return f"{node.postgres.data_dir}.replctl-aside-"


def start_log(directory: str) -> str:
    """Where pg_ctl start writes until the logging collector takes over."""
    return f"{directory}/log/start.log"


def directory_of(node: Node, place: Place) -> str:
    """The directory that a file action writes to."""
    match place:
        case Place.STAGING:
            return staging_dir(node)
        case Place.REWOUND:
            return rewind_dir(node)
        case Place.LIVE:
            return node.postgres.data_dir
