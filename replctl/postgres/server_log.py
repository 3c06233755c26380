"""The end of a server's own log, and what its lines say about a link that does not stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from replctl.model.checkup import Cause
from replctl.postgres.layout import Layout
from replctl.postgres.scripts import script

LINES = 200


def log_tail(layout: Layout) -> tuple[str, ...]:
    """Prints the last lines of the log: of the collector's file where one is written, else of what pg_ctl redirects.

    The collector names its file in current_logfiles (PostgreSQL docs, 20.8.1), relative to the data directory.
    """
    return script(
        r"""
        data=$1 log=$2
        named=$(sed -n 's/^stderr //p' "$data/current_logfiles" 2>/dev/null | head -n 1)
        case $named in "") ;; /*) log=$named;; *) log=$data/$named;; esac
        [ ! -r "$log" ] || tail -n "$3" -- "$log" | cut -c 1-500
        """,
        layout.data_dir,
        layout.start_log,
        str(LINES),
    )


@dataclass(frozen=True, slots=True)
class LogReason:
    """What a standby's log gives as the reason, and its own words."""

    cause: Cause
    words: str


_TO_PRIMARY = r"could not connect to the primary server: .*"
"""Its own clients' failed logins stand in the same log."""
_REASONS = (
    (Cause.WAL_REMOVED, re.compile(r"requested WAL segment \S+ has already been removed")),
    (Cause.DIVERGED, re.compile(r"requested starting point \S+ on timeline \d+ is not in this server's history")),
    (Cause.DIVERGED, re.compile(r"new timeline \d+ forked off current database system timeline \d+ before")),
    (Cause.DIVERGED, re.compile(r"highest timeline \d+ of the primary is behind recovery timeline")),
    (Cause.DISK_FULL, re.compile(r"No space left on device")),
    (
        Cause.AUTHENTICATION,
        re.compile(_TO_PRIMARY + r"(?:pg_hba\.conf|password authentication failed|no password supplied).*"),
    ),
    (
        Cause.NETWORK,
        re.compile(
            _TO_PRIMARY + r"(?:Connection refused|Connection timed out|timeout expired|No route to host|"
            r"Network is unreachable|Host is unreachable|could not translate host name).*"
        ),
    ),
    (Cause.NETWORK, re.compile(r"terminating walreceiver due to timeout")),
)
_COMPLAINT = re.compile(r"\b(?:FATAL|PANIC|ERROR):")
_OURS = re.compile(r"walreceiver|primary|replication|WAL|timeline|slot|space left")


def reason_in(lines: Sequence[str]) -> LogReason | None:
    """The latest reason that the standby gave for being without a link; None when no line says one that we know."""
    for line in reversed(lines):
        if not _COMPLAINT.search(line):
            continue
        for cause, pattern in _REASONS:
            if (found := pattern.search(line)) is not None:
                return LogReason(cause, found.group())
    return None


def last_complaint(lines: Sequence[str]) -> str | None:
    """The latest error of the log that may be about replication, for the operator to read."""
    return next((line.strip() for line in reversed(lines) if _COMPLAINT.search(line) and _OURS.search(line)), None)
