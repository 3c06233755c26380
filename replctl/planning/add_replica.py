"""Plans ``add-replica``: clone what is absent, start what is stopped, leave what streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from replctl.model.actions import (
    AwaitStreaming,
    BaseBackup,
    CheckLogin,
    ConfigFile,
    ConfigureStandby,
    CreateSlot,
    DropSlot,
    InstallStaging,
    Place,
    RemovePassfile,
    RemoveStaging,
    RepointStandby,
    StartPostgres,
    WriteConfig,
    WritePassfile,
)
from replctl.model.facts import NoInstance, Primary, ProblemKind, Replica, Stopped
from replctl.model.plan import Plan, Refused, Stage, Step
from replctl.model.transfer import UNHINDERED, Transfer
from replctl.model.values import NodeName
from replctl.planning.amounts import human_bytes
from replctl.planning.clone_checks import WALSENDERS_PER_CLONE, check_nodes, clones_among, free_walsenders
from replctl.planning.role_change import sweep_stopped
from replctl.planning.services import starts_with_host, undo_of_config
from replctl.planning.situation import (
    Situation,
    forward_only,
    needs_host,
    needs_primary,
    publish,
    refresh_hba,
    sequence,
    side_by_side,
    step,
    unreachable_notes,
    write_passfile,
)
from replctl.planning.states import settings_at_start, settings_in, settings_in_force, too_low
from replctl.planning.topology import proven_or_listed, slot_on, streams_from_primary, upstream_of

COMMAND = "add-replica"
MEBIBYTE = 2**20
"""The unit of max_slot_wal_keep_size in pg_settings."""


def plan_add_replica(
    situation: Situation,
    names: Sequence[NodeName],
    source: NodeName | None = None,
    transfer: Transfer = UNHINDERED,
) -> Plan | Refused:
    """What ends with every named node streaming and listed. ``source`` is a replica to copy from."""
    refusals = needs_primary(situation, COMMAND)
    primary = situation.facts.primary
    if refusals or primary is None:
        unreachable = [refusal for name in names for refusal in needs_host(situation.facts.nodes[name])]
        return situation.refuse(COMMAND, dict.fromkeys([*refusals, *unreachable]))
    refusals = check_nodes(situation, primary, names, source)
    return situation.refuse(COMMAND, refusals) if refusals else _plan(situation, primary, names, source, transfer)


def _plan(
    situation: Situation, primary: Primary, names: Sequence[NodeName], source: NodeName | None, transfer: Transfer
) -> Plan:
    clones = clones_among(situation, names)
    others = [name for name in names if not isinstance(situation.facts.nodes[name], NoInstance)]
    linked = {walsender.application_name for walsender in primary.server.walsenders}
    joining = [name for name in others if name not in linked]
    stages = [
        sequence(*refresh_hba(situation, primary.node)),
        Stage(tuple(refresh_hba(situation, replica.node) for replica in situation.facts.replicas)),
        side_by_side(follow_primary(situation, primary, name) for name in others),
        *(
            side_by_side(clone(situation, primary, name, source, transfer) for name in some)
            for some in _batches(clones, free_walsenders(primary) - len(joining))
        ),
    ]
    listed = {*proven_or_listed(situation.inventory, situation.facts), *names}
    return situation.plan(
        COMMAND,
        [*stages, sequence(publish(situation, primary.node, listed))],
        notes=[
            *unreachable_notes(situation, [*names, primary.node]),
            *_untested_logins(situation),
            *(_little_room_for_wal(primary) if clones else ()),
        ],
    )


def _untested_logins(situation: Situation) -> list[str]:
    return [
        f"{login.source}: the login at {login.target} could not be tried beforehand: {login.problem.message}"
        for login in situation.facts.logins
        if login.problem is not None and login.problem.kind is ProblemKind.FORWARDING
    ]


def _little_room_for_wal(primary: Primary) -> list[str]:
    """The slot of a copy keeps all WAL that is written meanwhile, and a primary whose disk is full stops."""
    free = primary.host.directory.free_bytes if primary.host is not None else None
    limit = int(primary.server.setting("max_slot_wal_keep_size") or -1) * MEBIBYTE
    if free is None or 0 <= limit < free:
        return []
    up_to = f"up to {human_bytes(limit)}" if limit >= 0 else "any amount"
    return [
        f"{primary.node} has {human_bytes(free)} free, and the slot of a copy may keep {up_to} of WAL there "
        "(max_slot_wal_keep_size): watch it with `replctl status`"
    ]


def clone(
    situation: Situation,
    primary: Primary,
    name: NodeName,
    source: NodeName | None,
    transfer: Transfer = UNHINDERED,
) -> tuple[Step, ...]:
    """A copy is made beside the node's place, put into it, and proven to stream."""
    node = situation.node(name)
    return (
        step(
            "login",
            name,
            CheckLogin(primary.node),
            f"{name} must be able to log in at {primary.node} before anything is made",
        ),
        new_slot(primary, name, node.slot),
        step(
            "passfile",
            name,
            WritePassfile(),
            "pg_basebackup and the standby read the replication password there",
            undo=RemovePassfile(),
        ),
        *_staged(situation, primary, name, source or primary.node, transfer),
        forward_only(step("install", name, InstallStaging(), "the finished copy is renamed into place")),
        *starts_with_host(situation, name),
        step("start", name, StartPostgres(), "it replays what it copied and connects"),
        step("streaming", name, AwaitStreaming(primary.node), "done means streaming and caught up"),
    )


