"""Sentences that several findings end with. Each begins in lower case, to go on behind another one."""

from __future__ import annotations

from replctl.model.values import NodeName


def clone_anew(name: NodeName) -> str:
    """What to do with a node that can only come back as a new clone."""
    return f"stop {name}, move its data directory aside by hand, and run `replctl add-replica {name}`."


def drop_by_hand(slot: str, node: NodeName) -> str:
    """How to give up a slot, and the node that it was made for."""
    return f"give it up with `select pg_drop_replication_slot('{slot}')` on {node}."
