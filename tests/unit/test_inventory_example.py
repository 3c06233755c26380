"""inventory.example.yaml is the manual: it loads, and it names every key."""

import re
from pathlib import Path

import pytest
import yaml

from replctl.inventory import inventory_schema, parse_inventory
from replctl.inventory.kinds import keys_of
from replctl.inventory.validation import BLOCKS

TEXT = (Path(__file__).parents[2] / "inventory.example.yaml").read_text("utf-8")
ALL_KEYS = re.sub(r"^( *)#(?=[a-z-])", r"\1", TEXT, flags=re.MULTILINE)
"""The example with every commented-out key in use."""


@pytest.mark.parametrize("text", [TEXT, ALL_KEYS], ids=["as-it-is", "all-keys"])
def test_the_example_loads(text):
    inventory = parse_inventory(text, Path("/srv/inventory.yaml"))
    assert list(inventory.nodes) == ["db1", "db2"]


def test_the_example_names_every_key():
    named = set(_keys(yaml.safe_load(ALL_KEYS), ()))
    nodes = {(*block, key) for block, model in BLOCKS.items() for key in keys_of(model)}
    # What a node's own blocks may hold is what the common blocks hold: there one example of each is enough.
    assert {where for where in nodes - named if len(where) < 4 or where[-2] == "*"} == set()
    assert {("nodes", "*", "ssh", "port"), ("nodes", "*", "postgres", "port")} <= named


def test_the_example_shows_every_kind_of_password():
    document = yaml.safe_load(ALL_KEYS)
    assert {next(iter(document[role]["password"])) for role in ("admin", "replication", "app")} == {
        "env",
        "file",
        "command",
    }


def test_every_block_of_the_schema_is_known_where_keys_are_guessed():
    titles = {model.__name__ for model in BLOCKS.values()} | {"PasswordReference"}
    assert set(inventory_schema()["$defs"]) | {"InventoryFile"} == titles


def _keys(value, where):
    if isinstance(value, dict):
        for key, inner in value.items():
            here = (*where, "*") if where == ("nodes",) else (*where, key)
            yield here
            yield from _keys(inner, here)
    if isinstance(value, list):
        for inner in value:
            yield from _keys(inner, (*where, "*"))
