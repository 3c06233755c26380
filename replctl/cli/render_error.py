"""One look for every error: what, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from replctl.cli.text import escape, shortened, wrapped
from replctl.model.errors import CommandFailedError, ReplctlError

SHOWN_STDERR_LINES = 10


@dataclass(frozen=True)
class _Labelled:
    """Fits itself to whatever it is shown on."""

    rows: tuple[tuple[str, str, str], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - max((cell_len(label) for label, _, _ in self.rows), default=0) - 1
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(overflow="fold")
        for label, text, style in self.rows:
            lines = shortened(text).splitlines() or [""]
            grid.add_row(Text(label, style), Text("\n".join(_fitted(escape(line), room) for line in lines)))
        yield grid


def _fitted(line: str, room: int) -> str:
    """A command is not broken; what has none keeps its blanks, by which some programs point at a place above."""
    return wrapped(line, room) if "`" in line else line


def labelled(rows: Iterable[tuple[str, str, str]]) -> RenderableType:
    """Rows of label, text and the label's style; text is wrapped beside its label, never under it."""
    return _Labelled(tuple(rows))


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
