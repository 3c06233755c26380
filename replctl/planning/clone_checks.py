"""Whether ``add-replica`` may go on: every reason why not, for every named node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from replctl.model.facts import Foreign, NoInstance, Primary, ProblemKind, Replica, Silent, Stopped, Unreachable
from replctl.model.host import HostFacts
from replctl.model.plan import Refusal
from replctl.model.values import NodeName
from replctl.planning.ancestry import has_diverged
from replctl.planning.clone_target import check_replacement, check_start, check_target
from replctl.planning.situation import HBA, Situation, needs_host, refuse_silent, refuse_unreachable, timeline_on_disk
from replctl.planning.states import AUTO_CONF, ORDERED_SETTINGS
from replctl.planning.topology import slot_on, streams_from_primary
from replctl.postgres.adopted import is_known
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.render import POSTGRESQL_CONF
from replctl.postgres.scripts import clone_name

WALSENDERS_PER_CLONE = 2
"""One sends the files, the other the WAL that is written meanwhile."""
DISK_MARGIN = 1.1
"""A clone needs the databases' size, and room for the WAL that arrives before it is replayed."""


def check_nodes(
    situation: Situation, primary: Primary, names: Sequence[NodeName], source: NodeName | None
) -> list[Refusal]:
    """Every reason why these nodes cannot become replicas of this primary."""
    clones = clones_among(situation, names)
    return [
        *_check_known(primary),
        *(refusal for name in names for refusal in _check_node(situation, primary, name)),
        *_check_source(situation, source),
        *_check_budget(situation, primary, clones),
        *(_check_tablespaces(primary) if clones else ()),
    ]


def _check_known(primary: Primary) -> list[Refusal]:
    """A configuration that nobody agreed to add ours to is left alone, and what it sets is not known."""
    if primary.host is None or "postgresql.conf" not in primary.host.files or is_known(primary.host.files):
        return []
    return [
        Refusal(
            "adopt",
            primary.node,
            f"{primary.node} was set up by somebody else",
            f"`replctl init-primary {primary.node} --adopt` takes it over first, with all that it has.",
        )
    ]


def check_new_clone(situation: Situation, primary: Primary, name: NodeName, host: HostFacts) -> list[Refusal]:
    """Every reason why a node that has a data directory cannot be cloned anew beside it."""
    return [
        *check_replacement(situation, situation.node(name), host),
        *_check_major(primary, name, host.major),
        *_check_disk(situation, name, host.directory.free_bytes),
        *_check_login(situation, primary, name),
        *_check_ordered_settings(situation, primary, name),
        *_check_budget(situation, primary, [name]),
        *_check_tablespaces(primary),
    ]


def clones_among(situation: Situation, names: Sequence[NodeName]) -> list[NodeName]:
    """The nodes that have to be copied from scratch."""
    return [name for name in names if isinstance(situation.facts.nodes[name], NoInstance)]


def free_walsenders(primary: Primary) -> int:
    """Walsenders that the primary has left."""
    return int(primary.server.setting("max_wal_senders") or 0) - len(primary.server.walsenders)


def _check_node(situation: Situation, primary: Primary, name: NodeName) -> list[Refusal]:
    facts = situation.facts.nodes[name]
    match facts:
        case Unreachable():
            return [refuse_unreachable(name, facts.ssh)]
        case Primary():
            return [_refusal("is-primary", name, f"{name} is the primary", "Name another node.")]
        case Foreign():
            return [
                _refusal(
                    "foreign",
                    name,
                    f"{name}: data_dir holds another cluster (system identifier {facts.system_identifier})",
                    "Move it away by hand, or choose another postgres.data_dir.",
                )
            ]
        case Silent():
            return [refuse_silent(name, facts.sql)]
        case Replica():
            return [*needs_host(facts), *_check_same_line(situation, primary, name, facts.server.timeline)]
        case Stopped():
            return [
                *_check_stopped(situation, facts),
                *_check_same_line(situation, primary, name, timeline_on_disk(facts.host)),
            ]
        case NoInstance():
            return _check_clone(situation, primary, facts)
        case _:
            assert_never(facts)


def _refusal(code: str, node: NodeName | None, message: str, hint: str) -> Refusal:
    return Refusal(code, node, message, hint)


