"""Findings that follow from the state of one node."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import assert_never

from replctl.model.facts import (
    ClusterFacts,
    Foreign,
    NoInstance,
    Primary,
    Problem,
    Replica,
    Silent,
    Stopped,
    Unreachable,
)
from replctl.model.host import DirectoryState
from replctl.model.inventory import Inventory, Node
from replctl.model.report import Finding, NodeState, Severity
from replctl.model.values import NodeName, Timeline
from replctl.planning.findings_replication import replication_findings
from replctl.planning.hints import bring_back, needs_rejoin, words_of
from replctl.planning.states import state_of, timeline_of
from replctl.planning.synchronous import commits_wait
from replctl.planning.topology import server_of, walsender_owner


def node_findings(inventory: Inventory, facts: ClusterFacts, name: NodeName) -> Iterator[Finding]:
    """What the state of a node means, and why its figures may be unknown."""
    found, node = facts.nodes[name], inventory.nodes[name]
    match found:
        case Unreachable():
            yield _unreachable(inventory, facts, found, node)
        case NoInstance():
            yield _absent(inventory, facts, found)
        case Foreign():
            yield _foreign(facts, found)
        case Stopped():
            yield _stopped(inventory, facts, found)
            yield from _later_timeline(facts, name, found.control.timeline)
        case Silent():
            yield _silent(inventory, facts, found)
            yield from _later_timeline(facts, name, found.control.timeline)
        case Primary():
            yield from _without_ssh(name, found.ssh, node)
            yield from commits_wait(inventory, found)
        case Replica():
            yield from _without_ssh(name, found.ssh, node)
            yield from replication_findings(inventory, facts, found)
        case _:
            assert_never(found)


def _unreachable(inventory: Inventory, facts: ClusterFacts, found: Unreachable, node: Node) -> Finding:
    message = f"{found.node} is unreachable: {words_of(found.node, found.ssh)}"
    if found.sql is not None:
        message += f"; by SQL: {words_of(found.node, found.sql)}"
    sender = server_of(facts, facts.primary.node if facts.primary else None)
    if sender and any(walsender_owner(inventory, facts, w) == found.node for w in sender.walsenders):
        message += "; the primary still lists its walsender"
    return Finding(Severity.WARNING, "unreachable", found.node, message, _hint_of(found.ssh, node))


def _absent(inventory: Inventory, facts: ClusterFacts, found: NoInstance) -> Finding:
    directory = found.host.directory
    if directory.state is DirectoryState.OTHER:
        seen = ", ".join(directory.content[:3])
        return Finding(
            Severity.WARNING,
            "directory-not-empty",
            found.node,
            f"{found.node} has no instance: {directory.path} holds something else ({seen})",
            f"Look at it, move it away, then run `replctl add-replica {found.node}`.",
        )
    if directory.state is DirectoryState.CLUSTER:
        return Finding(
            Severity.WARNING,
            "directory-unreadable",
            found.node,
            f"{found.node} has no usable instance: pg_control in {directory.path} could not be read",
            f"See what `pg_controldata -D {shlex.quote(directory.path)}` says on {found.node}. What cannot be saved, "
            f"move away; then run `replctl add-replica {found.node}`.",
        )
    if found.host.broken_rewind or found.host.finished_rewind or found.host.live_rewind:
        return _rewinding(found)
    message = f"{found.node} has no instance: {directory.path} is {directory.state}"
    run = f"run `replctl add-replica {found.node}`"
    if facts.primary:
        hint = f"{run.capitalize()}, or take {found.node} out of the inventory."
    elif nothing_yet(facts) and found.node == next(iter(inventory.nodes)):
        hint = f"Run `replctl init-primary {found.node}`."
    else:
        hint = f"Once a primary runs, {run}."
    return Finding(Severity.WARNING, "absent", found.node, message, hint)


def nothing_yet(facts: ClusterFacts) -> bool:
    """No node has an instance: the cluster is still to be made."""
    return all(isinstance(node, NoInstance) for node in facts.nodes.values())


def _rewinding(found: NoInstance) -> Finding:
    name = found.node
    if found.host.finished_rewind:
        message = f"{name} was rewound by a run that did not end; its directory only has to be put back"
        return Finding(Severity.WARNING, "absent", name, message, f"Run `replctl rejoin {name}`.")
    if found.host.live_rewind:
        message = f"{name} is being rewound, perhaps for a run that is gone"
        hint = f"Wait until pg_rewind has ended there; then run `replctl rejoin {name}`, unless a run still does."
        return Finding(Severity.WARNING, "absent", name, message, hint)
    message = f"{name} was being rewound by a run that did not end: what it left can never be started again"
    return Finding(Severity.WARNING, "absent", name, message, f"Run `replctl rejoin {name} --reclone`.")


def _foreign(facts: ClusterFacts, found: Foreign) -> Finding:
    here = "runs" if found.running else "holds"
    message = (
        f"{found.node} {here} another cluster, with system identifier {found.system_identifier}"
        f" and not {facts.system_identifier}; nothing more is reported of it"
    )
    hint = f"Point `nodes.{found.node}` at this cluster's own host, port and data_dir, or move the other cluster away."
    return Finding(Severity.WARNING, "foreign", found.node, message, hint)


def _stopped(inventory: Inventory, facts: ClusterFacts, found: Stopped) -> Finding:
    name, state = found.node, found.control.state
    message = f"{name} is stopped (pg_control: {state}), so that its replication figures are unknown"
    if found.host.standby_signal:
        astray = needs_rejoin(inventory, facts, found)
        run = bring_back(name) if astray else f"run `replctl add-replica {name}` to start it."
        hint = run.capitalize() if facts.primary else f"Once a primary runs, {run}"
        return Finding(Severity.WARNING, "stopped", name, message, hint)
    if facts.primary:
        hint = (
            f"If a switchover was interrupted, `replctl promote {facts.primary.node}` makes it a replica. Else "
            f"{bring_back(name)}"
        )
    elif facts.primaries:
        hint = f"Leave {name} stopped until one primary alone runs."
    elif latest_timeline(facts) > found.control.timeline:
        hint = f"Once a primary runs, {bring_back(name)}"
    else:
        hint = f"Run `replctl init-primary {name}` to start it again as primary, if no other node took over."
    return Finding(Severity.WARNING, "stopped", name, f"{message}; it was a primary", hint)


def latest_timeline(facts: ClusterFacts) -> Timeline:
    """The latest that is known of any node; 1 where none is known."""
    return max((timeline for node in facts.nodes.values() if (timeline := timeline_of(node))), default=Timeline(1))


def _later_timeline(facts: ClusterFacts, name: NodeName, timeline: Timeline) -> Iterator[Finding]:
    primary = facts.primary
    if primary is not None and timeline > primary.server.timeline:
        yield Finding(
            Severity.CRITICAL,
            "later-timeline",
            name,
            f"{name} is on timeline {timeline}, later than the primary's {primary.server.timeline}: "
            f"{primary.node} may be an old primary that came back",
            f"Find out which node was promoted last before anything is written to {primary.node}.",
        )


def _silent(inventory: Inventory, facts: ClusterFacts, found: Silent) -> Finding:
    name = found.node
    if state_of(inventory, facts, found) is NodeState.STARTING:
        message = f"{name} is starting and takes no connections yet, so that its replication figures are unknown"
        hint = "Wait, and watch it with `replctl status --watch`; its server log says how far recovery is."
        return Finding(Severity.WARNING, "starting", name, message, hint)
    why = words_of(name, found.sql)
    message = f"{name} runs and does not answer SQL, so that its replication figures are unknown: {why}"
    return Finding(Severity.WARNING, "ssh-only", name, message, _hint_of(found.sql, inventory.nodes[name]))


def _without_ssh(name: NodeName, problem: Problem | None, node: Node) -> Iterator[Finding]:
    if problem is not None:
        message = f"{name} answers SQL and not SSH: {words_of(name, problem)}"
        yield Finding(Severity.WARNING, "sql-only", name, message, _hint_of(problem, node))


def _hint_of(problem: Problem, node: Node) -> str:
    return problem.hint or f"See what `ssh {node.ssh_host}` says."
