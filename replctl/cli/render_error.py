"""One look for every error: what, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from replctl.cli.text import escape, shortened
from replctl.model.errors import CommandFailedError, ReplctlError

SHOWN_STDERR_LINES = 10


def labelled(rows: Iterable[tuple[str, str, str]]) -> RenderableType:
    """Rows of label, text and the label's style; text is wrapped beside its label, never under it."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text, style in rows:
        lines = shortened(text).splitlines() or [""]
        grid.add_row(Text(label, style), Text("\n".join(escape(line) for line in lines)))
    return grid


def error_renderable(error: ReplctlError) -> RenderableType:
    """An error as it is shown on stderr."""
    return labelled(_rows(error))


def warning(text: str) -> Text:
    """What the operator should know and what stops nothing."""
    return Text.assemble(("warning:", "bold yellow"), " ", escape(text))


def _rows(error: ReplctlError) -> Iterable[tuple[str, str, str]]:
    yield "error:", error.message, "bold red"
    if error.node is not None:
        yield "node:", error.node, "bold"
    if isinstance(error, CommandFailedError) and error.stderr.strip():
        yield "said:", "\n".join(error.stderr.strip().splitlines()[-SHOWN_STDERR_LINES:]), "bold"
    yield "hint:", error.hint, "bold cyan"
