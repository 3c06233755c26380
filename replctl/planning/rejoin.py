"""Plans ``rejoin``: a node that fell out of the cluster comes back, with as little copying as its WAL allows.

As it is, when its WAL is part of the primary's; by pg_rewind, when it went past the fork; as a new clone, when
neither can be. What no other node has is kept beside the data directory before anything is overwritten.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from replctl.model.actions import (
    AwaitStreaming,
    Checkpoint,
    ConfigureStandby,
    GrantRewind,
    Place,
    SetAside,
    StartPostgres,
    StopPostgres,
)
from replctl.model.facts import Foreign, NoInstance, Primary, Replica, Silent, Stopped, Unreachable
from replctl.model.plan import Plan, Refusal, Refused, Step
from replctl.model.repair_actions import CheckRewind, InstallRewound, KeepDivergedWal, Promise, RecoverAlone, Rewind
from replctl.model.values import NodeName
from replctl.planning.add_replica import clone, follow_primary, keeps_wal, new_slot
from replctl.planning.ancestry import Fork, fork_from_primary, has_diverged
from replctl.planning.clone_checks import check_new_clone, check_nodes
from replctl.planning.clone_target import check_replacement
from replctl.planning.consent import Consent
from replctl.planning.divergence import describe_tail
from replctl.planning.fencing import settle
from replctl.planning.role_change import if_needed
from replctl.planning.services import starts_with_host
from replctl.planning.situation import (
    Situation,
    forward_only,
    needs_host,
    needs_primary,
    publish,
    refresh_hba,
    refuse_silent,
    refuse_unreachable,
    sequence,
    step,
    unreachable_notes,
    write_passfile,
)
from replctl.planning.topology import proven_replicas, slot_on, streams_from_primary
from replctl.postgres.repair_scripts import segment_name

COMMAND = "rejoin"


def plan_rejoin(situation: Situation, name: NodeName, consents: Set[Consent]) -> Plan | Refused:
    """What ends with NODE streaming from the primary and listed in the env file."""
    refusals = needs_primary(situation, COMMAND)
    primary, facts = situation.facts.primary, situation.facts.nodes[name]
    if refusals or primary is None:
        return situation.refuse(COMMAND, dict.fromkeys([*refusals, *needs_host(facts)]))
    match facts:
        case Unreachable():
            return situation.refuse(COMMAND, [refuse_unreachable(name, facts.ssh)])
        case Silent():
            return situation.refuse(COMMAND, [refuse_silent(name, facts.sql)])
        case Foreign():
            return situation.refuse(COMMAND, [_foreign(facts)])
        case Primary():
            return situation.refuse(COMMAND, [_is_primary(name)])
        case NoInstance():
            return _bring_clone(situation, primary, facts, consents)
        case Stopped() | Replica():
            return _bring_back(situation, primary, facts, consents)


def _is_primary(name: NodeName) -> Refusal:
    return Refusal("is-primary", name, f"{name} is the primary", "There is nothing to rejoin; name another node.")


def _foreign(facts: Foreign) -> Refusal:
    return Refusal(
        "foreign",
        facts.node,
        f"{facts.node}: data_dir holds another cluster (system identifier {facts.system_identifier})",
        "Move it away by hand, or choose another postgres.data_dir; then `replctl add-replica` clones the node.",
    )


def _bring_clone(situation: Situation, primary: Primary, facts: NoInstance, consents: Set[Consent]) -> Plan | Refused:
    name = facts.node
    if facts.host.live_rewind:
        return situation.refuse(COMMAND, [_live_rewind(name)])
    if facts.host.broken_rewind and Consent.RECLONE not in consents:
        return situation.refuse(COMMAND, [_broken_rewind(name)])
    if facts.host.finished_rewind:
        return _plan(situation, primary, name, _put_back(situation, primary, facts))
    refusals = check_nodes(situation, primary, [name], None)
    if refusals:
        return situation.refuse(COMMAND, refusals)
    return _plan(situation, primary, name, _set_aside(facts, clone(situation, primary, name, None)))


def _live_rewind(name: NodeName) -> Refusal:
    return Refusal(
        "rewind-running",
        name,
        f"{name}: pg_rewind is at work here; the run that began it may be gone",
        "Wait until it has ended, and run the same command again: it goes on from there.",
    )


def _broken_rewind(name: NodeName) -> Refusal:
    return Refusal(
        "broken-rewind",
        name,
        f"{name}: pg_rewind was broken off here, and what it left can never be started again",
        f"`replctl rejoin {name} --reclone` moves it aside and clones {name} anew.",
    )


def _set_aside(facts: NoInstance | Stopped | Replica, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The old directory makes room just before the finished clone is renamed into place."""
    if isinstance(facts, NoInstance) and not facts.host.broken_rewind:
        return steps
    place = next(index for index, one in enumerate(steps) if one.id.startswith("install:"))
    aside = step("aside", facts.node, SetAside(), "what stood there is kept, not deleted")
    return (*steps[:place], forward_only(aside), *steps[place:])


