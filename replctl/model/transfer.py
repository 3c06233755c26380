"""How a base backup is sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Transfer:
    """How pg_basebackup is to send the files, in its own notation."""

    max_rate: str | None = None
    """Of ``--max-rate``: kilobytes a second, or with a unit."""
    compress: str | None = None
    """Of ``--compress``: the server compresses, and pg_basebackup unpacks what it receives."""


UNHINDERED = Transfer()
