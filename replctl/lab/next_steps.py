"""What `lab up` prints at its end: where the servers are, and what to try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from replctl.lab.folder import Lab
from replctl.model.values import NodeName


def next_steps(lab: Lab, primary: NodeName) -> RenderableType:
    """One line of where things are, and a table of commands."""
    replicas = [name for name in lab.ports if name != primary]
    roles = {primary: " (primary)"}
    servers = ", ".join(f"{name}{roles.get(NodeName(name), '')} on port {port}" for name, port in lab.ports.items())
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for command, effect in _rows(lab, replicas[0]):
        table.add_row(Text(f"  {command}", "bold"), Text(effect))
    return Group(Text(f"\nthe lab runs at 127.0.0.1: {servers}"), Text("Try next:"), table)


def _rows(lab: Lab, replica: str) -> Iterator[tuple[str, str]]:
    if lab.folder != Path():
        yield f"cd {quote(str(lab.folder))}", "the inventory is there, and app.env"
    yield "replctl status --watch", "the lag of every replica, live"
    yield f"replctl promote {replica}", "moves the primary's role; no write is lost"
    yield f"replctl promote {replica} --dry-run", "what that would do, step by step"
    yield "replctl env", "what an application reads"
    yield "replctl history", "what was done so far"
    yield "replctl lab down", "stops the servers and removes everything"
