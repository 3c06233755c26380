"""What ``check`` asks beyond a look of ``status``: a login between each pair of nodes, the end of each server log, and
what SQL says of archiving, replay and clocks. Changes nothing, and raises nothing for a single node."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from replctl.model.checkup import Archiver, Checkup, OldestQuery, ServerCheckup
from replctl.model.errors import ReplctlError
from replctl.model.facts import ClusterFacts, Login, NoInstance, Primary, Problem, ProblemKind, Replica, Unreachable
from replctl.model.inventory import Inventory, Node
from replctl.model.secret import Passwords
from replctl.model.values import NodeName
from replctl.observe import (
    PROBE_MARGIN,
    deadline_of,
    problem_of,
    read_configurations,
    with_passfiles,
    with_units,
)
from replctl.postgres import statements
from replctl.postgres.layout import layout_of
from replctl.postgres.server_log import log_tail
from replctl.remote.fan_out import fan_out
from replctl.remote.ports import Fleet, NodeLink

LOG_SECONDS = 10.0
"""For the end of one log."""


def observe_checkup(facts: ClusterFacts, fleet: Fleet, inventory: Inventory, *, max_lag_ms: float) -> Checkup:
    """Of every node that answers. Raises InterruptedByOperator."""
    return Checkup(
        servers=_servers(facts, fleet, inventory),
        logs=_logs(facts, fleet, inventory),
        logins=_logins(facts, fleet, inventory),
        max_lag_ms=max_lag_ms,
    )


def look_closer(facts: ClusterFacts, fleet: Fleet, inventory: Inventory, passwords: Passwords) -> ClusterFacts:
    """The same facts, with files and settings, passfiles and rights: what changing commands ask for too."""
    running = [name for name, seen in facts.nodes.items() if isinstance(seen, Primary | Replica)]
    nodes = with_units(with_passfiles(facts, fleet, inventory, passwords), fleet, inventory)
    return replace(facts, nodes=nodes, configurations=read_configurations(facts, running, fleet, inventory))


def _servers(facts: ClusterFacts, fleet: Fleet, inventory: Inventory) -> dict[NodeName, ServerCheckup]:
    running = [name for name, seen in facts.nodes.items() if isinstance(seen, Primary | Replica)]

    def look(name: NodeName) -> ServerCheckup:
        return _server(fleet[name], inventory.nodes[name].ssh.connect_timeout)

    answers = fan_out(running, look, deadline=deadline_of(inventory))
    return {name: answer for name, answer in answers.items() if not isinstance(answer, ReplctlError)}


def _server(link: NodeLink, timeout: float) -> ServerCheckup:
    with link.session(timeout=timeout) as database:
        before = time.time()
        row = database.fetch(statements.CHECKUP, timeout=timeout)[0]
        ours = (before + time.time()) / 2
    archiver, query = row["archiver"], row["oldest_query"]
    return ServerCheckup(
        clock_offset_s=float(row["clock_s"]) - ours,
        archiver=Archiver(**archiver) if archiver else None,
        replay_waits_for=row["replay_waits_for"],
        oldest_query=OldestQuery(**query) if query else None,
        conflicts=row["conflicts"],
        recovery_settings=row["recovery_settings"],
        collations=tuple(row["collations"]),
    )


def _logs(facts: ClusterFacts, fleet: Fleet, inventory: Inventory) -> dict[NodeName, tuple[str, ...]]:
    hosts = {
        name: seen.host
        for name, seen in facts.nodes.items()
        if not isinstance(seen, Unreachable | NoInstance) and seen.host is not None
    }

    def look(name: NodeName) -> tuple[str, ...]:
        command = log_tail(layout_of(inventory.nodes[name], hosts[name]))
        return tuple(fleet[name].runner.run(command, timeout=LOG_SECONDS).text.splitlines())

    answers = fan_out(hosts, look, deadline=LOG_SECONDS + PROBE_MARGIN)
    return {name: answer for name, answer in answers.items() if not isinstance(answer, ReplctlError)}


def _logins(facts: ClusterFacts, fleet: Fleet, inventory: Inventory) -> tuple[Login, ...]:
    """From every node whose SSH answers to every other one that runs."""
    sources = [
        name for name, seen in facts.nodes.items() if not isinstance(seen, Unreachable) and seen.host is not None
    ]
    targets = [inventory.nodes[name] for name, seen in facts.nodes.items() if isinstance(seen, Primary | Replica)]

    def look(source: NodeName) -> tuple[Login, ...]:
        others = [node for node in targets if node.name != source]
        return tuple(_log_in(fleet[source], inventory.nodes[source], other) for other in others)

    # A firewall that swallows packets costs each login its whole time.
    patience = (max(1, len(targets) - 1)) * deadline_of(inventory)
    answers = fan_out(sources, look, deadline=patience)
    return tuple(login for answer in answers.values() for login in _answered(answer))


def _answered(answer: tuple[Login, ...] | ReplctlError) -> Iterable[Login]:
    return () if isinstance(answer, ReplctlError) else answer


def _log_in(link: NodeLink, source: Node, target: Node) -> Login:
    problem: Problem | None = None
    try:
        link.replication_login(target.host, target.postgres.port, timeout=source.ssh.connect_timeout)
    except ReplctlError as error:
        problem = problem_of(error)
        if problem.kind is ProblemKind.PROBE:
            problem = Problem(ProblemKind.LOST, problem.message, problem.hint)
    return Login(source.name, target.name, problem)
