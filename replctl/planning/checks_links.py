"""Checks of replication: links, replay, slots, and who could log in at whom after any role change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from replctl.model.checkup import Cause, Check, OldestQuery
from replctl.model.facts import Primary, ProblemKind, Replica, Unreachable
from replctl.model.report import Finding, NodeState
from replctl.planning.amounts import human_bytes, human_duration
from replctl.planning.check_case import Case
from replctl.planning.diagnosis import diagnose, of_login
from replctl.planning.on_node import by_psql
from replctl.planning.topology import proven_replicas

_BROKEN = (NodeState.NOT_RECEIVING, NodeState.ARCHIVE)
_ASTRAY = (*_BROKEN, NodeState.DIVERGED, NodeState.SLOT_LOST, NodeState.WRONG_UPSTREAM)
_CONFLICTS = ("RecoveryConflictSnapshot", "RecoveryConflictTablespace", "BufferPin", "relation", "tuple")
"""What the startup process waits for while a query is in its way (PostgreSQL docs, 28.2.3)."""


def replication(case: Case) -> Iterator[Check]:
    """The link to the primary, and why it does not stand."""
    if not isinstance(case.seen, Replica):
        return
    causes = {"slot-lost": Cause.WAL_REMOVED}
    codes = ("diverged", "slot-lost", "wrong-upstream", "walsender-missing", "walsender-duplicate", "catchup")
    found = case.findings(*codes)
    if case.row.state in _BROKEN:
        told = case.findings("not-receiving", "archive")
        why = diagnose(case)
        message = told[0].message if told else f"{case.name} receives no WAL"
        yield case.failed("replication", f"{message}: {why.detail}", why.fix, why.cause)
        found = tuple(one for one in found if one.code != "walsender-missing")
    elif not found:
        sender = case.row.upstream or "its primary"
        yield case.ok("replication", f"streams from {sender}, {human_bytes(case.row.unreceived_bytes or 0)} to receive")
    for one in found:
        yield (
            _diverged(case, one)
            if one.code == "diverged"
            else case.of_finding("replication", one, causes.get(one.code))
        )


def _diverged(case: Case, found: Finding) -> Check:
    """Which node was promoted last is known where the application and another replica have gone with the primary."""
    facts = case.situation.facts
    primary, others = facts.primary, proven_replicas(case.situation.inventory, facts)
    told = case.of_finding("replication", found, Cause.DIVERGED)
    if primary is None or facts.env.primary != primary.node or not others:
        return told
    detail = f"{found.message}; its WAL is kept aside, and the commits in it are given up"
    return case.failed("replication", detail, f"replctl rejoin {case.name} --discard-diverged", Cause.DIVERGED)


def replay(case: Case) -> Iterator[Check]:
    """Whether what arrives is replayed, and what holds it up."""
    row = case.row
    if not isinstance(case.seen, Replica):
        return
    found = case.findings("parameter-paused", "paused", "delayed")
    for one in found:
        yield case.of_finding("replay", one, Cause.PAUSED if one.code == "paused" else None)
    if found or row.state in _ASTRAY:
        return
    if row.lag_ms is None or row.lag_ms <= case.checkup.max_lag_ms:
        lag = "how far is unknown" if row.lag_ms is None else f"{human_duration(row.lag_ms)} behind"
        yield case.ok("replay", lag)
        return
    yield _late(case, row.lag_ms)


def _late(case: Case, lag_ms: float) -> Check:
    behind = f"{human_duration(lag_ms)} behind, more than {human_duration(case.checkup.max_lag_ms)}"
    extra = case.extra
    if extra is not None and extra.replay_waits_for in _CONFLICTS:
        return _held_up(case, behind, extra.oldest_query)
    unreceived, unreplayed = case.row.unreceived_bytes or 0, case.row.unreplayed_bytes or 0
    watch = "`replctl status --watch` shows whether it catches up."
    if unreceived * 2 > unreplayed:
        why = f"{human_bytes(unreceived)} have not arrived: the network, or the primary's walsender, is slow"
        fix = f"Look at the network between the primary and {case.name}: {watch}"
        return case.failed("replay", f"{behind}: {why}", fix, Cause.NETWORK)
    why = f"all has arrived, and {human_bytes(unreplayed - unreceived)} wait for replay, which is one process"
    fix = f"Look at the disk and the CPU of {case.name}: {watch}"
    return case.failed("replay", f"{behind}: {why}", fix, Cause.REPLAY)


def _held_up(case: Case, behind: str, query: OldestQuery | None) -> Check:
    if query is None:
        detail, fix = f"{behind}: a query was in its way", "Run `replctl check` again."
        return case.failed("replay", detail, fix, Cause.CONFLICT)
    age = human_duration(query.seconds * 1000)
    detail = f"{behind}: it waits for session {query.pid} of {query.user}, whose transaction is {age} old"
    order = f"select pg_terminate_backend({query.pid})"
    fix = by_psql(case.node, case.host, case.situation.inventory.admin, order)
    return case.failed("replay", detail, fix, Cause.CONFLICT)


def slots(case: Case) -> Iterator[Check]:
    """The node's own slot on its upstream, and what stands on the node itself."""
    codes = ("slot-missing", "slot-inactive", "slot-filling", "slot-lost", "slot-stale", "slot-unlisted")
    if isinstance(case.seen, Replica) and case.row.state is NodeState.SLOT_LOST:
        codes = codes[4:]
    found = case.findings(*codes)
    away = case.running is None or case.row.state in _ASTRAY
    for one in found:
        line = case.of_finding("slot", one)
        if one.code == "slot-inactive" and away:  # its own check says how
            fix = f"It is used again once {case.name} streams; `replctl remove-replica {case.name}` gives it up."
            line = replace(line, fix=fix, command=None)
        yield line
    if found or not isinstance(case.seen, Primary | Replica):
        return
    slot = case.row.slot
    kept = (
        f"{slot.name} keeps {human_bytes(slot.retained_bytes or 0)}" if slot is not None else "none that is not needed"
    )
    yield case.ok("slot", kept)


def logins(case: Case) -> Iterator[Check]:
    """Who replicates from whom is a matter of roles, and these change: each node has to be let in at each other one."""
    tried = case.checkup.logins_from.get(case.name, ())
    if isinstance(case.seen, Unreachable) or not tried:
        return
    failed = False
    for one in tried:
        problem = one.problem
        if problem is None:
            continue
        failed = True
        if problem.kind is ProblemKind.FORWARDING:
            fix = "Allow TCP forwarding in sshd_config there, or try it by hand with psql 'replication=true'."
            yield case.warning("logins", f"the login at {one.target} could not be tried: {problem.message}", fix)
            continue
        why = of_login(case, one, problem)
        yield case.failed("logins", why.detail, why.fix, why.cause)
    if not failed:
        yield case.ok("logins", f"let in at {' and '.join(one.target for one in tried)} for replication")


def passfile(case: Case) -> Iterator[Check]:
    """Every node keeps the password that it needs once it is a standby."""
    host = case.host
    if host is None or case.running is None:
        return
    if host.passfile_current:
        yield case.ok("passfile", "has the inventory's password")
        return
    fix = "replctl rotate-password replication"
    if isinstance(case.seen, Replica) and case.row.state in _BROKEN:
        fix = f"replctl add-replica {case.name}"
    yield case.failed("passfile", "missing, or not with the inventory's password", fix, Cause.AUTHENTICATION)
