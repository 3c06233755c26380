"""``--verbose``: what runs where, as the adapters log it. Secrets are no part of what they log."""

from __future__ import annotations

import logging
import sys

from replctl.cli.text import escape


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return escape(record.getMessage())


def log_to_stderr(wanted: bool) -> None:  # noqa: FBT001 - the option itself
    """Show the adapters' log lines on stderr, if that is wanted."""
    if not wanted:
        return
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_Lines())
    logger = logging.getLogger("replctl")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(stream)
