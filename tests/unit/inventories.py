"""A small inventory, changes to it, and what the parser says to them."""

from pathlib import Path

import pytest
import yaml

from replctl.inventory import parse_inventory
from replctl.model.errors import ExitCode, InventoryError
from replctl.model.inventory import Inventory

PATH = Path("/srv/chat/inventory.yaml")
SMALL = """\
cluster: chat
postgres: {data_dir: /var/lib/postgresql/15/main}
admin: {user: postgres, password: {file: secrets/admin}}
replication: {user: replicator, password: {env: REPLICATION_PASSWORD}}
app: {database: chatdb, user: chat, password: {command: pass show 'chat db'}}
nodes:
  db1: {host: 10.0.0.11}
  db2: {host: 10.0.0.12}
"""


def tree() -> dict:
    return yaml.safe_load(SMALL)


def changed(*where, to) -> str:
    """The small inventory with one value put in (flow style, so that every value is quoted as YAML needs it)."""
    document = tree()
    block = document
    for key in where[:-1]:
        block = block.setdefault(key, {})
    block[where[-1]] = to
    return yaml.safe_dump(document, sort_keys=False)


def parse(text: str) -> Inventory:
    return parse_inventory(text, PATH)


def complaints(text: str) -> list[str]:
    with pytest.raises(InventoryError) as caught:
        parse(text)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.hint.endswith(".")
    return str(caught.value).splitlines()


def complaint(text: str) -> str:
    (line,) = complaints(text)
    return line
