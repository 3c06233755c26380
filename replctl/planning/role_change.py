"""Steps that the plans of ``promote`` share: how a node takes the primary's role, and how the others follow it."""

from __future__ import annotations

from collections.abc import Iterable

from replctl.model.actions import (
    AwaitStreaming,
    Checkpoint,
    ConfigureStandby,
    CreateSlot,
    DropSlot,
    ForgetStandby,
    GetReadyToPromote,
    GetReadyToStop,
    Pending,
    Place,
    ProbeWrite,
    Promote,
    ProveCaughtUp,
    ReloadConfig,
    RepointStandby,
    StartPostgres,
    StopPostgres,
)
from replctl.model.facts import Replica, ServerFacts, Silent, Stopped, Unreachable
from replctl.model.plan import Stage, Step
from replctl.model.values import SLOT_PREFIX, NodeName
from replctl.planning.publishing import end_stale_sessions
from replctl.planning.situation import (
    Situation,
    forward_only,
    needs_host,
    publish,
    publish_again,
    sequence,
    side_by_side,
    step,
)
from replctl.planning.topology import is_ours, slot_on


def take_over(situation: Situation, old: NodeName, name: NodeName) -> tuple[Step, ...]:
    """The old primary is stopped: the proof, its demotion, the promotion. A failure before the request is undone."""
    return (
        step("prove", name, ProveCaughtUp(old), f"{name} must have replayed the last thing that {old} wrote"),
        step(
            "demote",
            old,
            ConfigureStandby(Place.LIVE, name, situation.node(old).slot),
            f"{old} must never come back as a second primary, not even by a reboot",
            undo=ForgetStandby(),
        ),
        *promotion(situation, name),
    )


def get_ready(situation: Situation, old: NodeName, name: NodeName) -> tuple[Step, ...]:
    """For the stop and the demotion of the one, and for the promotion of the other."""
    why = "what is needed while writes are refused is started beforehand"
    to_stop = GetReadyToStop(name, situation.node(old).slot)
    return step("ready", old, to_stop, why), step("ready", name, GetReadyToPromote(), why)


def promotion(situation: Situation, name: NodeName) -> tuple[Step, ...]:
    """From the promote request on there is no way back: it may be carried out even if its answer is lost."""
    return (
        forward_only(step("promote", name, Promote(), f"{name} becomes the primary")),
        step("probe-write", name, ProbeWrite(), "a primary that refuses writes is not published"),
        *if_needed(publish(situation, name, ())),
    )


def gather(
    situation: Situation, old: NodeName, name: NodeName, siblings: tuple[NodeName, ...], server: ServerFacts | None
) -> tuple[Stage, ...]:
    """Every other node follows the new primary, side by side; then the env file lists them."""
    lanes = [
        *(follow(situation, sibling, name) for sibling in siblings),
        return_as_replica(situation, old, name, server),
    ]
    return (
        side_by_side(lanes),
        end_stale_sessions(situation.inventory.app.publish, old),
        sequence(publish_again(situation, name, (old, *siblings))),
    )


def follow(situation: Situation, sibling: NodeName, name: NodeName) -> tuple[Step, ...]:
    """A running standby is pointed to the new primary, and proven to stream from it; what it keeps for nobody goes."""
    slot, facts = situation.node(sibling).slot, situation.facts.nodes[sibling]
    return (
        step("repoint", sibling, RepointStandby(name, slot), f"{sibling} has to follow {name}"),
        step(
            "streaming", sibling, AwaitStreaming(name), f"a link counts only once {name}'s own WAL has come through it"
        ),
        *(sweep(facts) if isinstance(facts, Replica) else ()),
    )


def return_as_replica(
    situation: Situation, old: NodeName, name: NodeName, server: ServerFacts | None
) -> tuple[Step, ...]:
    """The demoted old primary is started. ``server`` is what it was while it ran, None when that was not seen."""
    seen = [slot.name for slot in server.slots if is_ours(slot)] if server else None
    stale = [node.slot for node in situation.inventory.nodes.values() if node.name != old] if seen is None else seen
    return (
        step("start", old, StartPostgres(), f"{old} comes back as a replica, once its postmaster is gone"),
        step("streaming", old, AwaitStreaming(name), f"a link counts only once {name}'s own WAL has come through it"),
        *(_drop(old, slot) for slot in stale),
    )


