"""The status table: one line a node where the terminal is wide, two where it is narrow, blocks where that is not
enough. Nothing is cut off, and nothing depends on colour or on box characters."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from replctl.cli.render_drill import drill_line
from replctl.cli.status_cells import COLUMNS, Cells, Column, cells_of, short_cells_of, tight_cells_of
from replctl.cli.text import escape, human_bytes, wrapped
from replctl.model.report import Finding, Health, NodeReport, Severity, StatusReport, Unlisted

GAP = 2
"""Blanks between two columns."""
UNBOUNDED = 10_000
"""Columns of what is no terminal: a line stays a line."""

_HEALTH_STYLES = {Health.HEALTHY: "bold green", Health.DEGRADED: "bold yellow", Health.CRITICAL: "bold red"}
_SEVERITY_STYLES = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}

_FOLDED: tuple[tuple[Column, Column | None], ...] = (
    (Column.NODE, Column.ROLE),
    (Column.STATE, Column.UPSTREAM),
    (Column.UNRECEIVED, Column.UNREPLAYED),
    (Column.AGE, Column.SYNC),
    (Column.SLOT, Column.FREE),
    (Column.ENV, Column.TIMELINE),
    (Column.PROMOTE, None),
)


class Layout(Enum):
    """How a node's cells are arranged; ``status_renderable`` takes the first that fits."""

    WIDE = "one line a node"
    TERSE = "one line a node, without what is said elsewhere too"
    FOLDED = "two lines a node"
    TIGHT = "two lines a node, without why it cannot be promoted"
    BLOCKS = "a block of lines a node"


def print_status(report: StatusReport, console: Console) -> None:
    """Show the report: fitted to a terminal, in stable plain columns anywhere else."""
    if console.is_terminal:
        # What is longer than a line is left to the terminal to break: then it is copied in one piece.
        console.print(status_renderable(report, width=console.width), soft_wrap=True)
    else:
        console.out(status_text(report), end="", highlight=False)


def status_text(report: StatusReport, *, width: int = UNBOUNDED) -> str:
    """The report as plain text without trailing blanks, fitted to ``width`` columns."""
    buffer = io.StringIO()
    console = Console(file=buffer, width=width, color_system=None, force_terminal=False, highlight=False, emoji=False)
    console.print(status_renderable(report, width=width), soft_wrap=True)
    return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())


def status_renderable(report: StatusReport, *, width: int, layouts: Iterable[Layout] = tuple(Layout)) -> RenderableType:
    """The whole report, for a console or a live display of ``width`` columns, in the first layout that fits."""
    parts: list[RenderableType] = [_header(report, width), Text(), _nodes(report.nodes, width, layouts)]
    if report.last_drill is not None:
        parts += [Text(), drill_line(report.last_drill, width)]
    if report.unlisted:
        parts += [Text(), Text("not in the inventory", style="bold"), *map(_unlisted, report.unlisted)]
    if report.findings:
        parts += [Text(), findings_renderable(report.findings, width)]
    return Group(*parts)


def _header(report: StatusReport, width: int) -> Text:
    primary = escape(report.primary) if report.primary else "unknown"
    timeline = report.timeline if report.timeline is not None else "unknown"
    identifier = escape(report.system_identifier) if report.system_identifier else "unknown"
    head = Text.assemble(
        "cluster ",
        (escape(report.cluster), "bold"),
        ": ",
        (report.health.value, _HEALTH_STYLES[report.health]),
        f", primary {primary}, timeline {timeline}",
        overflow="fold",
    )
    more = f"system identifier {identifier}{_pace(report.wal_bytes_per_s)}"
    return head.append(", " if len(head) + len(more) + 2 <= width else "\n").append(more)


def _pace(wal_bytes_per_s: int | None) -> str:
    return "" if wal_bytes_per_s is None else f", WAL {human_bytes(wal_bytes_per_s)}/s"


def _nodes(nodes: Iterable[NodeReport], width: int, layouts: Iterable[Layout]) -> RenderableType:
    rows = tuple(nodes)
    for layout in layouts:
        arrange = _LAYOUTS.get(layout)
        lines = arrange(rows) if arrange else []
        if lines and _width_of(lines) <= width:
            return _table(lines, right=_right_columns(layout))
    return _blocks(rows)


def _wide(nodes: Iterable[NodeReport]) -> list[list[Text]]:
    return _lines(map(cells_of, nodes), COLUMNS)


