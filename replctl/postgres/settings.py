"""The PostgreSQL settings that replctl manages, and the values it gives them."""

from __future__ import annotations

from ipaddress import ip_address

from replctl.model.errors import InventoryError
from replctl.model.inventory import Inventory, Node

RAISABLE = frozenset({"wal_level", "max_wal_senders", "max_replication_slots", "max_slot_wal_keep_size"})
"""Managed settings that the inventory's ``parameters`` may raise."""

MANAGED = RAISABLE | {
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "hot_standby",
    "wal_log_hints",
    "password_encryption",
    "recovery_target_timeline",
}

RUN_DIRECTORY = "/run/postgresql"

MAX_SOCKET_PATH_BYTES = 107
"""sun_path has 108 bytes on Linux, the last of them a NUL."""


def managed_settings(inventory: Inventory, node: Node, *, socket_dir: str) -> dict[str, str]:
    """The managed settings of a node, in the order in which they are rendered, before any quoting.

    Raises InventoryError when a raised setting is not a number.
    """
    raised = node.postgres.parameters
    senders, slots = (
        _at_least(minimum_senders(inventory), node, name) for name in ("max_wal_senders", "max_replication_slots")
    )
    return {
        "listen_addresses": listen_addresses(node.host),
        "port": str(node.postgres.port),
        "unix_socket_directories": _directory_item(socket_dir),
        "password_encryption": "scram-sha-256",
        "wal_level": raised.get("wal_level", "replica"),
        "wal_log_hints": "on",
        "max_wal_senders": str(senders),
        "max_replication_slots": str(slots),
        "max_slot_wal_keep_size": raised.get("max_slot_wal_keep_size", "10GB"),
        "hot_standby": "on",
        "recovery_target_timeline": "latest",
    }


def minimum_senders(inventory: Inventory) -> int:
    """Walsenders and slots that the cluster needs on every node: two a standby while it is cloned, and reserve.

    The same on every node whatever its role is now: a standby's max_wal_senders must not be below its primary's.
    """
    return max(10, 2 * len(inventory.nodes) + 4)


def listen_addresses(host: str) -> str:
    """Every address, so that the node can be reached under ``host`` and through the tunnel alike.

    A node that lives on a loopback address does not listen on any other.
    """
    if host in {"localhost", "127.0.0.1", "::1"}:
        return "localhost"
    return f"127.0.0.1,{host}" if is_loopback(host) else "*"


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or a loopback address. Other names are not looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def socket_dir(node: Node, *, can_link: bool) -> str:
    """The folder of a node's Unix socket: /run/postgresql when the OS user can write it (``can_link``), else a
    folder beside the data directory that only the OS user may enter (mode 0700). Never /tmp.

    Raises InventoryError when the socket's path would be longer than the kernel allows.
    """
    directory = RUN_DIRECTORY if can_link else f"{node.postgres.data_dir}.replctl-run"
    path = f"{directory}/.s.PGSQL.{node.postgres.port}"
    if len(path.encode("utf-8", "surrogateescape")) > MAX_SOCKET_PATH_BYTES:
        raise InventoryError(
            f"{node.name}: the unix socket {path} has a longer path than the {MAX_SOCKET_PATH_BYTES} bytes that the"
            " kernel allows",
            hint=f"Let the OS user write {RUN_DIRECTORY}, or choose a shorter data_dir.",
            node=node.name,
        )
    return directory


def _directory_item(directory: str) -> str:
    """One item of PostgreSQL's comma-separated list: double-quoted where a plain one would be cut up."""
    if directory.strip() == directory and not any(char in directory for char in ',"'):
        return directory
    return '"' + directory.replace('"', '""') + '"'


def _at_least(minimum: int, node: Node, name: str) -> int:
    text = node.postgres.parameters.get(name, "0")
    try:
        return max(minimum, int(text))
    except ValueError as error:
        raise InventoryError(
            f"nodes.{node.name}.postgres.parameters.{name}: not a number: {text!r}",
            hint=f"Write a whole number of at least {minimum}, or leave it out.",
            node=node.name,
        ) from error
