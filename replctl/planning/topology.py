"""Who streams from whom, and whose walsenders and slots these are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from replctl.model.facts import (
    ClusterFacts,
    Primary,
    Receiver,
    Replica,
    ServerFacts,
    Silent,
    Slot,
    Unreachable,
    Walsender,
)
from replctl.model.inventory import Inventory
from replctl.model.values import SLOT_PREFIX, NodeName, canonical_host

DEFAULT_PORT = 5432


@dataclass(frozen=True, slots=True)
class Upstream:
    """What a standby streams from, or would: ``node`` is None when that is no node of the inventory."""

    node: NodeName | None
    text: str
    """The node's name, else ``host:port`` as configured."""


def live_receiver(replica: Replica) -> Receiver | None:
    """The walreceiver, when it streams. Other states (``waiting``, ``restarting``) receive nothing."""
    receiver = replica.receiver
    return receiver if receiver is not None and receiver.status == "streaming" else None


def upstream_of(inventory: Inventory, facts: ClusterFacts, replica: Replica) -> Upstream | None:
    """Where the replica's WAL comes from: its live connection's other end, else primary_conninfo.

    None without either. Mutual upstreams (an old primary started beside its candidate) are told as they are.
    """
    receiver = live_receiver(replica)
    host = receiver.sender_host if receiver and receiver.sender_host else replica.upstream_host
    port = receiver.sender_port if receiver and receiver.sender_host else replica.upstream_port
    if not host:
        return None
    found = _node_at(inventory, host, port or DEFAULT_PORT)
    if found is None and receiver is not None and _listed_by_primary(inventory, facts, replica):
        # An adopted replica may know the primary by another name than the inventory does.
        found = facts.primary.node if facts.primary else None
    return Upstream(found, found or _address(host, port or DEFAULT_PORT))


def walsender_of(inventory: Inventory, sender: ServerFacts, replica: Replica) -> Walsender | None:
    """The walsender that serves this replica: by its name, by its slot, by the slot that its receiver uses."""
    slot = inventory.nodes[replica.node].slot
    used = replica.receiver.slot if replica.receiver else None

    def fit(walsender: Walsender) -> tuple[bool, bool, bool]:
        by_slot = walsender.slot is not None and walsender.slot in (slot, used)
        return by_slot, walsender.application_name == replica.node, walsender.state == "streaming"

    found = [w for w in sender.walsenders_of(replica.node, slot, used) if w.state != "backup" and any(fit(w)[:2])]
    return max(found, key=fit, default=None) if len(found) != 1 else found[0]


def servers(facts: ClusterFacts) -> Iterator[Primary | Replica]:
    """The nodes that answered SQL, in the inventory's order."""
    return (node for node in facts.nodes.values() if isinstance(node, Primary | Replica))


def server_of(facts: ClusterFacts, name: NodeName | None) -> ServerFacts | None:
    """What SQL said of a node; None when it did not answer."""
    found = facts.nodes.get(name) if name is not None else None
    return found.server if isinstance(found, Primary | Replica) else None


def slot_on(server: ServerFacts, name: str) -> Slot | None:
    """The slot of that name, or None."""
    return server.slots_by_name.get(name)


def slot_owner(inventory: Inventory, slot: str) -> NodeName | None:
    """The node of the inventory whose slot this is, by its name."""
    return inventory.nodes_by_slot.get(slot)


def is_ours(slot: Slot) -> bool:
    """Our prefix alone tells our slots from foreign ones."""
    return slot.name.startswith(SLOT_PREFIX)


def walsender_owner(inventory: Inventory, facts: ClusterFacts, walsender: Walsender) -> NodeName | None:
    """The node that a walsender serves, by application_name, by slot, by the slot its receiver says it uses."""
    if walsender.application_name in inventory.nodes:
        return NodeName(walsender.application_name)
    if walsender.slot is None:
        return None
    return slot_owner(inventory, walsender.slot) or facts.receiving_by_slot.get(walsender.slot)


def unseen_followers(inventory: Inventory, facts: ClusterFacts, sender: ServerFacts) -> tuple[NodeName, ...]:
    """The nodes that stream from a server, as it says itself, and that did not answer: nobody knows their settings."""
    silent = (name for name, seen in facts.nodes.items() if isinstance(seen, Silent | Unreachable))
    served = {walsender_owner(inventory, facts, walsender) for walsender in sender.walsenders}
    return tuple(name for name in silent if name in served)


def streams_from_primary(inventory: Inventory, facts: ClusterFacts, replica: Replica) -> bool:
    """Both ends of the link agree: a live walreceiver here, a walsender for it on the one primary."""
    upstream = upstream_of(inventory, facts, replica)
    return (
        facts.primary is not None
        and live_receiver(replica) is not None
        and upstream is not None
        and upstream.node == facts.primary.node
        and _listed_by_primary(inventory, facts, replica)
    )


def proven_replicas(inventory: Inventory, facts: ClusterFacts) -> tuple[NodeName, ...]:
    """The replicas that are proven in their role now, in the inventory's order: what the env file may list.

    Proven is: in recovery, of the primary's system identifier and timeline, and streaming from the one primary as
    both ends say. A paused or delayed replica is one too: how old its reads may be is the reader's policy.
    """
    primary = facts.primary
    if primary is None:
        return ()
    identity = (primary.server.system_identifier, primary.server.timeline)
    return tuple(
        replica.node
        for replica in facts.replicas
        if (replica.server.system_identifier, replica.server.timeline) == identity
        and streams_from_primary(inventory, facts, replica)
    )


def proven_or_listed(inventory: Inventory, facts: ClusterFacts) -> tuple[NodeName, ...]:
    """The proven replicas, and running ones that the env file lists already.

    One of those that only reconnects just now is proven by the time the file is written, and left out of it with a
    warning otherwise.
    """
    proven = proven_replicas(inventory, facts)
    waiting = set(facts.env.replicas).difference(proven)
    return (*proven, *(replica.node for replica in facts.replicas if replica.node in waiting))


def _listed_by_primary(inventory: Inventory, facts: ClusterFacts, replica: Replica) -> bool:
    return facts.primary is not None and walsender_of(inventory, facts.primary.server, replica) is not None


def _node_at(inventory: Inventory, host: str, port: int) -> NodeName | None:
    known = inventory.nodes_by_address
    return known.get((host, port)) or known.get((canonical_host(host), port))


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
