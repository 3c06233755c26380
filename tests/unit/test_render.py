"""The rendered files: golden texts, the operator's own templates, names that pg_hba.conf would misread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replctl.model.errors import InventoryError
from replctl.model.inventory import Inventory
from replctl.model.values import NodeName
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.ownership import MARK
from replctl.postgres.render import Templates, hba_addresses, render_config
from replctl.postgres.settings import MANAGED, managed_settings
from tests.unit.config_inventories import (
    REPOSITORY,
    a_node,
    an_inventory,
    loopback_lab,
    shipped_templates,
    three_nodes,
)

GOLDEN = REPOSITORY / "tests" / "golden" / "config"
DB1 = NodeName("db1")


def rendered(inventory: Inventory, templates: Templates, major: int = 15) -> dict[str, str]:
    files = render_config(inventory, inventory.nodes[DB1], templates, major=major, socket_dir="/run/postgresql")
    return {file.name: file.text for file in files}


def hba_rules(inventory: Inventory) -> list[list[str]]:
    text = rendered(inventory, shipped_templates())["pg_hba.conf"]
    return [line.split("  ") for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", ["postgresql.conf", "pg_hba.conf"])
@pytest.mark.parametrize(
    ("case", "inventory", "major"),
    [("cluster-15", three_nodes(), 15), ("cluster-18", three_nodes(), 18), ("lab-15", loopback_lab(), 15)],
    ids=["cluster-15", "cluster-18", "lab-15"],
)
def test_rendered_files_are_the_golden_ones(case: str, inventory: Inventory, major: int, name: str) -> None:
    text = rendered(inventory, shipped_templates(), major)[name]
    golden = GOLDEN / f"{case}-{name}"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_rendering_twice_gives_the_same_text() -> None:
    assert rendered(three_nodes(), shipped_templates()) == rendered(three_nodes(), shipped_templates())


def test_the_shipped_template_writes_every_managed_setting() -> None:
    inventory = three_nodes()
    managed = managed_settings(inventory, inventory.nodes[DB1], socket_dir="/run/postgresql")
    written = parse_conf(rendered(inventory, shipped_templates())["postgresql.conf"])
    assert set(managed) == MANAGED
    assert managed.items() <= written.items()


def test_parameters_come_last_and_win() -> None:
    inventory = an_inventory(
        a_node("db1", "10.0.0.11", parameters={"logging_collector": "off", "app.greeting": r"it's \a"})
    )
    text = rendered(inventory, shipped_templates())["postgresql.conf"]
    assert parse_conf(text)["logging_collector"] == "off"
    assert parse_conf(text)["app.greeting"] == r"it's \a"


@pytest.mark.parametrize(
    ("template", "line", "words"),
    [
        ("a\n{{ nodes }}\n", 2, "'nodes' is undefined"),
        ("a\nb\n{% if %}\n", 3, "Expected an expression"),
        ("{{ 1 / 0 }}", 1, "division by zero"),
        ("\n{{ ''.__class__ }}", 2, "unsafe"),
        ("\n\n{{ managed.clear() }}", 3, "unsafe"),
        ("{{ managed.shared_buffers }}", 1, "no attribute"),
        ("{% include 'secrets' %}", 1, "cannot include another file"),
        ("{% for n in range(10 ** 9) %}{% endfor %}", 1, "Range too big"),
        ("{{ 'a' + 1 }}", 1, "str"),
        ("{{ 'a' | nope }}", 1, "No filter named"),
        ('{{ "a\\nb" | setting }}', 1, "line break"),
    ],
)
def test_a_failing_template_is_an_inventory_error_with_its_line(template: str, line: int, words: str) -> None:
    with pytest.raises(InventoryError) as caught:
        rendered(three_nodes(), Templates(template, ""))
    assert words in caught.value.message
    if "line break" not in words:
        assert caught.value.message.startswith(f"postgresql.conf.j2:{line}: ")
    assert caught.value.hint


def test_a_failing_template_of_the_operator_is_named_with_its_folder() -> None:
    inventory = an_inventory(a_node("db1", "10.0.0.11"), templates=Path("/srv/chat/templates"))
    with pytest.raises(InventoryError, match=r"^/srv/chat/templates/pg_hba\.conf\.j2:1: "):
        rendered(inventory, Templates("", "{{ x }}"))


def test_templates_get_plain_values_and_no_secret() -> None:
    inventory = three_nodes()
    text = rendered(inventory, Templates("{{ cluster }} {{ node }} {{ host }} {{ major }}", "{{ peers | join(' ') }}"))
    assert text["postgresql.conf"] == f"# {MARK}\nchat db1 10.0.0.11 15"
    assert text["pg_hba.conf"] == f"# {MARK}\n10.0.0.11/32 10.0.0.12/32 10.0.0.13/32"


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("10.0.0.11", ("10.0.0.11/32",)),
        ("fd00::A", ("fd00::a/128",)),
        ("db1.example", ('"db1.example"',)),
        ("all", ('"all"',)),
        ("127.0.0.1", ("127.0.0.1/32",)),
        ("127.0.0.2", ("127.0.0.1/32",)),
        ("::1", ("::1/128",)),
        ("localhost", ("127.0.0.1/32", "::1/128")),
    ],
)
def test_hba_addresses(host: str, addresses: tuple[str, ...]) -> None:
    assert hba_addresses(host) == addresses


def test_no_rule_trusts_and_none_is_open_to_everyone() -> None:
    for rule in hba_rules(three_nodes()):
        assert rule[-1] in {"scram-sha-256", "peer"}
        assert rule[-1] == "scram-sha-256" or rule[0] == "local"
        assert rule[2] not in {"all", '"all"'}
        assert not {"0.0.0.0/0", "::/0", "all", "samenet"} & set(rule[3:])


def test_every_node_may_stream_from_and_rewind_every_node() -> None:
    rules = hba_rules(three_nodes())
    for n in (1, 2, 3):
        for database in ("replication", '"postgres"'):
            assert ["host", database, '"replicator"', f"10.0.0.1{n}/32", "scram-sha-256"] in rules


def test_loopback_nodes_share_their_rules() -> None:
    rules = hba_rules(loopback_lab())
    assert len(rules) == len({tuple(rule) for rule in rules})
    assert [rule[3] for rule in rules if rule[1] == "replication"] == ["127.0.0.1/32"]


@pytest.mark.parametrize(("admin", "method"), [("postgres", "peer"), ("root", "scram-sha-256")])
def test_the_os_user_needs_no_password_when_it_has_the_name_of_the_admin(admin: str, method: str) -> None:
    local = [rule for rule in hba_rules(an_inventory(a_node("db1", "10.0.0.11"), admin=admin)) if rule[0] == "local"]
    assert local[0] == ["local", "all", f'"{admin}"', method]


@pytest.mark.parametrize("name", ["all", "replication", "+group", "@file", "a b", "a,b", "a#b", 'a"b', "é"])
def test_names_are_quoted(name: str) -> None:
    text = rendered(an_inventory(a_node("db1", "10.0.0.11"), database=name), shipped_templates())["pg_hba.conf"]
    assert f'local  "{name.replace(chr(34), chr(34) * 2)}"  "chat"  scram-sha-256' in text.splitlines()


@pytest.mark.parametrize("name", ["/x", "", "a\nb", "a\tb", "x" * 64])
def test_names_that_pg_hba_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(InventoryError, match=r"pg_hba\.conf cannot name"):
        rendered(an_inventory(a_node("db1", "10.0.0.11"), replication=name), shipped_templates())


def test_networks_are_written_as_postgresql_compares_them() -> None:
    inventory = an_inventory(a_node("db1", "10.0.0.11", allow=("10.0.5.9/24", "10.0.6.1")), admin_allow=("fd00::9",))
    rules = hba_rules(inventory)
    assert {rule[3] for rule in rules if rule[2] == '"chat"' and rule[0] == "host"} >= {"10.0.5.0/24", "10.0.6.1/32"}
    assert ["host", "all", '"postgres"', "fd00::9/128", "scram-sha-256"] in rules


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(InventoryError, match="not a network: 'all'"):
        hba_rules(an_inventory(a_node("db1", "10.0.0.11", allow=("all",))))