def _check_same_line(situation: Situation, primary: Primary, name: NodeName, timeline: int) -> list[Refusal]:
    hint = f"`replctl rejoin {name}` brings it back, and keeps what it has."
    if timeline > primary.server.timeline:
        past = f"{name} is on timeline {timeline}, past the primary's {primary.server.timeline}: it went its own way"
        return [_refusal("later-timeline", name, past, hint)]
    if has_diverged(situation.facts, situation.facts.nodes[name]):
        return [_refusal("diverged", name, f"{name} has WAL that {primary.node} never had, and cannot follow it", hint)]
    return []


def _check_stopped(situation: Situation, facts: Stopped) -> list[Refusal]:
    name = facts.node
    if facts.host.standby_signal:
        return check_start(situation.node(name), facts.host)
    return [
        _refusal(
            "was-primary",
            name,
            f"{name} is a stopped primary, not a replica: it may hold writes that the primary lacks",
            f"`replctl rejoin {name}` looks at what it has, and brings it back.",
        )
    ]


def _check_clone(situation: Situation, primary: Primary, facts: NoInstance) -> list[Refusal]:
    name, host = facts.node, facts.host
    return [
        *check_target(situation, situation.node(name), host),
        *_check_major(primary, name, host.major),
        *_check_slot_holder(situation, primary, name),
        *_check_name(situation, primary, name),
        *_check_disk(situation, name, host.directory.free_bytes),
        *_check_login(situation, primary, name),
        *_check_ordered_settings(situation, primary, name),
    ]


def _check_major(primary: Primary, name: NodeName, major: int | None) -> list[Refusal]:
    if major is None or major == primary.server.major:
        return []
    return [
        _refusal(
            "version",
            name,
            f"{name} has PostgreSQL {major}, the primary {primary.node} runs {primary.server.major}",
            f"Install PostgreSQL {primary.server.major} on {name}, or set its postgres.bin_dir: streaming replication "
            "needs the same major version.",
        )
    ]


def _check_slot_holder(situation: Situation, primary: Primary, name: NodeName) -> list[Refusal]:
    slot = slot_on(primary.server, situation.node(name).slot)
    if slot is None or not slot.active:
        return []
    holder = next((w for w in primary.server.walsenders_of(slot.name) if w.slot == slot.name), None)
    if holder is not None and holder.application_name == clone_name(situation.node(name)):
        return []  # what an interrupted run left of its copy: the next one ends it
    who = f"{holder.application_name} at {holder.client_addr}" if holder else f"pid {slot.active_pid}"
    return [
        _refusal(
            "slot-in-use",
            name,
            f"slot {slot.name} on {primary.node} is in use by {who}, though {name} has no data directory",
            "Stop that standby, or give this node another name.",
        )
    ]


def _check_name(situation: Situation, primary: Primary, name: NodeName) -> list[Refusal]:
    """A link is told by application_name: a stranger of this name would pass for the node."""
    return [
        _refusal(
            "name-in-use",
            name,
            f"something at {walsender.client_addr or 'a local socket'} streams from {primary.node} as {name}, though "
            f"{name} has no data directory",
            "Give that standby another application_name, or this node another name.",
        )
        for walsender in primary.server.walsenders_of(name)
        if walsender.application_name == name and walsender.slot != situation.node(name).slot
    ]


def _check_disk(situation: Situation, name: NodeName, free: int | None) -> list[Refusal]:
    size = situation.facts.cluster_bytes
    if size is None or free is None or free >= size * DISK_MARGIN:
        return []
    return [
        _refusal(
            "disk-space",
            name,
            f"{name}: {free // 2**20} MiB free beside data_dir, and the primary's databases have {size // 2**20} MiB",
            "Make room, or choose a postgres.data_dir on a larger disk.",
        )
    ]


def _check_login(situation: Situation, primary: Primary, name: NodeName) -> list[Refusal]:
    """A login refused only because pg_hba.conf does not know the node yet is mended by the plan itself."""
    login = situation.facts.logins_by_ends.get((name, primary.node))
    problem = login.problem if login is not None else None
    if problem is None or problem.kind is ProblemKind.FORWARDING or _hba_changes(situation, primary.node):
        return []
    return [
        _refusal("replication-login", name, f"{name} cannot log in at {primary.node}: {problem.message}", problem.hint)
    ]


