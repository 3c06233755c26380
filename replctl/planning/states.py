"""The role and the state of a node: one word each, from what was observed (docs/status.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from replctl.model.facts import (
    ClusterFacts,
    Foreign,
    NodeFacts,
    NoInstance,
    Primary,
    ProblemKind,
    Replica,
    ServerFacts,
    Silent,
    Stopped,
    Unreachable,
)
from replctl.model.host import DirectoryState
from replctl.model.inventory import Inventory
from replctl.model.report import NodeRole, NodeState
from replctl.model.values import NodeName, Timeline
from replctl.planning.ancestry import has_diverged, line_of
from replctl.planning.topology import (
    live_receiver,
    server_of,
    slot_on,
    streams_from_primary,
    upstream_of,
    walsender_of,
)
from replctl.postgres.adopted import CONF
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.ownership import is_rendered_by_us
from replctl.postgres.render import POSTGRESQL_CONF

AUTO_CONF = "postgresql.auto.conf"

ORDERED_SETTINGS = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)
"""A standby needs at least the primary's values; a hot standby that has less pauses its replay."""


def role_of(node: NodeFacts) -> NodeRole:
    """The role as the contract has it. ``unknown`` is everything that nothing observed proves."""
    match node:
        case Primary():
            role = NodeRole.PRIMARY
        case Replica():
            role = NodeRole.REPLICA
        case Stopped() | Silent():
            role = NodeRole.REPLICA if _is_standby(node) else NodeRole.UNKNOWN
        case NoInstance():
            vacant = node.host.directory.state in (DirectoryState.ABSENT, DirectoryState.EMPTY)
            role = NodeRole.NONE if vacant else NodeRole.UNKNOWN
        case Foreign():
            role = NodeRole.FOREIGN
        case Unreachable():
            role = NodeRole.UNKNOWN
        case _:
            assert_never(node)
    return role


def _is_standby(node: Stopped | Silent) -> bool:
    """A server that found standby.signal at its start is in recovery until it takes the file away. Beside a live
    postmaster the file may also have been put there afterwards: then pg_control says "in production"."""
    running_primary = isinstance(node, Silent) and node.control.state == "in production"
    return node.host.standby_signal and not running_primary


def state_of(inventory: Inventory, facts: ClusterFacts, node: NodeFacts) -> NodeState:
    """The first state that holds, in NodeState's order."""
    match node:
        case Unreachable():
            state = NodeState.UNREACHABLE
        case Foreign():
            state = NodeState.SQL_ONLY if node.host is None else NodeState.FOREIGN
        case Silent():
            state = NodeState.STARTING if node.sql.kind is ProblemKind.SQL_STARTING else NodeState.SSH_ONLY
        case NoInstance():
            state = NodeState.ABSENT
        case Stopped():
            state = NodeState.STOPPED
        case Primary():
            state = NodeState.SQL_ONLY if node.ssh is not None else NodeState.READ_WRITE
        case Replica():
            state = NodeState.SQL_ONLY if node.ssh is not None else replica_state(inventory, facts, node)
        case _:
            assert_never(node)
    return state


def states_of(inventory: Inventory, facts: ClusterFacts) -> Mapping[NodeName, NodeState]:
    """The state of every node."""
    return {name: state_of(inventory, facts, node) for name, node in facts.nodes.items()}


def replica_state(inventory: Inventory, facts: ClusterFacts, replica: Replica) -> NodeState:
    """How replication does on a node in recovery, whether or not SSH answers."""
    if is_diverged(inventory, facts, replica):
        return NodeState.DIVERGED
    sender = server_of(facts, slot_home(inventory, facts, replica))
    if sender is not None and _slot_is_lost(inventory, sender, replica):
        return NodeState.SLOT_LOST
    if has_wrong_upstream(inventory, facts, replica):
        return NodeState.WRONG_UPSTREAM
    if live_receiver(replica) is None:
        from_archive = bool(replica.server.setting("restore_command"))
        return NodeState.ARCHIVE if from_archive else NodeState.NOT_RECEIVING
    return _replay_state(inventory, facts, sender, replica)


