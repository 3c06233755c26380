"""Who could take over, best first: what ``promote`` without a node prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from replctl.cli.text import escape
from replctl.planning.candidates import Candidate, Verdict


def candidates_renderable(candidates: Sequence[Candidate]) -> RenderableType:
    """One line a candidate with its verdict, and what to do next."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for candidate in candidates:
        table.add_row(Text(f"  {candidate.node}", "bold"), Text(escape(candidate.text)))
    ready = [candidate.node for candidate in candidates if candidate.verdict is Verdict.YES]
    if not ready:
        return Group(Text("no node can take over now:"), table, Text("hint: `replctl status` says why.", "cyan"))
    title = Text("name the node to promote; best first:")
    return Group(title, table, Text(f"hint: replctl promote {ready[0]}", "cyan"))
