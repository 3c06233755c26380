"""The command line: one small function a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from replctl import __version__
from replctl.cli.options import DEFAULT_INVENTORY, DryRun, InventoryFile, Output, OutputFormat, Verbose, Yes
from replctl.model.errors import ExitCode

SETUP, EVERYDAY, RECORDS = "Set up", "Every day", "Records and tools"

app = typer.Typer(
    name="replctl",
    help="Provision, watch and promote PostgreSQL streaming replicas over plain SSH.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
inventory_app = typer.Typer(help="Check an inventory, or print its JSON Schema for editors.", no_args_is_help=True)
app.add_typer(inventory_app, name="inventory", rich_help_panel=RECORDS)


def main() -> None:
    """The console script."""
    app()


def end(code: ExitCode) -> None:
    """Leave with a documented exit code."""
    raise typer.Exit(int(code))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"replctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Provision, watch and promote PostgreSQL streaming replicas over plain SSH.

    One inventory file describes the cluster; what each node is now is observed. Start with `replctl lab up` or with
    `inventory.example.yaml`.
    """


def _node_argument(help_text: str) -> typer.models.ArgumentInfo:
    return typer.Argument(metavar="NODE", help=help_text)


@app.command("init-primary", rich_help_panel=SETUP)
def init_primary(
    node: Annotated[str, _node_argument("The node that becomes the primary.")],
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    adopt: Annotated[bool, typer.Option("--adopt", hidden=True)] = False,
) -> None:
    """Make NODE the primary: initdb, configuration, roles, app database, env file.

    On today's primary it brings what differs to what the inventory says; a stopped primary it starts again.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, verbose)
    end(commands.init_primary(options, node, commands.Unsupported(adopt=adopt)))


@app.command("add-replica", rich_help_panel=SETUP)
def add_replica(
    nodes: Annotated[
        list[str] | None, typer.Argument(metavar="NODE...", help="The nodes that become replicas.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every node of the inventory but the primary.")] = False,
    source: Annotated[
        str | None, typer.Option("--from", metavar="NODE", help="Copy from this replica instead of the primary.")
    ] = None,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
) -> None:
    """Clone each NODE and have it stream: done means streaming, caught up and in the env file.

    Several nodes are cloned side by side. A stopped replica is started, a streaming one is left alone.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, verbose)
    end(commands.add_replica(options, nodes or [], every, source))


@app.command(rich_help_panel=EVERYDAY)
def status(
    inventory: InventoryFile = DEFAULT_INVENTORY,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw every second until Ctrl-C.")] = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
) -> None:
    """Show every node: role, lag in bytes and in time, slots, and who could be promoted. Changes nothing."""
    from replctl.cli import reading

    show = reading.watch_status if watch else reading.show_status
    end(reading.read_cluster(inventory, verbose, lambda cluster: show(cluster, output)))


@app.command(rich_help_panel=EVERYDAY)
def promote(
    node: Annotated[str | None, _node_argument("The node that becomes the primary; without it, who could.")] = None,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    failover: Annotated[bool, typer.Option("--failover", hidden=True)] = False,
    old_primary_fenced: Annotated[bool, typer.Option("--old-primary-fenced", hidden=True)] = False,
    accept_data_loss: Annotated[bool, typer.Option("--accept-data-loss", hidden=True)] = False,
) -> None:
    """Move the primary's role to NODE: a planned switchover in which no acknowledged write is lost.

    Before the promote request every failure puts the old primary back; after it the same command finishes the job.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, verbose)
    flags = commands.Unsupported(
        failover=failover, old_primary_fenced=old_primary_fenced, accept_data_loss=accept_data_loss
    )
    end(commands.promote(options, node, flags))


@app.command(rich_help_panel=EVERYDAY)
def env(
    inventory: InventoryFile = DEFAULT_INVENTORY,
    check: Annotated[bool, typer.Option("--check", help="Compare the env file with the cluster.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Bring the env file to how the cluster stands.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
) -> None:
    """Print the app's env file with its passwords masked, compare it, or write it."""
    from replctl.cli import commands, reading

    options = commands.ChangeOptions(inventory, dry_run, yes, output, verbose)
    if write:
        end(commands.write_env(options, check))
    end(reading.read_cluster(inventory, verbose, reading.check_env if check else reading.print_env))


@app.command(rich_help_panel=RECORDS)
def history(inventory: InventoryFile = DEFAULT_INVENTORY, output: OutputFormat = Output.TABLE) -> None:
    """Show the journal: what was done to this cluster from this folder, when, by whom and how it ended."""
    from replctl.cli import reading

    end(reading.show_history(inventory, output))


@inventory_app.command("check")
def inventory_check(inventory: InventoryFile = DEFAULT_INVENTORY) -> None:
    """Validate the inventory, its templates and its secrets. Contacts nothing."""
    from replctl.cli import commands

    end(commands.check_inventory(inventory))


@inventory_app.command("schema")
def inventory_schema() -> None:
    """Print the inventory's JSON Schema, for editors."""
    from replctl.cli import commands

    end(commands.print_inventory_schema())


@inventory_app.command("init", hidden=True)
def inventory_init() -> None:
    """Not built yet."""
    _refuse("inventory init")


_LATER = ("rejoin", "remove-replica", "check", "config", "restart")


def _refuse(command: str) -> None:
    from replctl.cli import commands

    end(commands.refuse_command(command))


def _later(command: str) -> Callable[[typer.Context], None]:
    def refuse(ctx: typer.Context) -> None:  # noqa: ARG001 - takes whatever stands behind the command's name
        _refuse(command)

    return refuse


_ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}
for _name in _LATER:
    app.command(_name, hidden=True, context_settings=_ANYTHING)(_later(_name))
