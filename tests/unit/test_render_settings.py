"""The managed settings."""

from __future__ import annotations

import pytest

from replctl.model.errors import InventoryError
from replctl.postgres.settings import listen_addresses, managed_settings, minimum_senders, socket_dir
from tests.unit.config_inventories import a_node, an_inventory


def settings(parameters: dict[str, str], nodes: int = 1, socket: str = "/run/postgresql") -> dict[str, str]:
    inventory = an_inventory(*(a_node(f"db{n}", f"10.0.0.{n}", parameters=parameters) for n in range(1, nodes + 1)))
    return managed_settings(inventory, next(iter(inventory.nodes.values())), socket_dir=socket)


@pytest.mark.parametrize(("nodes", "senders"), [(1, 10), (3, 10), (4, 12), (20, 44)])
def test_walsenders_grow_with_the_cluster(nodes: int, senders: int) -> None:
    inventory = an_inventory(*(a_node(f"db{n}", f"10.0.0.{n}") for n in range(nodes)))
    assert minimum_senders(inventory) == senders
    assert settings({}, nodes)["max_wal_senders"] == settings({}, nodes)["max_replication_slots"] == str(senders)


def test_parameters_raise_and_never_lower() -> None:
    assert settings({"max_wal_senders": "30"})["max_wal_senders"] == "30"
    assert settings({"max_wal_senders": "3"})["max_wal_senders"] == "10"
    assert settings({"wal_level": "logical"})["wal_level"] == "logical"
    assert settings({"max_slot_wal_keep_size": "-1"})["max_slot_wal_keep_size"] == "-1"


def test_a_raised_setting_has_to_be_a_number() -> None:
    with pytest.raises(
        InventoryError, match=r"nodes\.db1\.postgres\.parameters\.max_wal_senders: not a number: 'many'"
    ):
        settings({"max_wal_senders": "many"})


@pytest.mark.parametrize(
    ("host", "listens"),
    [
        ("10.0.0.11", "*"),
        ("db1.example", "*"),
        ("fd00::1", "*"),
        ("127.0.0.1", "localhost"),
        ("::1", "localhost"),
        ("localhost", "localhost"),
        ("127.0.0.2", "127.0.0.1,127.0.0.2"),
    ],
)
def test_listen_addresses(host: str, listens: str) -> None:
    assert listen_addresses(host) == listens


def test_the_socket_stands_in_run_postgresql_or_beside_the_data_directory() -> None:
    node = a_node("db1", "10.0.0.11", data_dir="/srv/pg/db1")
    assert socket_dir(node, can_link=True) == "/run/postgresql"
    assert socket_dir(node, can_link=False) == "/srv/pg/db1.replctl-run"


def test_a_socket_path_that_the_kernel_does_not_take_is_refused() -> None:
    rest = len(".replctl-run/.s.PGSQL.5432")
    fits, too_long = ("/" + "d" * (107 - rest - 1 + extra) for extra in (0, 1))
    assert socket_dir(a_node("db1", "h", data_dir=fits), can_link=False)
    with pytest.raises(InventoryError, match="db1: the unix socket"):
        socket_dir(a_node("db1", "h", data_dir=too_long), can_link=False)
    assert socket_dir(a_node("db1", "h", data_dir=too_long), can_link=True)


@pytest.mark.parametrize(
    ("directory", "item"), [("/a b/c", "/a b/c"), ("/a,b", '"/a,b"'), ('/a"b', '"/a""b"'), ("/a ", '"/a "')]
)
def test_a_socket_folder_is_one_item_of_the_list(directory: str, item: str) -> None:
    assert settings({}, socket=directory)["unix_socket_directories"] == item
