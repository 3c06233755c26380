"""Who could take over, best first: what ``promote`` without a node prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from replctl.cli.text import escape
from replctl.planning.candidates import Candidate


def candidates_renderable(candidates: Sequence[Candidate]) -> RenderableType:
    """One line a candidate with its verdict, and the command to go on with."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for candidate in candidates:
        table.add_row(Text(f"  {candidate.node}", "bold"), Text(escape(candidate.verdict)))
    if not candidates:
        return Text("no node could take over: see `replctl status`")
    title = Text("name the node to promote; best first:")
    return Group(title, table, Text(f"hint: replctl promote {candidates[0].node}", "cyan"))
