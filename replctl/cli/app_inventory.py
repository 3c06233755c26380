"""The command line of ``replctl inventory``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from replctl.cli.command_line import CommandLine
from replctl.cli.options import DEFAULT_INVENTORY, InventoryFile, end

inventory_app = CommandLine(help="Write a first inventory, check one, or print its JSON Schema for editors.")


@inventory_app.command("init")
def inventory_init(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", envvar="REPLCTL_INVENTORY", help="The inventory to write.")
    ] = (DEFAULT_INVENTORY),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: defaults for what no option says.")] = False,
    nodes: Annotated[
        list[str] | None, typer.Option("--node", metavar="NAME=HOST", help="A node; once for each of them.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="The name of the cluster.", show_default=False)] = None,
    version: Annotated[str | None, typer.Option(help="PostgreSQL's major version.", show_default=False)] = None,
    ssh_user: Annotated[str | None, typer.Option(help="The SSH user.", show_default=False)] = None,
    service: Annotated[str | None, typer.Option(help="pg_ctl, pg_ctlcluster or systemd.", show_default=False)] = None,
    data_dir: Annotated[str | None, typer.Option(help="The data directory.", show_default=False)] = None,
    database: Annotated[str | None, typer.Option(help="The application's database.", show_default=False)] = None,
    app_user: Annotated[str | None, typer.Option(help="The application's user in it.", show_default=False)] = None,
    env_file: Annotated[str | None, typer.Option(help="The application's env file.", show_default=False)] = None,
) -> None:
    """Write a first inventory by asking for what it needs, with new passwords beside it. Contacts nothing."""
    from replctl.cli.first_inventory import init_inventory
    from replctl.cli.prompts import Answer

    options = {
        "cluster": cluster,
        "version": version,
        "ssh_user": ssh_user,
        "service": service,
        "data_dir": data_dir,
        "database": database,
        "app_user": app_user,
        "env_file": env_file,
    }
    given = {name: value for name, value in options.items() if value is not None}
    end(init_inventory(file, given, nodes or [], Answer.YES if yes else Answer.ASK))


@inventory_app.command("check")
def inventory_check(inventory: InventoryFile = DEFAULT_INVENTORY) -> None:
    """Validate the inventory, its templates and its secrets. Contacts nothing."""
    from replctl.cli import inventory_commands

    end(inventory_commands.check_inventory(inventory))


@inventory_app.command("schema")
def inventory_schema() -> None:
    """Print the inventory's JSON Schema, for editors."""
    from replctl.cli import inventory_commands

    end(inventory_commands.print_inventory_schema())
