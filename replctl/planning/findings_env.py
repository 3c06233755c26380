"""Findings about the env file: it has to list the primary and every proven replica, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from replctl.model.facts import ClusterFacts, Unreachable
from replctl.model.inventory import Inventory
from replctl.model.report import Finding, NodeRole, Severity
from replctl.model.values import NodeName
from replctl.planning.states import role_of
from replctl.planning.topology import proven_replicas

WRITE = "Run `replctl env --write`."


def env_findings(inventory: Inventory, facts: ClusterFacts, env_problem: str | None) -> Iterator[Finding]:
    """``env-drift`` for each way in which the file departs from the cluster. Without one primary nobody can say."""
    file = inventory.app.env_file
    if env_problem is not None:
        hint = f"Make {file} a file that the user who runs replctl can read."
        message = f"{file.name} could not be read, so that nothing is known of what it lists: {env_problem}"
        yield Finding(Severity.WARNING, "env-unreadable", None, message, hint)
    elif facts.primary is not None:
        yield from _drift(inventory, facts, facts.primary.node)


def _drift(inventory: Inventory, facts: ClusterFacts, primary: NodeName) -> Iterator[Finding]:
    file, env = inventory.app.env_file.name, facts.env
    if env.primary is None and not env.replicas:
        yield _finding(None, f"{file} does not exist, or names no node of the inventory")
        return
    found = list(_replica_drift(inventory, facts))
    if env.primary != primary:
        instead = env.primary or "no node of the inventory"
        found.insert(0, _finding(primary, f"{file} has {instead} as DB_PRIMARY_URL; the primary is {primary}"))
    yield from found
    if not found and not env.current:
        yield _finding(None, f"{file} lists the right nodes, but in text or mode it is not as the inventory makes it")


def _replica_drift(inventory: Inventory, facts: ClusterFacts) -> Iterator[Finding]:
    file, proven = inventory.app.env_file.name, set(proven_replicas(inventory, facts))
    replicas = set(facts.env.replicas)
    for name, node in facts.nodes.items():
        listed = name in replicas
        if not inventory.nodes[name].in_rotation:
            if listed:
                yield _finding(name, f"{file} lists {name}, which is out of rotation (in_rotation: false)")
        elif listed and name not in proven:
            yield _finding(name, f"{file} lists {name} as a replica, which is not proven to be one now")
        elif not listed and name in proven:
            yield _finding(name, f"{file} does not list {name}, a proven replica")
        elif not listed and (role_of(node) is NodeRole.REPLICA or isinstance(node, Unreachable)):
            hint = f"Once {name} streams again, run `replctl env --write`."
            yield _finding(name, f"{file} does not list {name}, which is not proven to be a replica now", hint)


def _finding(node: NodeName | None, message: str, hint: str = WRITE) -> Finding:
    return Finding(Severity.WARNING, "env-drift", node, message, hint)
