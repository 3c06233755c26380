"""Plans ``remove-replica``: out of the env file, stopped, its slot dropped, its data directory kept out of the way.

The env file comes first, so that no client is sent to a node that stops. Nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum

from replctl.model.actions import (
    ConfigureStandby,
    CreateSlot,
    DropSlot,
    ForgetStandby,
    Place,
    RemovePassfile,
    SetAside,
    StartPostgres,
    StopPostgres,
    WritePassfile,
)
from replctl.model.facts import Foreign, NodeFacts, NoInstance, Primary, Replica, Silent, Stopped, Unreachable
from replctl.model.plan import Plan, Refusal, Refused, Step
from replctl.model.values import NodeName
from replctl.planning.fencing import owes, settle
from replctl.planning.services import stays_down
from replctl.planning.situation import (
    Situation,
    forward_only,
    needs_host,
    needs_primary,
    publish,
    refuse_silent,
    sequence,
    step,
    unreachable_notes,
)
from replctl.planning.topology import proven_replicas, servers, slot_on, unseen_followers, upstream_of, walsender_owner
from replctl.postgres.paths import aside_prefix
from replctl.postgres.scripts import clone_name

COMMAND = "remove-replica"
SYNCHRONOUS = ("sync", "quorum", "potential")


class Directory(StrEnum):
    """What becomes of the node's data directory."""

    SET_ASIDE = "set aside"
    KEPT = "kept"


def plan_remove_replica(situation: Situation, name: NodeName, directory: Directory) -> Plan | Refused:
    """What ends with NODE out of the cluster; of a node that cannot be reached, the part that is left to others."""
    primary, facts = situation.facts.primary, situation.facts.nodes[name]
    if primary is not None and primary.node == name:
        return situation.refuse(COMMAND, [_is_primary(situation, name)])
    refusals = needs_primary(situation, COMMAND)
    if primary is None or refusals:
        return situation.refuse(COMMAND, refusals)
    refusals = [
        *_check_node(facts),
        *_check_followers(situation, facts),
        *_check_slot_holder(situation, primary, facts),
        *_check_synchronous(situation, primary, facts),
        *(_check_place(facts) if directory is Directory.SET_ASIDE else ()),
    ]
    return situation.refuse(COMMAND, refusals) if refusals else _plan(situation, primary, facts, directory)


def _plan(situation: Situation, primary: Primary, facts: NodeFacts, directory: Directory) -> Plan:
    name = facts.node
    remaining = [other for other in proven_replicas(situation.inventory, situation.facts) if other != name]
    listed = publish(situation, primary.node, remaining)
    steps = (
        *_stop(facts),
        *(stays_down(situation, name) if isinstance(facts, Replica | Stopped) and not _out_of_reach(facts) else ()),
        *_drop_slots(situation, name),
        *_put_away(situation, primary, facts, directory),
        *((settle(name),) if owes(situation.facts, name) and not _out_of_reach(facts) else ()),
    )
    notes = [
        *unreachable_notes(situation, [name, primary.node]),
        *_what_stays(situation, facts, directory),
        f"take {name} out of the inventory: `replctl add-replica {name}` brings back a node that is listed there",
    ]
    stages = [sequence(listed), sequence(*steps)]
    plan = situation.plan(COMMAND, stages, notes=notes, unfinished=_left_to_do(facts, directory))
    return plan if any(plan.steps) else replace(plan, notes=(*plan.notes, *plan.unfinished))


def _out_of_reach(facts: NodeFacts) -> bool:
    return isinstance(facts, Unreachable) or bool(needs_host(facts))


def _stop(facts: NodeFacts) -> Iterator[Step]:
    if isinstance(facts, Replica) and not _out_of_reach(facts):
        yield step(
            "stop", facts.node, StopPostgres(), f"{facts.node} is no part of the cluster any more", undo=StartPostgres()
        )


def _drop_slots(situation: Situation, name: NodeName) -> Iterator[Step]:
    """On every running node: after a role change an old slot may be left on a replica."""
    slot = situation.node(name).slot
    for server in servers(situation.facts):
        if server.node != name and not needs_host(server) and slot_on(server.server, slot) is not None:
            why = f"{server.node} would keep WAL for {name} until its limit"
            yield step("drop-slot", server.node, DropSlot(slot), why, undo=CreateSlot(slot))


def _put_away(situation: Situation, primary: Primary, facts: NodeFacts, directory: Directory) -> Iterator[Step]:
    name = facts.node
    if _out_of_reach(facts):
        return
    if directory is Directory.KEPT:
        if isinstance(facts, Stopped) and not facts.host.standby_signal:
            action = ConfigureStandby(Place.LIVE, primary.node, situation.node(name).slot)
            why = "what is started there by mistake must not be a second primary"
            yield step("demote", name, action, why, undo=ForgetStandby())
    elif isinstance(facts, Replica | Stopped):
        yield step("passfile", name, RemovePassfile(), f"{name} needs no password any more", undo=WritePassfile())
        yield _aside(name, "what stands there is kept, under another name")
    elif isinstance(facts, NoInstance) and facts.host.broken_rewind:
        yield _aside(name, "what a broken rewind left is kept, under another name")