def _bring_back(
    situation: Situation, primary: Primary, facts: Stopped | Replica, consents: Set[Consent]
) -> Plan | Refused:
    name = facts.node
    if refusals := needs_host(facts):
        return situation.refuse(COMMAND, refusals)
    if isinstance(facts, Replica) and streams_from_primary(situation.inventory, situation.facts, facts):
        return _plan(situation, primary, name, follow_primary(situation, primary, name))
    fork = fork_from_primary(situation.facts, facts) if has_diverged(situation.facts, facts) else None
    if fork is not None and (refusals := _check_discard(situation, name, fork, consents)):
        return situation.refuse(COMMAND, refusals)
    if Consent.RECLONE in consents:
        return _reclone(situation, primary, facts)
    if fork is None:
        return _as_it_is(situation, primary, facts)
    if refusals := _check_rewind(situation, primary, facts, fork):
        return situation.refuse(COMMAND, refusals)
    promise = Promise.GIVEN_UP if Consent.DISCARD in consents else Promise.NO_COMMIT
    lane = _rewind(situation, primary, facts, fork, promise)
    return _plan(situation, primary, name, lane, [_kept(situation, name, fork)])


def _as_it_is(situation: Situation, primary: Primary, facts: Stopped | Replica) -> Plan | Refused:
    """All that the node has is part of the primary's WAL: it follows, if that still keeps what the node lacks."""
    slot = slot_on(primary.server, situation.node(facts.node).slot)
    if slot is not None and slot.wal_status == "lost":
        why = "its slot is lost, and with it the WAL that it needs"
        return situation.refuse(COMMAND, [_needs_clone(facts.node, why)])
    return _plan(situation, primary, facts.node, follow_primary(situation, primary, facts.node))


def _reclone(situation: Situation, primary: Primary, facts: Stopped | Replica) -> Plan | Refused:
    name = facts.node
    assert facts.host is not None
    if refusals := check_new_clone(situation, primary, name, facts.host):
        return situation.refuse(COMMAND, refusals)
    path = situation.node(name).postgres.data_dir
    return _plan(
        situation,
        primary,
        name,
        (*_stop(facts), *_set_aside(facts, clone(situation, primary, name, None))),
        [f"what stands in {path} is moved aside to {path}.replctl-aside-<UTC>, not deleted"],
    )


def _check_discard(situation: Situation, name: NodeName, fork: Fork, consents: Set[Consent]) -> list[Refusal]:
    """Whoever wrote those commits was told that they are safe: only the operator may give them up."""
    tail = situation.facts.wal_of(name)
    if Consent.DISCARD in consents or (tail is not None and tail.problem is None and tail.commits == 0):
        return []
    return [
        Refusal(
            "diverged",
            name,
            f"{name} has WAL that the primary never had: {describe_tail(situation.facts, name, fork.at)}",
            f"`replctl rejoin {name} --discard-diverged` takes {name} back to {fork.at}, and keeps that WAL beside its "
            "data directory.",
        )
    ]


def _kept(situation: Situation, name: NodeName, fork: Fork) -> str:
    path = situation.node(name).postgres.data_dir
    return (
        f"{name} goes back to {fork.at}; what it has past that ({describe_tail(situation.facts, name, fork.at)}) is "
        f"kept on {name} as {path}.replctl-aside-<UTC>"
    )


def _needs_clone(name: NodeName, why: str) -> Refusal:
    return Refusal(
        "needs-clone",
        name,
        f"{name} can only come back as a new clone: {why}",
        f"`replctl rejoin {name} --reclone` clones it, and moves what stands there aside.",
    )


def _keeps_since(situation: Situation, fork: Fork) -> bool:
    """Whether the primary still has its own WAL from the fork on: the replay after pg_rewind goes through all of it.

    WAL is removed from its oldest segment on, by the number and whatever the timeline. The primary may be on an earlier
    one than a node that was promoted by hand.
    """
    segments, left = situation.facts.primary_wal, segment_name(fork.own[0], situation.facts.wal_segment_bytes)
    return segments is None or any(one[:8] >= left[:8] and one[8:] <= left[8:] for one in segments)