def restarted(name: NodeName, why: str) -> tuple[Step, ...]:
    """A running server is stopped and started where it is."""
    return (
        step("stop", name, StopPostgres(), why, undo=StartPostgres()),
        step("start", name, StartPostgres(), f"{name} comes back with the programs and settings that are there now"),
    )


def restarted_primary(name: NodeName) -> tuple[Step, ...]:
    """The same of a primary, with as little of an outage as that allows, and the proof that writes go on."""
    return (
        step("checkpoint", name, Checkpoint(), "most of what the stop has to write is written while writes still flow"),
        *restarted(name, "writes are refused from here on"),
        step("probe-write", name, ProbeWrite(), f"writes go on once {name} takes them"),
    )


def wake(standby: NodeName) -> Step:
    """A walreceiver that finds nobody tries again after five seconds (wal_retrieve_retry_interval), or at a reload."""
    why = "a reload ends the pause between two attempts to connect"
    return step("wake", standby, ReloadConfig(Pending.PLANNED), why)


def sweep(replica: Replica) -> tuple[Step, ...]:
    """Slots of ours on a standby."""
    if needs_host(replica):
        return ()
    return tuple(_drop(replica.node, slot.name) for slot in replica.server.slots if is_ours(slot))


def sweep_stopped(facts: Stopped) -> tuple[Step, ...]:
    """Slots of ours that a stopped node has from the time when it was the primary, dropped once it runs."""
    return tuple(_drop(facts.node, slot) for slot in facts.host.slot_names if slot.startswith(SLOT_PREFIX))


def _drop(name: NodeName, slot: str) -> Step:
    return step(
        f"sweep-{slot.removeprefix(SLOT_PREFIX)}",
        name,
        DropSlot(slot),
        "a slot left on a replica keeps WAL for nobody",
    )


def slots_for(
    situation: Situation, server: ServerFacts, name: NodeName, followers: Iterable[NodeName]
) -> tuple[Step, ...]:
    """The slots on NODE that these followers need, where they are missing."""
    wanted = ((follower, situation.node(follower).slot) for follower in followers)
    return tuple(
        Step(
            f"slot:{follower}",
            name,
            CreateSlot(slot),
            f"{name} keeps the WAL that {follower} needs from now on",
            undo=DropSlot(slot),
        )
        for follower, slot in wanted
        if (found := slot_on(server, slot)) is None or found.wal_status == "lost"
    )


def siblings_of(situation: Situation, old: NodeName, name: NodeName) -> tuple[NodeName, ...]:
    """Running replicas beside the candidate that SSH reaches."""
    return tuple(
        replica.node
        for replica in situation.facts.replicas
        if replica.node not in (old, name) and not needs_host(replica)
    )


def left_behind(situation: Situation, done: tuple[NodeName, ...], command: str = "add-replica") -> tuple[str, ...]:
    """Members that the plan cannot bring along: they stay out of the env file until the operator gets to them by
    ``command``. A stopped primary may have WAL of its own, and always has to rejoin."""
    sentences: list[str] = []
    for name, facts in situation.facts.nodes.items():
        if name in done:
            continue
        if isinstance(facts, Unreachable) or needs_host(facts):
            sentences.append(f"`replctl {command} {name}` once {name} can be reached again")
        elif isinstance(facts, Stopped):
            wanted = command if facts.host.standby_signal else "rejoin"
            sentences.append(f"`replctl {wanted} {name}`, since {name} is stopped")
        elif isinstance(facts, Silent):
            sentences.append(f"`replctl {command} {name}` once its PostgreSQL answers: {facts.sql.message}")
    return tuple(sentences)


def if_needed(step_or_none: Step | None) -> tuple[Step, ...]:
    """A step that a plan may do without, as a part of a lane."""
    return () if step_or_none is None else (step_or_none,)
