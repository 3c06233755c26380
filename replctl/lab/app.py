"""The Typer commands of the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from replctl.cli.app import end
from replctl.cli.command_line import CommandLine
from replctl.cli.options import LogFile, StatusFormat, StatusOutput, Timings, Tracing, Verbose

lab_app = CommandLine(help="A throwaway cluster of local nodes, to try things on.")

Folder = Annotated[
    Path | None,
    typer.Option("--dir", help="The lab's folder: ./replctl-lab, or this one if it is a lab's.", show_default=False),
]


@lab_app.command("up")
def lab_up(
    folder: Folder = None,
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=2, max=9, help="How many nodes a new lab has: 3.", show_default=False)
    ] = None,
    bin_dir: Annotated[
        Path | None,
        typer.Option("--bin-dir", help="PostgreSQL's programs: the lab extra's, or the system's.", show_default=False),
    ] = None,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Make and start a cluster on this machine, by the same steps as on real hosts; or start what is stopped in it."""
    from replctl.lab import commands

    end(commands.up(commands.Wishes(folder, nodes, bin_dir, Tracing(verbose, log_file, timings))))


@lab_app.command("status")
def lab_status(
    folder: Folder = None,
    output: StatusFormat = StatusOutput.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Show the status of the lab."""
    from replctl.lab import commands

    end(commands.status(folder, output, Tracing(verbose, log_file, timings)))


@lab_app.command("down")
def lab_down(folder: Folder = None) -> None:
    """Stop the lab's servers and remove all that it made. What else lies in its folder stays."""
    from replctl.lab import commands

    end(commands.down(folder))
