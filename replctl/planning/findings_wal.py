"""Findings about slots and walsenders, on every node that answers SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from replctl.model.facts import ClusterFacts, NoInstance, Primary, Replica, Slot, Stopped, Walsender
from replctl.model.inventory import Inventory
from replctl.model.report import Finding, NodeRole, NodeState, Severity, SlotReport
from replctl.model.values import NodeName
from replctl.planning.amounts import human_bytes, human_duration
from replctl.planning.hints import clone_anew, give_up, needs_rejoin
from replctl.planning.rows import own_slot
from replctl.planning.states import replica_state, role_of, slot_home
from replctl.planning.topology import is_ours, server_of, servers, slot_on, slot_owner, walsender_owner

NEARLY_FULL = 0.8
"""Share of its limit from which a slot that keeps WAL is warned about."""
FAR_SECONDS = 30 * 86_400
"""A slot that has room for longer than this is nothing to hurry for, and nobody can tell the pace until then."""


def wal_findings(inventory: Inventory, facts: ClusterFacts) -> Iterator[Finding]:
    """Slots that are missing, idle, lost, filling or nobody's; walsenders of nobody or of one name."""
    for name in inventory.nodes:
        yield from _slot_missing(inventory, facts, name)
    for node in servers(facts):
        for slot in node.server.slots:
            yield from _slot_findings(inventory, facts, node, slot)
        yield from _walsender_findings(inventory, facts, node)


def _slot_missing(inventory: Inventory, facts: ClusterFacts, name: NodeName) -> Iterator[Finding]:
    found = facts.nodes[name]
    standby = isinstance(found, Replica) or (isinstance(found, Stopped) and found.host.standby_signal)
    home = slot_home(inventory, facts, found)
    server = server_of(facts, home)
    if standby and server is not None and slot_on(server, inventory.nodes[name].slot) is None:
        message = f"{name} has no slot on {home}, which may remove WAL that {name} still needs"
        primary = facts.primary.node if facts.primary else home
        hint = f"Run `replctl add-replica {name}`, which creates {inventory.nodes[name].slot} on {primary}."
        yield Finding(Severity.WARNING, "slot-missing", name, message, hint)


def _slot_findings(inventory: Inventory, facts: ClusterFacts, node: Primary | Replica, slot: Slot) -> Iterator[Finding]:
    owner = slot_owner(inventory, slot.name)
    if owner is None:
        yield _unlisted_slot(node, slot)
    elif owner != node.node and slot_home(inventory, facts, facts.nodes[owner]) == node.node:
        yield from _owned_slot(inventory, facts, node, slot, owner)
    elif not slot.active and facts.primary is not None:
        # Without one primary it may be a slot that was prepared for the role change under way.
        yield _stale_slot(facts, node, slot, owner)


def _owned_slot(
    inventory: Inventory, facts: ClusterFacts, node: Primary | Replica, slot: Slot, owner: NodeName
) -> Iterator[Finding]:
    where = f"slot {slot.name} of {owner} on {node.node}"
    if slot.wal_status == "lost":
        yield from _lost_slot(inventory, facts, owner, where)
        return
    if not slot.active:
        message = f"{where} is inactive and {_kept(slot)}{_full_in(own_slot(inventory, facts, owner))}"
        yield Finding(Severity.WARNING, "slot-inactive", owner, message, _hint_for_idle(inventory, facts, owner))
    if slot.wal_status == "unreserved" or _share_of_limit(slot) >= NEARLY_FULL:
        left = "" if slot.safe_wal_bytes is None else f", {human_bytes(max(0, slot.safe_wal_bytes))} short of its limit"
        message = f"{where} {_kept(slot)}{left}; past max_slot_wal_keep_size it is lost"
        hint = f"Bring {owner} back to streaming soon, or {give_up(owner)}"
        yield Finding(Severity.WARNING, "slot-filling", owner, message, hint)


def _lost_slot(inventory: Inventory, facts: ClusterFacts, owner: NodeName, where: str) -> Iterator[Finding]:
    found = facts.nodes[owner]
    if isinstance(found, Replica) and replica_state(inventory, facts, found) is NodeState.SLOT_LOST:
        return  # the replica's own finding says so
    message = f"{where} is lost: the WAL that {owner} needs is removed"
    absent = isinstance(found, NoInstance)
    hint = f"Run `replctl add-replica {owner}`." if absent else clone_anew(owner).capitalize()
    yield Finding(Severity.WARNING, "slot-lost", owner, message, hint)


