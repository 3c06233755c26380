"""What the keys of an inventory demand of each other."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from replctl.inventory.conversion import merged_postgres, merged_ssh
from replctl.inventory.parameters import lowered
from replctl.inventory.problems import Problem, Where
from replctl.inventory.schema import InventoryFile, NodeBlock
from replctl.model.values import NodeName, slot_name
from replctl.postgres.standby_names import STANDBY_NAMES

_DEFAULT_PORT = 5432


def rule_problems(file: InventoryFile) -> Iterator[Problem]:
    """Everything that no single key shows."""
    merged = {name: merged_postgres(file.postgres, node) for name, node in file.nodes.items()}
    yield from _roles(file)
    yield from _slots(file)
    yield from _instances(file, merged)
    yield from _data_dirs(file, merged)
    yield from _versions(merged)
    yield from _routes(file, merged)
    yield from _app_hosts(file)
    yield from _parameters(file)
    yield from _synchronous(file)


def _roles(file: InventoryFile) -> Iterator[Problem]:
    users = {
        ("admin", "user"): file.admin.user,
        ("replication", "user"): file.replication.user,
        ("app", "user"): file.app.user,
    }
    for where, other, _ in _repeated(users.items()):
        yield Problem(where, f"is the role of {other[0]} already; the three roles must differ")


def _slots(file: InventoryFile) -> Iterator[Problem]:
    slots = {("nodes", name): slot_name(NodeName(name)) for name in file.nodes}
    for where, other, slot in _repeated(slots.items()):
        yield Problem(where, f"has the replication slot of {other[1]} ({slot}); rename one of them")


def _instances(file: InventoryFile, merged: Mapping[str, dict[str, Any]]) -> Iterator[Problem]:
    instances = {
        ("nodes", name, "host"): (_same_host(node.host), merged[name].get("port", _DEFAULT_PORT))
        for name, node in file.nodes.items()
    }
    for where, other, (_, port) in _repeated(instances.items()):
        yield Problem(where, f"is the same host and PostgreSQL port ({port}) as {other[1]}")


def _data_dirs(file: InventoryFile, merged: Mapping[str, dict[str, Any]]) -> Iterator[Problem]:
    machines: dict[Where, Hashable] = {}
    for name, node in file.nodes.items():
        data_dir = merged[name].get("data_dir")
        if data_dir is None:
            yield Problem(("nodes", name), "has no data_dir; set postgres.data_dir, for all nodes or here")
        else:
            machines["nodes", name, "postgres", "data_dir"] = (*_machine(file, node), data_dir)
    for where, other, _ in _repeated(machines.items()):
        yield Problem(where, f"is the same directory on the same host as that of {other[1]}")


def _machine(file: InventoryFile, node: NodeBlock) -> tuple[Hashable, ...]:
    """What tells two machines apart as far as the file shows."""
    if node.connection == "local":
        return ("local",)
    return _same_host(node.ssh_host or node.host), merged_ssh(file.ssh, node).get("port")


def _versions(merged: Mapping[str, dict[str, Any]]) -> Iterator[Problem]:
    given = {name: each["version"] for name, each in merged.items() if "version" in each}
    first = next(iter(given), "")
    for name, version in given.items():
        if version != given[first]:
            where = ("nodes", name, "postgres", "version")
            yield Problem(where, f"is {version}, but {first} has {given[first]}; all nodes run one major version")


def _routes(file: InventoryFile, merged: Mapping[str, dict[str, Any]]) -> Iterator[Problem]:
    direct = [name for name, each in merged.items() if each.get("connect") == "direct"]
    if file.admin.allow:
        return
    for where in dict.fromkeys(_connect_key(file, name) for name in direct):
        yield Problem(where, "direct needs admin.allow: the networks from which the admin role may connect")


def _connect_key(file: InventoryFile, name: str) -> Where:
    """Where a node's route was given: at the node, or else among the defaults for every node."""
    own = file.nodes[name].postgres
    return ("nodes", name, "postgres", "connect") if own and own.connect else ("postgres", "connect")


def _app_hosts(file: InventoryFile) -> Iterator[Problem]:
    files: dict[Where, Hashable] = {}
    for index, each in enumerate(file.app.publish or ()):
        files["app", "publish", index] = (_same_host(each.host), merged_ssh(file.ssh, each).get("port"), each.path)
        if each.ssh and each.ssh.user:
            yield Problem(("app", "publish", index, "ssh", "user"), "stands beside host, as user")
    for where, other, _ in _repeated(files.items()):
        yield Problem(where, f"is the same file on the same host as item {other[2]}")


def _parameters(file: InventoryFile) -> Iterator[Problem]:
    for where, parameters in _parameter_blocks(file).items():
        for name, text in lowered(parameters, len(file.nodes)):
            yield Problem((*where, name), text)


def _parameter_blocks(file: InventoryFile) -> Mapping[Where, Mapping[str, str]]:
    blocks: dict[Where, Mapping[str, str]] = {("postgres", "parameters"): file.postgres.parameters or {}}
    for name, node in file.nodes.items():
        if node.postgres and node.postgres.parameters:
            blocks["nodes", name, "postgres", "parameters"] = node.postgres.parameters
    return blocks


def _synchronous(file: InventoryFile) -> Iterator[Problem]:
    if file.sync is None:
        return
    replicas = len(file.nodes) - 1
    if file.sync.count > replicas:
        yield Problem(("sync", "count"), f"commits would wait for {file.sync.count} replicas, and there are {replicas}")
    for where, parameters in _parameter_blocks(file).items():
        if STANDBY_NAMES in parameters:
            yield Problem((*where, STANDBY_NAMES), "is managed by replctl, because of sync; remove one of them")


def _repeated(places: Iterable[tuple[Where, Any]]) -> Iterator[tuple[Where, Where, Any]]:
    """Each place whose value stood before, the place where it stood first, and the value."""
    first: dict[Any, Where] = {}
    for where, value in places:
        if first.setdefault(value, where) != where:
            yield where, first[value], value


def _same_host(text: str) -> Hashable:
    """One address has several spellings; names do not differ by case."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return text.lower()
