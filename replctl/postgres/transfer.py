"""How a base backup is sent: what ``--max-rate`` and ``--compress`` say, in pg_basebackup's own notation."""

from __future__ import annotations

import re

from replctl.model.errors import UsageError
from replctl.model.transfer import Transfer

LEAST_RATE, MOST_RATE = 32, 1024 * 1024
"""Kilobytes a second, as pg_basebackup and the server take them."""
LEVELS = {"gzip": range(1, 10), "lz4": range(1, 13), "zstd": range(1, 23)}
"""Of zstd there are negative ones too, which PostgreSQL 15 does not take."""


def transfer(max_rate: str | None, compress: str | None) -> Transfer:
    """Both as pg_basebackup is told. Raises UsageError for what it would not take."""
    return Transfer(_rate(max_rate) if max_rate else None, _compression(compress) if compress else None)


def _rate(text: str) -> str:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kM]?)", text, re.ASCII)
    kilobytes = float(found[1]) * (1024 if found[2] == "M" else 1) if found else 0.0
    if not LEAST_RATE <= kilobytes <= MOST_RATE:
        raise UsageError(
            f"--max-rate {text}: is no rate from {LEAST_RATE} kB to {MOST_RATE // 1024} MB a second",
            hint="For example 50M for 50 MB a second; a number alone, or with k, is in kB.",
        )
    return text


def _compression(text: str) -> str:
    """Of a copy that is laid out as files pg_basebackup can only have the server compress: it unpacks what comes."""
    found = re.fullmatch(r"server-([a-z0-9]+)(?::([0-9]+))?", text, re.ASCII)
    levels = LEVELS.get(found[1]) if found else None
    if found is None or levels is None or (found[2] and int(found[2]) not in levels):
        raise UsageError(
            f"--compress {text}: is not server-gzip, server-lz4 or server-zstd, with a level or without",
            hint="For example server-lz4, or server-zstd:3; levels are "
            + ", ".join(f"{levels[0]} to {levels[-1]} of {method}" for method, levels in LEVELS.items())
            + ".",
        )
    return text


def method(compress: str) -> str:
    """``zstd`` of ``server-zstd:3``."""
    return compress.removeprefix("server-").partition(":")[0]
