"""Who could take over, best first: what ``promote`` without a node prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from replctl.cli.render_error import labelled
from replctl.cli.text import escape
from replctl.planning.candidates import Candidate, Verdict, without_primary


def candidates_renderable(candidates: Sequence[Candidate]) -> RenderableType:
    """One line a candidate with its verdict, and what to do next."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for candidate in candidates:
        table.add_row(Text(f"  {candidate.node}", "bold"), Text(escape(candidate.text)))
    best = candidates[0] if candidates else None
    if best is None or best.verdict is Verdict.NO:
        title, hint = "no node can take over now:", "`replctl status` says why."
    elif best.verdict is Verdict.LOSES:
        title, hint = "no node runs as primary; best first:", without_primary(best)
    else:
        title, hint = "name the node to promote; best first:", f"replctl promote {best.node}"
    return Group(Text(title), table, labelled([("hint:", hint, "bold cyan")]))
