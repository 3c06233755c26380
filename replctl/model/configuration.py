"""What a server says of its own configuration: what its files hold, and what is in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A row of pg_file_settings: one line of a configuration file as it stands now, whether or not it was read yet."""

    name: str
    """In lower case."""
    value: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class LiveSetting:
    """A row of pg_settings."""

    name: str
    """In lower case."""
    value: str
    """In the setting's base unit."""
    shown: str
    """As SHOW has it."""
    unit: str | None
    kind: str
    """``bool``, ``integer``, ``real``, ``enum`` or ``string``."""
    context: str
    """``postmaster`` where only a start changes it."""
    source: str
    default: str
    """What it is when no file says anything, in the base unit."""
    pending_restart: bool = False


@dataclass(frozen=True, slots=True)
class Configuration:
    """One server's files and settings."""

    entries: tuple[FileEntry, ...]
    """In the order in which the server reads them: the last of a name wins."""
    live: Mapping[str, LiveSetting]
    """By name, in lower case."""
