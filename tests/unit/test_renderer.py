"""One renderer for many nodes: each of them gets what it would get alone, whatever the template does with its name."""

from __future__ import annotations

import pytest

from replctl.model.actions import ConfigFile
from replctl.model.errors import InventoryError
from replctl.model.inventory import Inventory
from replctl.postgres.filling import Form
from replctl.postgres.ownership import marked
from replctl.postgres.render import Renderer, Templates, render_config
from tests.unit.config_inventories import a_node, an_inventory, loopback_lab, shipped_templates, three_nodes

NAMES_IN_OTHER_WAYS = (
    "{{ node }} {{ node | upper }}\n",
    "{{ node ~ '!' }}\n",
    "{% if host == '10.0.0.12' %}only there{% endif %}\n",
    "{% set other = node %}{{ other }}\n",
    "{% set node = 'another' %}{{ node }}\n",
    "{% set text %}{{ node }}{% endset %}{{ text | length }}\n",
    "{% for node in ['x', 'y'] %}{{ node }}{% endfor %}{{ node }}\n",
    "{% filter upper %}{{ node }}{% endfilter %}\n",
    "{% macro name(of) %}{{ of }} on {{ host }}{% endmacro %}{{ name(node) | upper }}\n",
    "{% block heading %}{{ node }}{% endblock %}\n",
    "{{ [node, host] | join(' ') }}\n",
)


def mixed() -> Inventory:
    """No two nodes with the same rules and settings, but for db1 and db4."""
    return an_inventory(
        a_node("db1", "10.0.0.11"),
        a_node("db2", "10.0.0.12", os_user="me", port=5433),
        a_node("db3", "fd00::13", allow=("10.0.5.0/24",), parameters={"work_mem": "8MB"}),
        a_node("db4", "10.0.0.14"),
    )


def together(inventory: Inventory, templates: Templates) -> list[tuple[ConfigFile, ...]]:
    renderer = Renderer(inventory, templates)
    return [renderer.config(node, major=15, socket_dir="/run/postgresql") for node in inventory.nodes.values()]


def alone(inventory: Inventory, templates: Templates) -> list[tuple[ConfigFile, ...]]:
    nodes = inventory.nodes.values()
    return [render_config(inventory, node, templates, major=15, socket_dir="/run/postgresql") for node in nodes]


@pytest.mark.parametrize("inventory", [three_nodes(), loopback_lab(), mixed()], ids=["three", "lab", "mixed"])
def test_the_shipped_templates(inventory: Inventory) -> None:
    assert together(inventory, shipped_templates()) == alone(inventory, shipped_templates())


def test_what_names_no_node_is_filled_in_once() -> None:
    """pg_hba.conf has a line for every node, on every node."""
    found = [files[1] for files in together(three_nodes(), shipped_templates())]
    assert len({id(file.text) for file in found}) == 1


@pytest.mark.parametrize("text", NAMES_IN_OTHER_WAYS)
def test_templates_that_use_a_name_in_other_ways(text: str) -> None:
    inventory = mixed()
    form = Form(inventory, "any.conf.j2", text)
    wanted = [marked(form.filled({"node": node.name, "host": node.host})) for node in inventory.nodes.values()]
    found = together(inventory, Templates(text, text))
    assert [[file.text for file in files] for files in found] == [[text, text] for text in wanted]


def test_a_template_that_cannot_be_read_is_told_when_it_is_filled_in() -> None:
    with pytest.raises(InventoryError, match=r"^pg_hba\.conf\.j2:1: "):
        together(mixed(), Templates("", "{% if %}"))
