"""primary_conninfo and the passfile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from replctl.model.errors import SecretError
from replctl.model.inventory import Inventory
from replctl.model.secret import Secret
from replctl.model.values import NodeName
from replctl.postgres.conninfo import parse_upstream, passfile_path, passfile_text, primary_conninfo
from tests.unit.config_inventories import a_node, an_inventory

DB1, DB2, DB3 = (NodeName(f"db{n}") for n in (1, 2, 3))


def cluster(user: str = "replicator", data_dir: str = "/srv/pg/main") -> Inventory:
    return an_inventory(
        a_node("db1", "10.0.0.11", data_dir=data_dir),
        a_node("db2", "fd00::12", port=5433, data_dir=data_dir),
        a_node("db3", "db3.example", data_dir=data_dir),
        replication=user,
    )


def fields(line: str) -> list[str]:
    """The fields of a passfile line as libpq reads them."""
    found, escaped = [""], False
    for char in line:
        if not escaped and char in "\\:":
            escaped = char == "\\"
            if char == ":":
                found.append("")
        else:
            found[-1] += char
            escaped = False
    return found


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1))
def test_conninfo_says_what_it_should_whatever_the_names_are(name: str) -> None:
    inventory = cluster(user=name, data_dir=f"/srv/{name}")
    options = conninfo_to_dict(primary_conninfo(inventory, inventory.nodes[DB1], inventory.nodes[DB2]))
    assert options["host"] == "fd00::12"
    assert options["port"] == "5433"
    assert options["user"] == name
    assert options["application_name"] == "db1"
    assert options["passfile"] == f"/srv/{name}.replctl-passfile"
    assert "password" not in options


def test_a_vanished_peer_is_noticed() -> None:
    inventory = cluster()
    options = conninfo_to_dict(primary_conninfo(inventory, inventory.nodes[DB1], inventory.nodes[DB2]))
    idle, interval, count = (int(str(options[f"keepalives_{name}"])) for name in ("idle", "interval", "count"))
    assert int(str(options["tcp_user_timeout"])) == 1000 * (idle + interval * count) == 25_000
    assert options["connect_timeout"] == "10"


def test_conninfo_is_read_back() -> None:
    inventory = cluster()
    assert parse_upstream(primary_conninfo(inventory, inventory.nodes[DB1], inventory.nodes[DB2])) == ("fd00::12", 5433)


@pytest.mark.parametrize(
    ("conninfo", "upstream"),
    [
        ("", (None, None)),
        ("host=db1", ("db1", None)),
        ("hostaddr=10.0.0.1 port=1", ("10.0.0.1", 1)),
        ("host=a,b port=1,2", ("a,b", None)),
        ("postgresql://u:p@db1:77/x", ("db1", 77)),
        ("host='a", (None, None)),
        ("nonsense", (None, None)),
        ("port=²", (None, None)),
    ],
)
def test_parse_upstream(conninfo: str, upstream: tuple[str | None, int | None]) -> None:
    assert parse_upstream(conninfo) == upstream


def test_the_passfile_stands_outside_the_data_directory() -> None:
    assert passfile_path(cluster().nodes[DB1]) == "/srv/pg/main.replctl-passfile"


def test_the_passfile_has_a_line_for_every_peer() -> None:
    inventory = cluster()
    text = passfile_text(inventory, inventory.nodes[DB1], Secret(r"p:w\d"))
    assert text.reveal().splitlines() == [
        r"fd00\:\:12:5433:*:replicator:p\:w\\d",
        r"db3.example:5432:*:replicator:p\:w\\d",
    ]
    assert "p:w" not in f"{text!r}{text}"


@given(st.text(st.characters(blacklist_characters="\n\r\0", blacklist_categories=("Cs",)), min_size=1))
def test_the_passfile_is_read_back(password: str) -> None:
    inventory = cluster(user="a:b\\c")
    lines = passfile_text(inventory, inventory.nodes[DB3], Secret(password)).reveal().split("\n")
    assert [fields(line) for line in lines] == [
        ["10.0.0.11", "5432", "*", "a:b\\c", password],
        ["fd00::12", "5433", "*", "a:b\\c", password],
        [""],
    ]


@pytest.mark.parametrize("password", ["a\nb", "a\r", "a\0b"])
def test_a_password_that_no_passfile_holds_is_refused(password: str) -> None:
    inventory = cluster()
    with pytest.raises(SecretError) as caught:
        passfile_text(inventory, inventory.nodes[DB1], Secret(password))
    assert password not in caught.value.message + caught.value.hint
