"""How replctl knows a cluster that it made itself."""

from __future__ import annotations

from collections.abc import Mapping

MARK = "Rendered by replctl from the inventory"
"""Stands in a comment of every rendered postgresql.conf."""


def marked(text: str) -> str:
    """A rendered file with the mark in it, also when the operator's own template left it out."""
    return text if MARK in text else f"# {MARK}\n{text}"


def is_rendered_by_us(files: Mapping[str, str]) -> bool:
    """Whether the data directory's postgresql.conf is one of ours. ``files`` maps names to texts."""
    return MARK in files.get("postgresql.conf", "")
