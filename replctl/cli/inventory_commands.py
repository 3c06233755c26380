"""The commands that read an inventory alone, or not even that."""

from __future__ import annotations

import sys
from pathlib import Path

from replctl.cli.exits import run_command
from replctl.cli.streams import print_json
from replctl.inventory import inventory_schema
from replctl.model.errors import ExitCode
from replctl.remote.local_files import load_inventory, read_template_dir
from replctl.remote.secrets import resolve_passwords


def check_inventory(path: Path) -> ExitCode:
    """``inventory check``."""

    def body() -> ExitCode:
        inventory = load_inventory(path)
        read_template_dir(inventory.templates)
        resolve_passwords(inventory)
        names = ", ".join(inventory.nodes)
        sys.stdout.write(f"{path}: cluster {inventory.cluster}, {len(inventory.nodes)} nodes: {names}\n")
        return ExitCode.DONE

    return run_command(body, state_dir=path.parent / ".replctl")


def print_inventory_schema() -> ExitCode:
    """``inventory schema``."""

    def body() -> ExitCode:
        print_json(inventory_schema())
        return ExitCode.DONE

    return run_command(body)
