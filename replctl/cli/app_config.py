"""The command line of ``replctl config``."""

from __future__ import annotations

from typing import Annotated

import typer

from replctl.cli.command_line import CommandLine
from replctl.cli.completion import complete_node
from replctl.cli.options import (
    DEFAULT_INVENTORY,
    DryRun,
    InventoryFile,
    LogFile,
    Output,
    OutputFormat,
    Timings,
    Tracing,
    Verbose,
    Yes,
    end,
)

config_app = CommandLine(help="Compare the configuration with the inventory, or apply it.")

Nodes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NODE...",
        help="These nodes; without one, every node that is reached.",
        autocompletion=complete_node,
    ),
]


@config_app.command("diff")
def config_diff(
    nodes: Nodes = None,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Show how files and settings in force differ from the inventory, and what overrides them. Changes nothing."""
    from replctl.cli import config_commands
    from replctl.cli.changing import ChangeOptions

    options = ChangeOptions(
        inventory, dry_run=True, yes=False, output=output, tracing=Tracing(verbose, log_file, timings)
    )
    end(config_commands.config_diff(options, nodes or []))


@config_app.command("apply")
def config_apply(
    nodes: Nodes = None,
    restart: Annotated[bool, typer.Option("--restart", help="Restart replicas that wait for it, one by one.")] = False,
    restart_primary: Annotated[
        bool, typer.Option("--restart-primary", help="Restart the primary where it is, if it waits for that.")
    ] = False,
    switchover: Annotated[
        bool, typer.Option("--switchover", help="Restart the primary by moving its role to a replica.")
    ] = False,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Write the files that differ and have the servers read them; restart only where a flag says so.

    Of the settings that a standby must not have less of, a raised one goes to the replicas first and a lowered one to
    the primary.
    """
    from replctl.cli import config_commands
    from replctl.cli.changing import ChangeOptions

    options = ChangeOptions(inventory, dry_run, yes, output, Tracing(verbose, log_file, timings))
    allowed = config_commands.restarts(replicas=restart, primary=restart_primary, switchover=switchover)
    end(config_commands.config_apply(options, nodes or [], allowed))