def _terse(nodes: Iterable[NodeReport]) -> list[list[Text]]:
    return _lines(map(short_cells_of, nodes), COLUMNS)


def _folded(nodes: Iterable[NodeReport]) -> list[list[Text]]:
    """Two lines a node, upper cells on the first and lower cells on the second."""
    return _lines(map(short_cells_of, nodes), *zip(*_FOLDED, strict=True))


def _tight(nodes: Iterable[NodeReport]) -> list[list[Text]]:
    return _lines(map(tight_cells_of, nodes), *zip(*_FOLDED, strict=True))


def _lines(rows: Iterable[Cells], *columns: Iterable[Column | None]) -> list[list[Text]]:
    """The titles, and the same lines again for each row."""
    titles: Cells = {column: Text(column.value, style="bold") for column in COLUMNS}
    return [[row[column] if column else Text() for column in line] for row in (titles, *rows) for line in columns]


_LAYOUTS: dict[Layout, Callable[[Iterable[NodeReport]], list[list[Text]]]] = {
    Layout.WIDE: _wide,
    Layout.TERSE: _terse,
    Layout.FOLDED: _folded,
    Layout.TIGHT: _tight,
}


def _right_columns(layout: Layout) -> frozenset[int]:
    """Where numbers stand, and line up by their last digit."""
    if layout in (Layout.FOLDED, Layout.TIGHT):
        return frozenset({2})
    numeric = (Column.TIMELINE, Column.UNRECEIVED, Column.UNREPLAYED, Column.AGE, Column.FREE)
    return frozenset(COLUMNS.index(column) for column in numeric)


def _width_of(lines: list[list[Text]]) -> int:
    widths = [max(cell_len(cell.plain) for cell in column) for column in zip(*lines, strict=True)]
    return sum(widths) + GAP * (len(widths) - 1)


def _table(lines: list[list[Text]], right: frozenset[int]) -> Group:
    """Of known widths, which fit. Rich's own table measures every cell again, at ten times the price of a look."""
    widths = [max(cell_len(cell.plain) for cell in column) for column in zip(*lines, strict=True)]
    return Group(*(_row(line, widths, right) for line in lines))


def _row(line: list[Text], widths: list[int], right: frozenset[int]) -> Text:
    row = Text(no_wrap=True, overflow="ignore")
    gap = 0
    for index, (cell, width) in enumerate(zip(line, widths, strict=True)):
        pad = width - cell_len(cell.plain)
        before, after = (pad, 0) if index in right else (0, pad)
        row.append(" " * (gap + before)).append_text(cell)
        gap = GAP + after
    return row


def _blocks(nodes: Iterable[NodeReport]) -> Group:
    return Group(*(_block(cells_of(node)) for node in nodes))


def _block(row: Cells) -> Group:
    title = Text.assemble(row[Column.NODE], ": ", row[Column.ROLE], ", ", row[Column.STATE])
    shown = (column for column in COLUMNS[3:] if row[column].plain not in ("", "-"))
    cells = [Text.assemble(column.value.lower(), " ", row[column]) for column in shown]
    return Group(title, Padding(Text("; ", overflow="fold").join(cells), (0, 0, 0, GAP)))


def _unlisted(unlisted: Unlisted) -> Text:
    return Text(f"{unlisted.kind} {escape(unlisted.name)} {escape(unlisted.detail)}", overflow="fold")


def findings_renderable(findings: Iterable[Finding], width: int) -> Group:
    """Each with what mends it, for ``width`` columns."""
    told = tuple(findings)
    indent = GAP + max(len(finding.severity) for finding in told)
    return Group(*(line for finding in told for line in _finding(finding, indent, width - indent)))


def _finding(finding: Finding, indent: int, room: int) -> Iterator[Text]:
    """What cannot be broken and is too long for the room begins at the edge, to be copied in one piece."""
    message, *more = wrapped(f"{escape(finding.message)} [{finding.code}]", room).split("\n")
    fix, *rest = wrapped(f"fix: {escape(finding.hint)}", room).split("\n")
    margin = " " * indent
    yield Text.assemble((finding.severity.value.ljust(indent), _SEVERITY_STYLES[finding.severity]), message)
    yield from (Text(line if cell_len(line) > room else margin + line) for line in more)
    yield Text.assemble(margin, ("fix:", "bold"), fix.removeprefix("fix:"))
    yield from (Text(line if cell_len(line) > room else margin + line) for line in rest)
