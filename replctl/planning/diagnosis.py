"""Why a replica does not stream, from both ends: the login from its host, its own log, its slot on the primary."""

from __future__ import annotations

from dataclasses import dataclass

from replctl.model.checkup import Cause
from replctl.model.facts import Login, Problem, ProblemKind
from replctl.model.values import NodeName
from replctl.planning.check_case import Case
from replctl.planning.checks_hosts import FULL_BYTES, room
from replctl.planning.on_node import as_root
from replctl.postgres.server_log import last_complaint, reason_in

_NETWORK = (ProblemKind.TIMEOUT, ProblemKind.REFUSED, ProblemKind.LOST, ProblemKind.UNKNOWN_HOST)
NO_RULE = ("no pg_hba.conf entry", "pg_hba.conf rejects")
"""PostgreSQL's words for a login that no rule lets in; for a wrong password it has others."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    cause: Cause | None
    detail: str
    fix: str


def diagnose(case: Case) -> Diagnosis:
    """Of a replica that receives nothing. What was tried just now counts for more than what a log says."""
    name, primary = case.name, case.situation.facts.primary
    login = login_between(case, name, primary.node) if primary is not None else None
    if login is not None and login.problem is not None:
        return of_login(case, login, login.problem)
    host = case.host
    if host is not None and host.wal_free_bytes is not None and host.wal_free_bytes < FULL_BYTES:
        return Diagnosis(Cause.DISK_FULL, "its disk is full", room(case))
    log = case.checkup.logs.get(name, ())
    reason = reason_in(log)
    if reason is None:
        words = last_complaint(log)
        detail = f"its log says: {words}" if words else "its log gives no reason that replctl knows"
        return Diagnosis(None, detail, f"replctl add-replica {name}")
    return _of_log(case, reason.cause, f"its log says: {reason.words}")


def login_between(case: Case, source: NodeName, target: NodeName) -> Login | None:
    """The login that was tried from one node to another."""
    return next((one for one in case.checkup.logins_from.get(source, ()) if one.target == target), None)


def _of_log(case: Case, cause: Cause, words: str) -> Diagnosis:
    """By now the login itself succeeds: what it lacked is the password that the server has in its passfile."""
    name = case.name
    if cause is Cause.DISK_FULL:
        return Diagnosis(cause, words, room(case))
    if cause in (Cause.WAL_REMOVED, Cause.DIVERGED):
        anew = " --reclone" if cause is Cause.WAL_REMOVED else ""
        return Diagnosis(cause, words, f"replctl rejoin {name}{anew}")
    if cause is Cause.AUTHENTICATION and case.host is not None and not case.host.passfile_current:
        return Diagnosis(
            cause, f"its passfile has not the inventory's password; {words}", f"replctl add-replica {name}"
        )
    return Diagnosis(cause, words, f"replctl add-replica {name}")


def of_login(case: Case, login: Login, problem: Problem) -> Diagnosis:
    """What stands between two nodes, and what lets the one in at the other."""
    target = login.target
    if problem.kind is ProblemKind.SQL_AUTH:
        if any(words in problem.message for words in NO_RULE):
            detail = f"{target} has no rule in pg_hba.conf that lets {login.source} in: {problem.message}"
            return Diagnosis(Cause.AUTHENTICATION, detail, f"replctl config apply {target}")
        role = case.situation.inventory.replication.user
        detail = f"{target} does not take the inventory's password of {role}: {problem.message}"
        primary = case.situation.facts.primary
        return Diagnosis(
            Cause.AUTHENTICATION, detail, f"replctl init-primary {primary.node if primary is not None else target}"
        )
    if problem.kind in _NETWORK:
        node = case.situation.node(target)
        source = case.situation.node(login.source)
        port = node.postgres.port
        # The words for a connection through a host are those for the host: as if its sshd were silent.
        words = "timed out" if problem.kind is ProblemKind.TIMEOUT else problem.message
        detail = f"{login.source} does not reach {node.host}:{port}: {words}"
        rule = ("-I", "INPUT", "-p", "tcp", "-s", source.host, "--dport", str(port), "-j", "ACCEPT")
        return Diagnosis(Cause.NETWORK, detail, as_root(node, ("iptables", *rule)))
    return Diagnosis(None, problem.message, problem.hint)
