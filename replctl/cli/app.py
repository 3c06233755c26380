"""The command line: one small function a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from replctl import __version__
from replctl.cli.app_config import config_app
from replctl.cli.app_inventory import inventory_app
from replctl.cli.command_line import CommandLine
from replctl.cli.completion import complete_node, complete_role
from replctl.cli.options import (
    DEFAULT_INVENTORY,
    DryRun,
    InventoryFile,
    LogFile,
    Output,
    OutputFormat,
    StatusFormat,
    StatusOutput,
    Timings,
    Tracing,
    Verbose,
    Yes,
    end,
)

if TYPE_CHECKING:
    from replctl.planning.consent import Consent

SETUP, EVERYDAY, RECORDS = "Set up", "Every day", "Records and tools"

app = CommandLine(help="Provision, watch and promote PostgreSQL streaming replicas over plain SSH.")
app.add_typer(inventory_app, name="inventory", rich_help_panel=RECORDS)
app.add_typer(config_app, name="config", rich_help_panel=EVERYDAY)


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

    One inventory file describes the cluster; what each node is now is observed. Start with `replctl lab up`, or
    with `replctl inventory init`.
    """


def given(**flags: bool) -> frozenset[Consent]:
    """The statements that were made, by their names in Consent."""
    from replctl.planning.consent import Consent

    return frozenset(Consent[name] for name, stated in flags.items() if stated)


def _node_argument(help_text: str) -> typer.models.ArgumentInfo:
    return typer.Argument(metavar="NODE", help=help_text, autocompletion=complete_node)


@app.command("init-primary", rich_help_panel=SETUP)
def init_primary(
    node: Annotated[str, _node_argument("The node that becomes the primary.")],
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over a running primary that replctl did not make.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="With --adopt: restart it where a setting needs that.")
    ] = False,
) -> None:
    """Make NODE the primary: initdb, configuration, roles, app database, env file.

    On today's primary it brings what differs to what the inventory says; a stopped primary it starts again. With
    --adopt a running primary that somebody else set up becomes the cluster's, and keeps all that it has.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, Tracing(verbose, log_file, timings))
    end(commands.init_primary(options, node, commands.adoption(adopt=adopt, restart=restart)))


@app.command("add-replica", rich_help_panel=SETUP)
def add_replica(
    nodes: Annotated[
        list[str] | None,
        typer.Argument(metavar="NODE...", help="The nodes that become replicas.", autocompletion=complete_node),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every node of the inventory but the primary.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NODE",
            help="Copy from this replica instead of the primary.",
            autocompletion=complete_node,
        ),
    ] = None,
    max_rate: Annotated[
        str | None,
        typer.Option("--max-rate", metavar="RATE", help="Of each copy, a second: kB, or with M: MB."),
    ] = None,
    compress: Annotated[
        str | None,
        typer.Option("--compress", metavar="METHOD[:LEVEL]", help="On the way: server-gzip, server-lz4, server-zstd."),
    ] = None,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Clone each NODE and have it stream: done means streaming, caught up and in the env file.

    Several nodes are cloned side by side. A stopped replica is started, a streaming one is left alone.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, Tracing(verbose, log_file, timings))
    copying = commands.Copying(source, max_rate, compress)
    end(commands.add_replica(options, nodes or [], every, copying))


@app.command(rich_help_panel=EVERYDAY)
def status(
    inventory: InventoryFile = DEFAULT_INVENTORY,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw every second until Ctrl-C.")] = False,
    output: StatusFormat = StatusOutput.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Show every node: role, lag in bytes and in time, slots, and who could be promoted. Changes nothing."""
    from replctl.cli import reading

    show = reading.watch_status if watch else reading.show_status
    tracing = Tracing(verbose, log_file, timings)
    end(reading.read_cluster(inventory, tracing, lambda cluster: show(cluster, output), output=output))


@app.command(rich_help_panel=EVERYDAY)
def check(
    nagios: Annotated[
        bool, typer.Option("--nagios", help="One line and the exit code of a monitoring plugin.")
    ] = False,
    max_lag: Annotated[float, typer.Option("--max-lag", min=0.0, help="Seconds that a replica may be behind.")] = 5.0,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Check every node and every link, one line each, with the command that mends what is wrong. Changes nothing."""
    from replctl.cli import check as checks

    run = checks.check_as_plugin if nagios else checks.check
    end(run(inventory, output, max_lag, Tracing(verbose, log_file, timings)))


@app.command(rich_help_panel=EVERYDAY)
def promote(
    node: Annotated[str | None, _node_argument("The node that becomes the primary; without it, who could.")] = None,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
    failover: Annotated[
        bool, typer.Option("--failover", help="The primary is dead: go on without it, and say what that loses.")
    ] = False,
    old_primary_fenced: Annotated[
        bool, typer.Option("--old-primary-fenced", help="The unreachable old primary surely accepts no writes.")
    ] = False,
    accept_data_loss: Annotated[
        bool, typer.Option("--accept-data-loss", help="Give up what another replica has, or may have, and NODE lacks.")
    ] = False,
) -> None:
    """Move the primary's role to NODE: a planned switchover in which no acknowledged write is lost.

    Before the promote request every failure puts the old primary back; after it the same command finishes the job.
    With --failover the old primary is dead, and what it had not sent is lost.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, Tracing(verbose, log_file, timings))
    stated = given(FENCED=old_primary_fenced, DATA_LOSS=accept_data_loss)
    end(commands.promote(options, node, failover, stated))