def _staged(
    situation: Situation, primary: Primary, name: NodeName, of: NodeName, transfer: Transfer
) -> tuple[Step, ...]:
    """The copy, beside the node's place, as it will be started."""
    slot = situation.node(name).slot
    files = situation.rendered(name, primary.server.major)
    return (
        step(
            "clone",
            name,
            BaseBackup(of, slot if of == primary.node else None, transfer),
            f"copies {of} beside its place, where nothing can start it",
            undo=RemoveStaging(),
        ),
        step(
            "config",
            name,
            WriteConfig(Place.STAGING, files),
            "the copy brought the source's configuration",
            undo=undo_of_config(situation, name),
        ),
        step(
            "standby",
            name,
            ConfigureStandby(Place.STAGING, primary.node, slot),
            f"it has to stream from {primary.node}, and never to start as a primary",
            undo=RemoveStaging(),
        ),
    )


def new_slot(primary: Primary, name: NodeName, slot: str) -> Step:
    """The node's slot on the primary."""
    return Step(
        f"slot:{name}",
        primary.node,
        CreateSlot(slot),
        f"{primary.node} keeps the WAL that {name} needs from now on",
        undo=DropSlot(slot),
    )


def follow_primary(situation: Situation, primary: Primary, name: NodeName) -> tuple[Step, ...]:
    """A node that has its data: started if it is stopped, pointed to the primary if it follows another."""
    node, facts = situation.node(name), situation.facts.nodes[name]
    if isinstance(facts, Replica):
        return join_running(situation, primary, facts)
    passfile = write_passfile(situation, name)
    return (
        *(() if keeps_wal(primary, node.slot) else (new_slot(primary, name, node.slot),)),
        *((passfile,) if passfile else ()),
        *(_raise_first(situation, primary, facts) if isinstance(facts, Stopped) else ()),
        step(
            "standby",
            name,
            ConfigureStandby(Place.LIVE, primary.node, node.slot),
            f"it has to stream from {primary.node}",
        ),
        *starts_with_host(situation, name),
        forward_only(step("start", name, StartPostgres(), f"{name} is a stopped replica of this cluster")),
        step("streaming", name, AwaitStreaming(primary.node), "done means streaming and caught up"),
        *(sweep_stopped(facts) if isinstance(facts, Stopped) else ()),
    )


def _raise_first(situation: Situation, primary: Primary, facts: Stopped) -> tuple[Step, ...]:
    """A node that was away while the primary's settings were raised would stop replaying soon after its start."""
    name, host = facts.node, facts.host
    changed = situation.changed_config(name, primary.server.major)
    now, then = settings_in(host.files), settings_in({**host.files, **{file.name: file.text for file in changed}})
    if not _too_little(now, primary) or _too_little(then, primary):
        return ()
    old = tuple(ConfigFile(file.name, host.files[file.name]) for file in changed if file.name in host.files)
    why = f"with less than {primary.node} has it would stop replaying"
    write = WriteConfig(Place.LIVE, changed)
    return (step("write-config", name, write, why, undo=WriteConfig(Place.LIVE, old)),)


def _too_little(written: Mapping[str, str], primary: Primary) -> bool:
    """Whether a standby with these settings has less than the primary has, or will have once it starts anew."""
    return any(too_low(written, theirs) for theirs in (settings_in_force(primary), settings_at_start(primary)))


def join_running(situation: Situation, primary: Primary, facts: Replica) -> tuple[Step, ...]:
    """A running standby is given its slot, and pointed to the primary where it follows another."""
    node = situation.node(facts.node)
    streams = streams_from_primary(situation.inventory, situation.facts, facts)
    if streams and facts.server.setting("primary_slot_name") == node.slot:
        return starts_with_host(situation, facts.node)
    upstream = upstream_of(situation.inventory, situation.facts, facts)
    steps = [*starts_with_host(situation, facts.node)]
    if not keeps_wal(primary, node.slot):
        steps.append(new_slot(primary, facts.node, node.slot))
    if (passfile := write_passfile(situation, facts.node)) is not None:
        steps.append(passfile)
    if upstream is None or upstream.node != primary.node or facts.server.setting("primary_slot_name") != node.slot:
        steps.append(
            step(
                "repoint", facts.node, RepointStandby(primary.node, node.slot), f"it has to stream from {primary.node}"
            )
        )
    steps.append(step("streaming", facts.node, AwaitStreaming(primary.node), "done means streaming and caught up"))
    return tuple(steps)


def keeps_wal(primary: Primary, name: str) -> bool:
    """Whether the primary has this slot. One that lost its WAL serves nobody any more: it is made anew."""
    slot = slot_on(primary.server, name)
    return slot is not None and slot.wal_status != "lost"


def _batches(names: Sequence[NodeName], free: int) -> list[Sequence[NodeName]]:
    """As many clones at once as ``free`` walsenders allow; each leaves one less to the next batch: its own link."""
    batches: list[Sequence[NodeName]] = []
    while names:
        size = max(1, free // WALSENDERS_PER_CLONE)
        batches.append(names[:size])
        names, free = names[size:], free - size
    return batches