def _check_rewind(situation: Situation, primary: Primary, facts: Stopped | Replica, fork: Fork) -> list[Refusal]:
    """What pg_rewind needs and these facts tell (PostgreSQL docs, pg_rewind); its own dry run looks for the rest."""
    name, host, tail = facts.node, facts.host, situation.facts.wal_of(facts.node)
    assert host is not None
    missing: list[str] = []
    if host.control is None or not (host.control.checksums or host.control.wal_log_hints):
        missing.append("it has neither data checksums nor wal_log_hints")
    if primary.server.setting("full_page_writes") == "off":
        missing.append(f"full_page_writes is off on {primary.node}")
    if not _keeps_since(situation, fork):
        missing.append(f"{primary.node} no longer has its WAL from {fork.at} on")
    if tail is not None and tail.problem is not None:
        missing.append(f"its WAL from the fork on cannot be read ({tail.problem})")
    return [
        *check_replacement(situation, situation.node(name), host),
        *(_needs_clone(name, why) for why in missing),
    ]


def _rewind(
    situation: Situation, primary: Primary, facts: Stopped | Replica, fork: Fork, promise: Promise
) -> tuple[Step, ...]:
    name, slot, source = facts.node, situation.node(facts.node).slot, primary.node
    goes_back = f"{name} goes back to {fork.at}, and on to what {source} has since"
    return (
        *(() if keeps_wal(primary, slot) else (new_slot(primary, name, slot),)),
        *_stop(facts),
        *if_needed(write_passfile(situation, name)),
        *_grant(situation, primary),
        step("checkpoint", source, Checkpoint(), f"pg_rewind has to find {source} on its own timeline"),
        step(
            "recover", name, RecoverAlone(), f"pg_rewind needs a clean stop: {name} replays what it has, as a standby"
        ),
        step(
            "keep", name, KeepDivergedWal(fork.own, promise), "what no other node has is kept before it is overwritten"
        ),
        step("check-rewind", name, CheckRewind(source), "pg_rewind itself says whether it can, before it writes"),
        forward_only(step("rewind", name, Rewind(source, fork.own), goes_back)),
        *_install(situation, name, source, slot),
    )


def _grant(situation: Situation, primary: Primary) -> tuple[Step, ...]:
    if primary.server.rewind_granted:
        return ()
    user = situation.inventory.replication.user
    return (step("grant-rewind", primary.node, GrantRewind(), f"{user} serves pg_rewind, and may not do so yet"),)


def _put_back(situation: Situation, primary: Primary, facts: NoInstance) -> tuple[Step, ...]:
    """The run before ended between pg_rewind's own end and the renaming."""
    name, slot = facts.node, situation.node(facts.node).slot
    return (
        *(() if keeps_wal(primary, slot) else (new_slot(primary, name, slot),)),
        *if_needed(write_passfile(situation, name)),
        *_install(situation, name, primary.node, slot),
    )


def _install(situation: Situation, name: NodeName, source: NodeName, slot: str) -> tuple[Step, ...]:
    return (
        step("standby", name, ConfigureStandby(Place.REWOUND, source, slot), f"it has to stream from {source}"),
        step("install", name, InstallRewound(), "the rewound directory is renamed back into place"),
        *starts_with_host(situation, name),
        step("start", name, StartPostgres(), "it replays what it copied and connects"),
        step("streaming", name, AwaitStreaming(source), f"only {source}'s own WAL coming through proves it"),
    )


def _stop(facts: Stopped | Replica) -> tuple[Step, ...]:
    if isinstance(facts, Stopped):
        return ()
    why = f"{facts.node} cannot follow as it is"
    return (step("stop", facts.node, StopPostgres(), why, undo=StartPostgres()),)


def _plan(
    situation: Situation, primary: Primary, name: NodeName, lane: tuple[Step, ...], notes: Sequence[str] = ()
) -> Plan:
    listed = {*proven_replicas(situation.inventory, situation.facts), name}
    settled = (settle(debt.node) for debt in situation.facts.debts if debt.node == name)
    stages = [
        sequence(*refresh_hba(situation, primary.node)),
        sequence(*lane),
        sequence(publish(situation, primary.node, listed), *settled),
    ]
    return situation.plan(COMMAND, stages, notes=[*notes, *unreachable_notes(situation, [name, primary.node])])
