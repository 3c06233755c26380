"""One row of the status table for each node of the inventory, and what no node owns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from replctl.model.facts import ClusterFacts, NodeFacts, Primary, Replica, ServerFacts, Slot, Walsender
from replctl.model.inventory import Inventory
from replctl.model.report import NodeReport, NodeState, SlotReport, Unlisted
from replctl.model.values import Lsn, NodeName
from replctl.planning.amounts import human_bytes
from replctl.planning.ancestry import fork_from_primary, has_diverged
from replctl.planning.candidates import Candidate
from replctl.planning.states import role_of, slot_home, timeline_of
from replctl.planning.topology import (
    live_receiver,
    server_of,
    servers,
    slot_on,
    slot_owner,
    upstream_of,
    walsender_of,
    walsender_owner,
)


class EnvKnowledge(Enum):
    """Whether the env file could be read. One that does not exist was: it lists no node."""

    KNOWN = "known"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a replica is behind the one primary; None is unknown. Bytes and milliseconds."""

    unreceived_bytes: int | None = None
    unreplayed_bytes: int | None = None
    lag_ms: float | None = None
    is_lower_bound: bool = False


def node_row(
    inventory: Inventory,
    facts: ClusterFacts,
    name: NodeName,
    state: NodeState,
    *,
    candidate: Candidate | None,
    env: EnvKnowledge,
) -> NodeReport:
    """The row of one node, whatever it is."""
    node, found = inventory.nodes[name], facts.nodes[name]
    upstream = upstream_of(inventory, facts, found) if isinstance(found, Replica) else None
    lag = lag_of(inventory, facts, found) if isinstance(found, Replica) else Lag()
    return NodeReport(
        name=name,
        host=node.host,
        port=node.postgres.port,
        role=role_of(found),
        state=state,
        timeline=timeline_of(found),
        upstream=upstream.text if upstream else None,
        unreceived_bytes=lag.unreceived_bytes,
        unreplayed_bytes=lag.unreplayed_bytes,
        lag_ms=lag.lag_ms,
        lag_is_lower_bound=lag.is_lower_bound,
        sync_state=_sync_state(inventory, facts, found) if isinstance(found, Replica) else None,
        slot=own_slot(inventory, facts, name),
        wal_free_bytes=host.wal_free_bytes if (host := facts.host_of(name)) else None,
        fork_lsn=fork_lsn(facts, found),
        in_env=None if env is EnvKnowledge.UNKNOWN else name in facts.env.names,
        promote=candidate.text if candidate else "",
    )


def lag_of(inventory: Inventory, facts: ClusterFacts, replica: Replica) -> Lag:
    """Bytes against the primary's position, and the age where it is known.

    Both positions of a listed replica come from the primary's own snapshot, so that both ends are of one moment; the
    primary's word counts only while the replica's own walreceiver lives, since a walsender outlasts a pulled cable.
    """
    primary = facts.primary
    if primary is None:
        return Lag()
    walsender = _trusted_walsender(inventory, primary, replica)
    flushed = walsender.flushed if walsender else None
    replayed = walsender.replayed if walsender else None
    unreplayed = _behind(primary.current, replayed or replica.replayed)
    lag_ms, is_lower_bound = _age(unreplayed, walsender, replica)
    return Lag(_behind(primary.current, flushed or replica.received), unreplayed, lag_ms, is_lower_bound)


def own_slot(inventory: Inventory, facts: ClusterFacts, name: NodeName) -> SlotReport | None:
    """The node's own slot on its upstream; for a node that tells no upstream, on the primary."""
    found = facts.nodes[name]
    home = slot_home(inventory, facts, found)
    server = server_of(facts, home)
    if server is None or isinstance(found, Primary):
        return None
    slot = slot_on(server, inventory.nodes[name].slot)
    if slot is None:
        return None
    return SlotReport(
        slot.name, slot.active, slot.retained_bytes, slot.wal_status, slot_limit(server), _full_in(facts, home, slot)
    )


def slot_limit(server: ServerFacts) -> int | None:
    """max_slot_wal_keep_size in bytes; None without a limit."""
    megabytes = int(server.setting("max_slot_wal_keep_size") or -1)
    return None if megabytes < 0 else megabytes * 2**20


def _full_in(facts: ClusterFacts, home: NodeName | None, slot: Slot) -> int | None:
    """Without a limit of its own a slot keeps WAL until the disk is full; with one it may be full before."""
    pace = facts.primary.wal_bytes_per_s if facts.primary else None
    host = facts.host_of(home) if home else None
    rooms = (slot.safe_wal_bytes, host.wal_free_bytes if host else None)
    known = [max(0, room) for room in rooms if room is not None]
    return round(min(known) / pace) if pace and known and slot.restart_lsn is not None else None


def fork_lsn(facts: ClusterFacts, node: NodeFacts) -> Lsn | None:
    """Where a node that has diverged for certain left the primary's history."""
    fork = fork_from_primary(facts, node) if has_diverged(facts, node) else None
    return fork.at if fork else None


def unlisted_of(inventory: Inventory, facts: ClusterFacts) -> tuple[Unlisted, ...]:
    """Walsenders and slots, on whichever node, that no node of the inventory owns."""
    found: list[Unlisted] = []
    for node in servers(facts):
        found += [
            Unlisted("walsender", w.application_name, f"on {node.node}: {_walsender_text(w)}")
            for w in node.server.walsenders
            if walsender_owner(inventory, facts, w) is None
        ]
        found += [
            Unlisted("slot", slot.name, f"on {node.node}: {_slot_text(slot)}")
            for slot in node.server.slots
            if slot_owner(inventory, slot.name) is None
        ]
    return tuple(found)


def _trusted_walsender(inventory: Inventory, primary: Primary, replica: Replica) -> Walsender | None:
    return walsender_of(inventory, primary.server, replica) if live_receiver(replica) else None


def _behind(primary: Lsn, position: Lsn | None) -> int | None:
    """Never negative: a position read a moment after the primary's may be ahead of it."""
    return None if position is None else max(0, primary - position)


def _age(unreplayed: int | None, walsender: Walsender | None, replica: Replica) -> tuple[float | None, bool]:
    """``replay_lag`` is NULL on an idle primary and without a walsender row. What is left is then the age of the
    newest transaction that the replica shows, which grows on: only with bytes outstanding does it say anything."""
    if unreplayed is None:
        return None, False
    if unreplayed == 0:
        return 0.0, False
    if walsender is not None and walsender.replay_lag_ms is not None:
        return walsender.replay_lag_ms, False
    return replica.last_replay_age_ms, replica.last_replay_age_ms is not None


def _sync_state(inventory: Inventory, facts: ClusterFacts, replica: Replica) -> str | None:
    """As its upstream has it: that is who waits for it, or does not."""
    upstream = upstream_of(inventory, facts, replica)
    server = server_of(facts, upstream.node) if upstream else None
    walsender = walsender_of(inventory, server, replica) if server and live_receiver(replica) else None
    return walsender.sync_state if walsender else None


def _walsender_text(walsender: Walsender) -> str:
    where = f" to {walsender.client_addr}" if walsender.client_addr else ""
    slot = f", slot {walsender.slot}" if walsender.slot else ""
    return f"{walsender.state}{where}{slot}, pid {walsender.pid}"


def _slot_text(slot: Slot) -> str:
    words = (slot.kind, "temporary" if slot.temporary else "", "active" if slot.active else "inactive")
    kept = "" if slot.retained_bytes is None else f", keeps {human_bytes(slot.retained_bytes)} of WAL"
    return " ".join(filter(None, words)) + kept
