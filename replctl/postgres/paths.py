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


def aside_prefix(node: Node) -> str:
    """What is moved aside gets this name with the UTC time behind it."""
    return f"{node.postgres.data_dir}.replctl-aside-"


def start_log(directory: str) -> str:
    """Where pg_ctl start writes until the logging collector takes over."""
    return f"{directory}/log/start.log"


def directory_of(node: Node, place: Place) -> str:
    """The directory that a file action writes to."""
    return staging_dir(node) if place is Place.STAGING else node.postgres.data_dir
