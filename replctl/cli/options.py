"""The options that several commands share, worded once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Output(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"


class StatusOutput(StrEnum):
    """How the status is printed."""

    TABLE = "table"
    JSON = "json"
    PROMETHEUS = "prometheus"


InventoryFile = Annotated[
    Path,
    typer.Option(
        "--inventory", "-i", envvar="REPLCTL_INVENTORY", help="The inventory of the cluster.", show_default=True
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan that would run, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer the question before the change with yes.")]
OutputFormat = Annotated[Output, typer.Option("--output", "-o", help="A table for people, or one JSON document.")]
StatusFormat = Annotated[
    StatusOutput, typer.Option("--output", "-o", help="A table for people, one JSON document, or Prometheus samples.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show every remote command and SQL statement, without secrets.")
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log-file",
        metavar="FILE",
        help="Append every remote command and SQL statement to FILE, with times, without secrets.",
        show_default=False,
    ),
]
Timings = Annotated[bool, typer.Option("--timings", help="Tell in the end what took how long, and on how many calls.")]

DEFAULT_INVENTORY = Path("inventory.yaml")


@dataclass(frozen=True, slots=True)
class Tracing:
    """What a command tells of its work beside its result; every command that contacts nodes takes it."""

    verbose: bool = False
    log_file: Path | None = None
    timings: bool = False


def end(code: int) -> None:
    """Leave with a documented exit code."""
    raise typer.Exit(int(code))