@app.command(rich_help_panel=EVERYDAY)
def drill(
    node: Annotated[str | None, _node_argument("The replica to practise with; without it, the best candidate.")] = None,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Practise the failover: a switchover to NODE and one back, with a writer and readers at work.

    It reports how long writes and reads were down and that no row was lost, and `replctl status` shows from then on
    when that was proven last. Two short outages of writes: it asks for the cluster's name.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, Tracing(verbose, log_file, timings))
    end(commands.drill(options, node))


@app.command(rich_help_panel=EVERYDAY)
def rejoin(
    node: Annotated[str, _node_argument("The node that comes back as a replica.")],
    discard_diverged: Annotated[
        bool, typer.Option("--discard-diverged", help="Give up the commits that NODE alone has; its WAL is kept aside.")
    ] = False,
    reclone: Annotated[
        bool, typer.Option("--reclone", help="Clone NODE anew; what stands there is moved aside.")
    ] = False,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Bring NODE back: as it is, by pg_rewind, or as a new clone, whichever its WAL allows."""
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, Tracing(verbose, log_file, timings))
    end(commands.rejoin(options, node, given(DISCARD=discard_diverged, RECLONE=reclone)))


@app.command(rich_help_panel=EVERYDAY)
def remove_replica(
    node: Annotated[str, _node_argument("The replica that leaves the cluster.")],
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Leave the data directory where it is.")] = False,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Take NODE out of the env file, stop it and drop its slot. Its data directory is moved aside, not deleted.

    Of a node that cannot be reached, the slot and the env file are seen to; the rest is left for later.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, Tracing(verbose, log_file, timings))
    end(commands.remove_replica(options, node, keep_data))


@app.command(rich_help_panel=EVERYDAY)
def restart(
    node: Annotated[str | None, _node_argument("The node that restarts where it is, in its role.")] = None,
    rolling: Annotated[bool, typer.Option("--rolling", help="Every node; the primary by a switchover.")] = False,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Restart NODE, or with --rolling every node one after the other: replicas first, then the primary by a switchover.

    For minor upgrades and for settings that take effect at a start.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, Tracing(verbose, log_file, timings))
    end(commands.restart(options, node, rolling))


@app.command(rich_help_panel=EVERYDAY)
def rotate_password(
    role: Annotated[
        str,
        typer.Argument(metavar="replication|app|admin", help="Whose password is new.", autocompletion=complete_role),
    ],
    old_password_file: Annotated[
        Path | None,
        typer.Option(
            "--old-password-file", metavar="FILE", help="Of the admin, where its host does not let the OS user in."
        ),
    ] = None,
    inventory: InventoryFile = DEFAULT_INVENTORY,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Bring the servers to a new password that stands where the inventory says: role, passfiles, env file.

    Connections that are open stay. Run again after any interruption, it goes on from what is there.
    """
    from replctl.cli import commands

    options = commands.ChangeOptions(
        inventory, dry_run, yes, output, Tracing(verbose, log_file, timings), old_password_file
    )
    end(commands.rotate_password(options, role))


@app.command(rich_help_panel=EVERYDAY)
def env(
    inventory: InventoryFile = DEFAULT_INVENTORY,
    check: Annotated[bool, typer.Option("--check", help="Compare the env file with the cluster.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Bring the env file to how the cluster stands.")] = False,
    for_region: Annotated[
        str | None, typer.Option("--for-region", metavar="REGION", help="Print it for an application there.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: OutputFormat = Output.TABLE,
    verbose: Verbose = False,
    log_file: LogFile = None,
    timings: Timings = False,
) -> None:
    """Print the app's env file with its passwords masked, compare it, or write it."""
    from replctl.cli import commands

    options = commands.ChangeOptions(inventory, dry_run, yes, output, Tracing(verbose, log_file, timings))
    end(commands.env(options, check, write, for_region))


@app.command(rich_help_panel=RECORDS)
def history(inventory: InventoryFile = DEFAULT_INVENTORY, output: OutputFormat = Output.TABLE) -> None:
    """Show the journal: what was done to this cluster from this folder, when, by whom and how it ended."""
    from replctl.cli import reading

    end(reading.show_history(inventory, output))