def is_diverged(inventory: Inventory, facts: ClusterFacts, replica: Replica) -> bool:
    """Whether the replica certainly holds WAL that the one primary has not.

    The two histories tell where they parted. Where one is not known, certain are: a later timeline than the primary's;
    or an earlier one with more WAL received than the primary has written. While both ends stream there is no
    divergence: PostgreSQL would have refused it.
    """
    primary = facts.primary
    if primary is None or streams_from_primary(inventory, facts, replica):
        return False
    if has_diverged(facts, replica):
        return True
    if line_of(replica) is None or line_of(primary) is None:
        later = replica.server.timeline > primary.server.timeline
        earlier = replica.server.timeline < primary.server.timeline
        return later or (earlier and replica.received is not None and replica.received > primary.current)
    return False


def has_wrong_upstream(inventory: Inventory, facts: ClusterFacts, replica: Replica) -> bool:
    """Whether the replica streams from something that is not the one primary, or is configured to."""
    upstream = upstream_of(inventory, facts, replica)
    return facts.primary is not None and upstream is not None and upstream.node != facts.primary.node


def is_delayed(replica: Replica) -> bool:
    """Whether the replica is told to replay late."""
    return replica.server.setting("recovery_min_apply_delay") not in ("", "0")


def low_settings(facts: ClusterFacts, replica: Replica) -> dict[str, tuple[int, int]]:
    """The ordered settings that are lower than the primary's: name to (here, on the primary)."""
    return too_low(settings_in_force(replica), settings_in_force(facts.primary)) if facts.primary is not None else {}


def too_low(own: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Ordered settings of which one server has less than another: name to both values. What is not known is not low."""
    pairs = {name: (own.get(name, ""), theirs.get(name, "")) for name in ORDERED_SETTINGS}
    known = {name: (int(a), int(b)) for name, (a, b) in pairs.items() if a.isdigit() and b.isdigit()}
    return {name: pair for name, pair in known.items() if pair[0] < pair[1]}


def settings_in_force(node: Primary | Replica) -> dict[str, str]:
    """The ordered settings that a running server has."""
    return {name: node.server.setting(name) for name in ORDERED_SETTINGS}


def settings_at_start(node: Primary | Replica) -> dict[str, str]:
    """The ordered settings that a running server would have if it started anew: its files may say other values than
    those in force, which wait for a restart."""
    written = settings_in(node.host.files if node.host is not None else {})
    return {setting: written.get(setting, node.server.setting(setting)) for setting in ORDERED_SETTINGS}


def settings_in(files: Mapping[str, str]) -> dict[str, str]:
    """What configuration files say of anything. A postgresql.conf of somebody else's may include others that say more,
    and is left out."""
    written = parse_conf(files[POSTGRESQL_CONF]) if is_rendered_by_us(files) else {}
    for name in (CONF, AUTO_CONF):  # the last one that says something wins
        written = {**written, **parse_conf(files.get(name, ""))}
    return written


def timeline_of(node: NodeFacts) -> Timeline | None:
    """The timeline that a node is on, where it is known."""
    match node:
        case Primary() | Replica():
            return node.server.timeline
        case Stopped() | Silent():
            return node.control.timeline
        case Unreachable() | NoInstance() | Foreign():
            return None
        case _:
            assert_never(node)


def slot_home(inventory: Inventory, facts: ClusterFacts, node: NodeFacts) -> NodeName | None:
    """The node on which a standby's own slot is looked for: its upstream if that answers, else the primary."""
    upstream = upstream_of(inventory, facts, node) if isinstance(node, Replica) else None
    if upstream is not None and server_of(facts, upstream.node) is not None:
        return upstream.node
    return facts.primary.node if facts.primary else None


def _slot_is_lost(inventory: Inventory, sender: ServerFacts, replica: Replica) -> bool:
    slot = slot_on(sender, inventory.nodes[replica.node].slot)
    return slot is not None and slot.wal_status == "lost"


def _replay_state(inventory: Inventory, facts: ClusterFacts, sender: ServerFacts | None, replica: Replica) -> NodeState:
    if replica.paused != "not paused":
        # The server pauses by itself, and says so in its log alone, when a setting is lower than the primary's.
        by_parameter = bool(low_settings(facts, replica))
        return NodeState.PARAMETER_PAUSED if by_parameter else NodeState.PAUSED
    if is_delayed(replica):
        return NodeState.DELAYED
    walsender = walsender_of(inventory, sender, replica) if sender else None
    if walsender is not None and walsender.state != "streaming":
        return NodeState.CATCHUP
    return NodeState.STREAMING