def _aside(name: NodeName, why: str) -> Step:
    return forward_only(step("aside", name, SetAside(), why))


def _what_stays(situation: Situation, facts: NodeFacts, directory: Directory) -> Iterator[str]:
    name = facts.node
    match facts:
        case Unreachable(ssh=problem) | Replica(ssh=problem) if problem is not None:
            yield f"{name} cannot be reached, and PostgreSQL may go on running there: {problem.message}"
        case Foreign():
            yield f"{name} holds another cluster, which stays as it is"
        case Replica() | Stopped() if directory is Directory.KEPT:
            yield f"the data directory of {name} stays where it is, as a stopped replica"
        case Replica() | Stopped():
            yield f"the data directory of {name} is kept as {aside_prefix(situation.node(name))}<UTC>"
        case _:
            return


def _left_to_do(facts: NodeFacts, directory: Directory) -> tuple[str, ...]:
    if not _out_of_reach(facts):
        return ()
    name = facts.node
    again = f"replctl remove-replica {name}{' --keep-data' if directory is Directory.KEPT else ''}"
    return (
        f"Once {name} can be reached again, `{again}` stops PostgreSQL there and finishes the job; if {name} is gone "
        "for good, take it out of the inventory.",
    )


def _is_primary(situation: Situation, name: NodeName) -> Refusal:
    other = next(iter(proven_replicas(situation.inventory, situation.facts)), "NODE")
    return Refusal(
        "is-primary",
        name,
        f"{name} is the primary",
        f"Promote another node first: `replctl promote {other}`.",
    )


def _check_node(facts: NodeFacts) -> list[Refusal]:
    """What runs there unseen can be judged by nobody: it may even take writes."""
    return [refuse_silent(facts.node, facts.sql)] if isinstance(facts, Silent) else []


def _check_followers(situation: Situation, facts: NodeFacts) -> list[Refusal]:
    """Those who say that they follow it, and those who do not answer and whom it serves."""
    inventory, name = situation.inventory, facts.node
    follow = {
        replica.node
        for replica in situation.facts.replicas
        if (upstream := upstream_of(inventory, situation.facts, replica)) is not None and upstream.node == name
    }
    if isinstance(facts, Replica):
        follow |= set(unseen_followers(inventory, situation.facts, facts.server))
    return [
        Refusal(
            "has-followers",
            name,
            f"{follower} streams from {name}",
            f"`replctl add-replica {follower}` has it stream from the primary.",
        )
        for follower in sorted(follow - {name})
    ]


def _check_slot_holder(situation: Situation, primary: Primary, facts: NodeFacts) -> list[Refusal]:
    """A standby that has the slot, and is not this node, would be cut off."""
    node = situation.node(facts.node)
    own = (node.name, clone_name(node))
    holder = next((w for w in primary.server.walsenders if w.slot == node.slot), None)
    if isinstance(facts, Replica) or holder is None or holder.application_name in own:
        return []
    return [
        Refusal(
            "slot-in-use",
            node.name,
            f"slot {node.slot} of {node.name} on {primary.node} is in use by {holder.application_name} at "
            f"{holder.client_addr}",
            "Stop that standby, or give it a slot of its own.",
        )
    ]


def _check_synchronous(situation: Situation, primary: Primary, facts: NodeFacts) -> list[Refusal]:
    """Without the last synchronous standby every commit waits (PostgreSQL docs, 27.2.8)."""
    if situation.inventory.sync is not None:  # the plan sees to it
        return []
    waited_for = [w for w in primary.server.walsenders if w.sync_state in SYNCHRONOUS]
    owners = {walsender_owner(situation.inventory, situation.facts, walsender) for walsender in waited_for}
    if owners != {facts.node}:
        return []
    return [
        Refusal(
            "last-synchronous",
            facts.node,
            f"{facts.node} is the last synchronous standby of {primary.node}: every commit would wait for it",
            f"Take it out of synchronous_standby_names on {primary.node} first, and reload.",
        )
    ]


def _check_place(facts: NodeFacts) -> list[Refusal]:
    """A directory that cannot be renamed can only be left where it is."""
    if not isinstance(facts, Replica | Stopped) or facts.host is None:
        return []
    directory = facts.host.directory
    if not (directory.is_mount_point or directory.is_symlink) and directory.can_create:
        return []
    kind = "a mount point" if directory.is_mount_point else "a symbolic link" if directory.is_symlink else ""
    why = f"{directory.path} is {kind}" if kind else f"nothing can be renamed beside {directory.path}"
    return [
        Refusal(
            "data-dir",
            facts.node,
            f"{facts.node}: the data directory cannot be moved aside: {why}",
            f"`replctl remove-replica {facts.node} --keep-data` leaves it where it is.",
        )
    ]
