"""Whether a failover may begin: who may still be alive, who has more, and what the operator has to answer for."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from itertools import pairwise

from replctl.model.facts import ClusterFacts, Replica, Silent, Stopped, Unreachable
from replctl.model.inventory import Inventory
from replctl.model.plan import Refusal
from replctl.model.values import Lsn, NodeName, WalRange
from replctl.planning.amounts import human_bytes
from replctl.planning.ancestry import line_of
from replctl.planning.consent import Consent
from replctl.planning.situation import (
    IN_PRODUCTION,
    Situation,
    cleanly_stopped_primary,
    needs_host,
    refuse_silent,
    refuse_unreachable,
    timeline_on_disk,
)
from replctl.planning.states import is_delayed
from replctl.planning.switchover_checks import check_continuation, check_read_only
from replctl.planning.topology import upstream_of


@dataclass(frozen=True, slots=True)
class Ahead:
    """Another member that has, or may have, WAL that the candidate lacks; ``bytes`` is None when nobody can tell."""

    node: NodeName
    lost_bytes: int | None


def check_nobody_leads(situation: Situation, name: NodeName) -> list[Refusal]:
    """Refusals for a primary that answers, or a server that runs as one and does not let us in."""
    return [
        *(
            Refusal(
                "primary-alive",
                primary.node,
                f"{primary.node} runs as the primary and answers: a failover would lose what it has not sent",
                f"`replctl promote {name}` moves the role and loses nothing. To give {primary.node} up, stop it first.",
            )
            for primary in situation.facts.primaries
        ),
        *(
            Refusal(
                "primary-alive",
                silent.node,
                f"{silent.node} has a live postmaster that may be the primary: {silent.sql.message}",
                f"{silent.sql.hint} Or stop PostgreSQL on {silent.node}, and run this again.",
            )
            for silent in situation.facts.nodes.values()
            if isinstance(silent, Silent) and silent.node != name and _may_be_primary(silent)
        ),
    ]


def _may_be_primary(silent: Silent) -> bool:
    return not silent.host.standby_signal or silent.control.state == IN_PRODUCTION


def nothing_is_lost(situation: Situation, name: NodeName) -> bool:
    """The old primary was stopped cleanly and NODE has its last record: that is a switchover's second half."""
    old = cleanly_stopped_primary(situation)
    if old is None:
        return False
    return old.node == name or not check_continuation(situation, old, situation.facts.nodes[name])


def check_failover_candidate(situation: Situation, name: NodeName) -> list[Refusal]:
    """Every reason why the node itself cannot lead."""
    facts = situation.facts.nodes[name]
    match facts:
        case Unreachable():
            return [refuse_unreachable(name, facts.ssh)]
        case Silent():
            return [refuse_silent(name, facts.sql)]
        case Replica():
            return [*needs_host(facts), *_check_replay(facts), *check_read_only(facts)]
        case Stopped() if not facts.host.standby_signal:
            return [
                Refusal(
                    "primary-stopped",
                    name,
                    f"{name} was the primary and is stopped",
                    f"`replctl init-primary {name}` starts it again and loses nothing.",
                )
            ]
        case _:
            return [
                Refusal(
                    "not-a-replica",
                    name,
                    f"{name} is no running replica",
                    "`replctl promote` lists the candidates, best first.",
                )
            ]


def _check_replay(replica: Replica) -> list[Refusal]:
    name = replica.node
    if replica.received is None:
        return [
            Refusal(
                "received-nothing", name, f"{name} has received no WAL yet", "Promote another node, or wait for it."
            )
        ]
    if replica.paused != "not paused":
        hint = f"Run `SELECT pg_wal_replay_resume();` on {name}, wait until it has caught up, and run this again."
        return [Refusal("paused", name, f"{name} has its replay {replica.paused}", hint)]
    if is_delayed(replica):
        reset = "`ALTER SYSTEM RESET recovery_min_apply_delay;` and `SELECT pg_reload_conf();`"
        hint = f"Run {reset} on {name}, and run this again."
        return [Refusal("delayed", name, f"{name} replays late by its own setting", hint)]
    return []


def former_primaries(
    inventory: Inventory, facts: ClusterFacts, candidate: Replica
) -> tuple[Stopped | Unreachable, ...]:
    """What was the primary: stopped ones that answer, and a node out of sight that the candidate follows or the env
    file lists; without any of these every node that cannot be reached."""
    upstream = upstream_of(inventory, facts, candidate)
    leading = (upstream.node if upstream else None, facts.env.primary)
    gone = [node for node in facts.nodes.values() if isinstance(node, Unreachable)]
    found = (
        *(node for node in facts.nodes.values() if isinstance(node, Stopped) and _was_primary(node, candidate)),
        *(node for node in gone if node.node in leading),
    )
    return found or tuple(gone)


