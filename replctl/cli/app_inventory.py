"""The command line of ``replctl inventory``."""

from __future__ import annotations

import typer

from replctl.cli.options import DEFAULT_INVENTORY, InventoryFile, end

inventory_app = typer.Typer(help="Check an inventory, or print its JSON Schema for editors.", no_args_is_help=True)


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
    """Write a first inventory: not built yet."""
    from replctl.cli import commands

    end(commands.refuse_command("inventory init"))