def _hint_for_idle(inventory: Inventory, facts: ClusterFacts, owner: NodeName) -> str:
    found = facts.nodes[owner]
    if needs_rejoin(inventory, facts, found):
        return f"Run `replctl rejoin {owner}`, or {give_up(owner)}"
    if isinstance(found, NoInstance) or role_of(found) is NodeRole.REPLICA:
        return f"Run `replctl add-replica {owner}`, or {give_up(owner)}"
    return f"Bring {owner} back, or {give_up(owner)}"


def _stale_slot(facts: ClusterFacts, node: Primary | Replica, slot: Slot, owner: NodeName) -> Finding:
    """That of a replica on the primary is not useless: it is what the replica will stream by once it is mended."""
    what = "the node itself" if owner == node.node else f"{owner}, which does not stream from there"
    message = f"slot {slot.name} on {node.node} is inactive, made for {what}, and {_kept(slot)}"
    hint = f"Run {_drop_sql(slot)} on {node.node}."
    if owner != node.node and isinstance(node, Primary) and isinstance(facts.nodes[owner], Replica):
        hint = f"`replctl add-replica {owner}` has {owner} stream by it. To leave {owner} as it is, r{hint[1:]}"
    return Finding(Severity.WARNING, "slot-stale", node.node, message, hint)


def _unlisted_slot(node: Primary | Replica, slot: Slot) -> Finding:
    owner = "was made by replctl for no node of the inventory" if is_ours(slot) else "belongs to no node"
    use = "active" if slot.active else "inactive"
    message = f"slot {slot.name} on {node.node} {owner}: {use}, {_kept(slot)}"
    severity = Severity.INFO if slot.active else Severity.WARNING
    if slot.active:
        hint = "List its standby in the inventory if it is one."
    else:
        hint = f"If no standby or consumer needs it any more, run {_drop_sql(slot)} on {node.node}."
    return Finding(severity, "slot-unlisted", node.node, message, hint)


def _drop_sql(slot: Slot) -> str:
    return f"`SELECT pg_drop_replication_slot('{slot.name}');`"


def _walsender_findings(inventory: Inventory, facts: ClusterFacts, node: Primary | Replica) -> Iterator[Finding]:
    for walsender in node.server.walsenders:
        if walsender_owner(inventory, facts, walsender) is None:
            yield _unlisted_walsender(node, walsender)
    names = Counter(w.application_name for w in node.server.walsenders if w.state != "backup")
    for name, number in names.items():
        if number > 1 and name in inventory.nodes:
            yield _duplicate_walsender(node, NodeName(name), number)


def _duplicate_walsender(node: Primary | Replica, name: NodeName, number: int) -> Finding:
    found = (w.client_addr for w in node.server.walsenders if w.application_name == name and w.client_addr)
    to = " and ".join(dict.fromkeys(found))
    message = f"{number} walsenders on {node.node} call themselves {name}{f': to {to}' if to else ''}"
    hint = f"Give the standby that is not {name} a name of its own; a broken connection ends by itself."
    return Finding(Severity.WARNING, "walsender-duplicate", name, message, hint)


def _unlisted_walsender(node: Primary | Replica, walsender: Walsender) -> Finding:
    where = f" to {walsender.client_addr}" if walsender.client_addr else ""
    message = f"walsender {walsender.application_name}{where} on {node.node} serves no node of the inventory"
    hint = "List the standby in the inventory if it is one; a backup ends by itself."
    return Finding(Severity.INFO, "walsender-unlisted", node.node, message, hint)


def _kept(slot: Slot) -> str:
    return "reserves no WAL" if slot.retained_bytes is None else f"keeps {human_bytes(slot.retained_bytes)} of WAL"


def _full_in(slot: SlotReport | None) -> str:
    """Until it is lost, or the disk full, if nothing happens. Bytes of room alone say little at 3 a.m."""
    if slot is None or slot.full_in_s is None or slot.full_in_s > FAR_SECONDS:
        return ""
    room = human_duration(max(1, slot.full_in_s) * 1000)
    return f"; as fast as the primary writes now, there is room for {room} of it"


def _share_of_limit(slot: Slot) -> float:
    """Of max_slot_wal_keep_size; 0 without a limit. An active slot of a healthy link keeps little."""
    if slot.safe_wal_bytes is None or slot.retained_bytes is None:
        return 0.0
    limit = slot.retained_bytes + max(0, slot.safe_wal_bytes)
    return slot.retained_bytes / limit if limit else 0.0