def _hba_changes(situation: Situation, name: NodeName) -> bool:
    host = situation.host_of(name)
    return host is not None and host.major is not None and bool(situation.changed_config(name, host.major, only=(HBA,)))


def _check_ordered_settings(situation: Situation, primary: Primary, name: NodeName) -> list[Refusal]:
    """A hot standby with less than the primary's value does not start (PostgreSQL docs, 27.4.3)."""
    own = _settings_of_clone(situation, primary, name)
    return [
        _refusal(
            "ordered-setting",
            name,
            f"{name}: {setting} would be {own[setting]}, below the primary's {primary.server.setting(setting)}",
            f"Raise it under nodes.{name}.postgres.parameters, or set it once for all nodes. If it is to be lowered, "
            "the primary comes first: `replctl config apply --restart --restart-primary`.",
        )
        for setting in ORDERED_SETTINGS
        if own.get(setting, "").isdigit()
        and primary.server.setting(setting).isdigit()
        and int(own[setting]) < int(primary.server.setting(setting))
    ]


def _settings_of_clone(situation: Situation, primary: Primary, name: NodeName) -> Mapping[str, str]:
    """Its own postgresql.conf, and the postgresql.auto.conf that the copy brings along."""
    rendered = (file.text for file in situation.rendered(name, primary.server.major) if file.name == POSTGRESQL_CONF)
    copied = primary.host.files.get(AUTO_CONF, "") if primary.host is not None else ""
    return {
        **situation.node(name).postgres.parameters,
        **parse_conf(next(rendered, "")),
        **parse_conf(copied),
    }


def _check_tablespaces(primary: Primary) -> list[Refusal]:
    """pg_basebackup would fill directories beside data_dir, which nothing here renames into place or takes back."""
    spaces = primary.server.tablespaces
    if not spaces:
        return []
    return [
        _refusal(
            "tablespaces",
            primary.node,
            f"{primary.node} has tablespaces, which replctl does not copy: {', '.join(spaces)}",
            "Move what they hold (`ALTER TABLE ALL IN TABLESPACE name SET TABLESPACE pg_default` in every database, "
            "and the same for indexes; `ALTER DATABASE name SET TABLESPACE pg_default`), then `DROP TABLESPACE name`.",
        )
    ]


def _check_source(situation: Situation, source: NodeName | None) -> list[Refusal]:
    if source is None:
        return []
    facts = situation.facts.nodes[source]
    if isinstance(facts, Primary):
        return []
    if isinstance(facts, Replica) and streams_from_primary(situation.inventory, situation.facts, facts):
        return needs_host(facts)
    return [
        _refusal(
            "source",
            source,
            f"{source} does not stream from the primary, and cannot be copied from",
            "Name another --from node.",
        )
    ]


def _check_budget(situation: Situation, primary: Primary, clones: Sequence[NodeName]) -> list[Refusal]:
    """Room for the copy, and for every node of the inventory afterwards."""
    if not clones:
        return []
    server, nodes = primary.server, len(situation.inventory.nodes)
    refusals: list[Refusal] = []
    # The last clone needs its two beside the links of those that were cloned before it.
    needed = len(clones) - 1 + WALSENDERS_PER_CLONE
    if free_walsenders(primary) < needed:
        reason = f"{len(server.walsenders)} are in use, {needed} more needed"
        refusals.append(_budget(primary, "max_wal_senders", reason))
    wanted = {situation.node(name).slot for name in clones}
    missing = [name for name in wanted if slot_on(server, name) is None]
    if len(server.slots) + len(missing) > int(server.setting("max_replication_slots") or 0):
        refusals.append(
            _budget(primary, "max_replication_slots", f"{len(server.slots)} are in use, {len(missing)} more needed")
        )
    if int(server.setting("max_wal_senders") or 0) < nodes - 1 + WALSENDERS_PER_CLONE:
        refusals.append(_budget(primary, "max_wal_senders", f"the inventory has {nodes} nodes"))
    return refusals


def _budget(primary: Primary, setting: str, reason: str) -> Refusal:
    return _refusal(
        "budget",
        primary.node,
        f"{primary.node}: {setting} is {primary.server.setting(setting)}, and {reason}",
        f"`replctl init-primary {primary.node}` writes the value that the inventory needs; then restart its replicas, "
        f"and {primary.node} last. More can be set under postgres.parameters.{setting}.",
    )