def _was_primary(node: Stopped, candidate: Replica) -> bool:
    """pg_control speaks of recovery for every standby that ever ran. On an earlier timeline than the candidate's, it
    was replaced before."""
    stands = node.host.standby_signal and "recovery" in node.control.state
    return not stands and timeline_on_disk(node.host) >= candidate.server.timeline


def lacked_wal(candidate: Replica, node: Stopped) -> tuple[WalRange, ...]:
    """Where on a stopped node's disk to look for what the candidate never received."""
    timeline, received = candidate.server.timeline, candidate.received or Lsn(0)
    line = line_of(node) or ()
    place = next((place for place, reach in enumerate(line) if reach.timeline == timeline), None)
    if place is None:
        return (WalRange(timeline, received),)
    ended = line[place].end
    first = received if ended is None else min(received, ended)
    later = (WalRange(after.timeline, before.end) for before, after in pairwise(line[place:]) if before.end)
    return (WalRange(timeline, first), *later)


def _position(replica: Replica) -> tuple[int, Lsn]:
    return replica.server.timeline, replica.received or Lsn(0)


def ahead_of(situation: Situation, candidate: Replica, old: tuple[Stopped | Unreachable, ...]) -> list[Ahead]:
    """Members beside the old primary that have received more, or may have."""
    facts, received = situation.facts, candidate.received or Lsn(0)
    was_primary = {node.node for node in old}
    found: list[Ahead] = []
    for name, node in facts.nodes.items():
        if name in was_primary or name == candidate.node:
            continue
        match node:
            case Replica() if _position(node) > _position(candidate):
                same = node.server.timeline == candidate.server.timeline and node.received is not None
                found.append(Ahead(name, node.received - received if same and node.received else None))
            case Unreachable() | Silent():
                found.append(Ahead(name, None))
            case Stopped():
                tail = facts.wal_of(name)
                if tail is None or tail.problem or tail.end is not None:
                    found.append(Ahead(name, tail.size_bytes if tail and tail.end else None))
            case _:
                pass
    return found


def refuse_ahead(candidate: Replica, ahead: Ahead) -> Refusal:
    """What promoting the candidate would lose of what another replica has."""
    if ahead.lost_bytes is not None:
        amount = human_bytes(ahead.lost_bytes)
        message = f"{ahead.node} has received {amount} more than {candidate.node}, which would be lost"
        hint = f"Promote {ahead.node} instead, or give that up with --accept-data-loss."
    else:
        message = f"{ahead.node} may have received more than {candidate.node}: nobody can tell how much would be lost"
        hint = f"Bring {ahead.node} back first, or give up what it may have with --accept-data-loss."
    return Refusal("data-loss", ahead.node, message, hint)


def check_old(
    situation: Situation, candidate: Replica, old: tuple[Stopped | Unreachable, ...], consents: Set[Consent]
) -> list[Refusal]:
    """An old primary that nobody sees may be writing at this moment."""
    refusals = [*_answers(situation, old)]
    if refusals or Consent.FENCED in consents:
        return refusals
    return [
        Refusal(
            "old-primary-unreachable",
            node.node,
            f"{node.node} cannot be reached ({node.ssh.message}); if its host comes back, `replctl init-primary "
            f"{node.node}` starts it again and loses nothing. The most that can be lost by a failover is everything "
            f"that {node.node} wrote past {candidate.received}, where {candidate.node} is; nobody that answers can say "
            "how much that is",
            f"If {node.node} surely accepts no writes any more (powered off, or cut off from every client), say so "
            "with --old-primary-fenced.",
        )
        for node in old
        if isinstance(node, Unreachable)
    ]


def _answers(situation: Situation, old: tuple[Stopped | Unreachable, ...]) -> list[Refusal]:
    """What the replicas' own hosts heard at the old primary's address counts for more than what anyone says."""
    unreachable = {node.node for node in old if isinstance(node, Unreachable)}
    return [
        Refusal(
            "old-primary-answers",
            login.target,
            f"{login.target} cannot be reached from here, but answers {login.source}: its PostgreSQL is alive",
            f"Stop PostgreSQL on {login.target}, or mend the way to it and use `replctl promote` without --failover.",
        )
        for login in situation.facts.logins
        if login.target in unreachable and login.problem is None
    ]
