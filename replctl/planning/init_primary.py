"""Plans ``init-primary``: from nothing to a primary, from a stopped primary to a running one, or what differs."""

from __future__ import annotations

from typing import assert_never

from replctl.model.actions import (
    AwaitStreaming,
    CreateDatabase,
    CreateRole,
    GrantRewind,
    InitCluster,
    InstallStaging,
    Place,
    RemovePassfile,
    RemoveStaging,
    RoleKind,
    StartPostgres,
    WriteConfig,
    WritePassfile,
)
from replctl.model.facts import Foreign, NoInstance, Primary, Replica, ServerFacts, Silent, Stopped, Unreachable
from replctl.model.host import HostFacts
from replctl.model.plan import Plan, Refusal, Refused, Step
from replctl.model.values import NodeName
from replctl.planning.adopt import Adoption, plan_adopt, role_fits
from replctl.planning.clone_target import check_start, check_target
from replctl.planning.hints import restart_needed
from replctl.planning.role_change import wake
from replctl.planning.services import starts_with_host, undo_of_config
from replctl.planning.situation import (
    Situation,
    forward_only,
    needs_host,
    publish,
    refuse_second_primary,
    refuse_silent,
    refuse_unknown,
    refuse_unreachable,
    sequence,
    side_by_side,
    step,
    unreachable_notes,
    waiting_for,
    write_config,
    write_passfile,
)
from replctl.planning.topology import proven_or_listed
from replctl.postgres.adopted import is_known
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.ownership import is_rendered_by_us

COMMAND = "init-primary"


def plan_init_primary(situation: Situation, name: NodeName, adoption: Adoption = Adoption.REFUSED) -> Plan | Refused:
    """What makes NODE the primary that the inventory describes; a plan without steps when it is that already."""
    facts = situation.facts.nodes[name]
    others = _other_primaries(situation, name)
    if others:
        return situation.refuse(COMMAND, others)
    match facts:
        case Unreachable():
            return situation.refuse(COMMAND, [refuse_unreachable(name, facts.ssh)])
        case Silent():
            return situation.refuse(COMMAND, [refuse_silent(name, facts.sql)])
        case Foreign() | Replica():
            return situation.refuse(COMMAND, [_occupied(facts)])
        case Primary() if adoption is not Adoption.REFUSED and not _is_all_ours(facts.host):
            return plan_adopt(situation, facts, adoption)
        case Primary():
            return _maintain(situation, facts)
        case Stopped():
            return _start_again(situation, facts)
        case NoInstance():
            return _create(situation, facts)
        case _:
            assert_never(facts)


def _other_primaries(situation: Situation, name: NodeName) -> list[Refusal]:
    return [
        Refusal(
            "other-primary",
            other.node,
            f"{other.node} runs as the primary of this cluster",
            f"`replctl promote {name}` moves the role; `replctl add-replica {name}` makes a replica of it.",
        )
        for other in situation.facts.primaries
        if other.node != name
    ]


def _occupied(facts: Foreign | Replica) -> Refusal:
    if isinstance(facts, Foreign):
        return Refusal(
            "foreign",
            facts.node,
            f"{facts.node}: the data directory belongs to another cluster (system identifier "
            f"{facts.system_identifier})",
            "Choose another postgres.data_dir, or mend system_identifier in the inventory if that is the one.",
        )
    return Refusal(
        "is-replica",
        facts.node,
        f"{facts.node} runs as a replica",
        f"`replctl promote {facts.node}` makes it the primary.",
    )


def _create(situation: Situation, facts: NoInstance) -> Plan | Refused:
    name = facts.node
    node = situation.node(name)
    refusals = [
        *check_target(situation, node, facts.host),
        *_existing_clusters(situation, name),
        *_known_cluster(situation, name),
    ]
    if refusals or facts.host.major is None:
        return situation.refuse(COMMAND, refusals)
    files = situation.rendered(name, facts.host.major)
    stage = sequence(
        step(
            "initdb",
            name,
            InitCluster(node.postgres.locale),
            "a new cluster with checksums is made beside its place, where nothing can start it",
            undo=RemoveStaging(),
        ),
        step(
            "config",
            name,
            WriteConfig(Place.STAGING, files),
            "postgresql.conf and pg_hba.conf from the templates",
            undo=undo_of_config(situation, name),
        ),
        step(
            "passfile",
            name,
            WritePassfile(),
            "the node can follow its peers one day with the password in there",
            undo=RemovePassfile(),
        ),
        forward_only(step("install", name, InstallStaging(), "the finished directory is renamed into place")),
        *starts_with_host(situation, name),
        step("start", name, StartPostgres(), "roles and the database are made over SQL"),
        *_roles(situation, name),
        publish(situation, name, ()),
    )
    return situation.plan(COMMAND, [stage], notes=unreachable_notes(situation, [name]))


def _existing_clusters(situation: Situation, name: NodeName) -> list[Refusal]:
    """A second cluster beside an existing one would never replicate from it."""
    return [
        Refusal(
            "cluster-exists",
            other,
            f"{other} already holds a PostgreSQL cluster",
            f"`replctl init-primary {other}` starts it if it was the primary; a new cluster on {name} would be "
            "another one.",
        )
        for other, facts in situation.facts.nodes.items()
        if other != name and isinstance(facts, Replica | Stopped | Silent | Foreign)
    ]


def _known_cluster(situation: Situation, name: NodeName) -> list[Refusal]:
    """What says that the cluster exists, though none of its nodes answers."""
    pinned, listed = situation.inventory.system_identifier, situation.facts.env.primary
    if pinned is not None:
        return [
            Refusal(
                "cluster-exists",
                None,
                f"the inventory pins system_identifier {pinned}: a new cluster on {name} would be another one",
                "Bring back a node that holds this cluster, or take system_identifier out of the inventory.",
            )
        ]
    seen = situation.facts.nodes.get(listed) if listed is not None else None
    if not isinstance(seen, Unreachable):
        return []
    return [
        Refusal(
            "others-unreachable",
            seen.node,
            f"{seen.node} cannot be reached, and the env file lists it as the primary: {seen.ssh.message}",
            f"Bring {seen.node} back, or move the env file away if its cluster is gone for good.",
        )
    ]


def _start_again(situation: Situation, facts: Stopped) -> Plan | Refused:
    name = facts.node
    refusals = [
        *_no_stopped_replica(facts),
        *_ours(facts.host, name),
        *check_start(situation.node(name), facts.host),
        *refuse_unknown(situation, facts),
        *refuse_second_primary(situation, facts),
    ]
    if refusals:
        return situation.refuse(COMMAND, refusals)
    start = step("start", name, StartPostgres(), "the primary was stopped, and no other node has gone on without it")
    replicas = waiting_for(situation, name)
    stages = (
        sequence(*starts_with_host(situation, name), forward_only(start), *_roles(situation, name)),
        side_by_side(_come_back(replica, name) for replica in replicas),
        sequence(publish(situation, name, replicas)),
    )
    return situation.plan(COMMAND, stages)


def _come_back(replica: NodeName, name: NodeName) -> tuple[Step, ...]:
    return (
        wake(replica),
        step("streaming", replica, AwaitStreaming(name), f"it follows {name} again"),
    )


def _no_stopped_replica(facts: Stopped) -> list[Refusal]:
    if not facts.host.standby_signal:
        return []
    return [
        Refusal(
            "is-replica",
            facts.node,
            f"{facts.node} is a stopped replica",
            f"`replctl add-replica {facts.node}` starts it; `replctl promote NODE` finishes an interrupted switchover.",
        )
    ]


def _is_ours(host: HostFacts | None) -> bool:
    return host is not None and is_known(host.files)


def _is_all_ours(host: HostFacts | None) -> bool:
    return host is not None and is_rendered_by_us(host.files)


def _ours(host: HostFacts, name: NodeName) -> list[Refusal]:
    if _is_ours(host):
        return []
    return [
        Refusal(
            "adopt",
            name,
            f"{name}: a PostgreSQL cluster that replctl did not make stands in data_dir",
            f"`replctl init-primary {name} --adopt` takes it over while it runs, with all that it has. An empty one of "
            "the distribution's is removed by `pg_dropcluster --stop VERSION NAME`.",
        )
    ]


def _maintain(situation: Situation, primary: Primary) -> Plan | Refused:
    name = primary.node
    refusals = needs_host(primary)
    if primary.host is not None:
        refusals += _ours(primary.host, name)
    if refusals or primary.host is None:
        return situation.refuse(COMMAND, refusals)
    changed = situation.changed_config(name, primary.server.major)
    stage = sequence(
        *write_config(name, primary.host, changed),
        write_passfile(situation, name),
        *starts_with_host(situation, name),
        *_missing_roles(situation, name, primary.server),
        publish(situation, name, proven_or_listed(situation.inventory, situation.facts)),
    )
    notes = [
        *unreachable_notes(situation, [name]),
        *(() if changed else _pending(primary)),
        *_overridden(situation, name, primary.host, primary.server.major),
    ]
    return situation.plan(COMMAND, [stage], notes=notes)


def _pending(primary: Primary) -> list[str]:
    """Of what this run itself writes, the server tells only once it has read the files (ReloadConfig)."""
    waiting = sorted(name for name, setting in primary.server.settings.items() if setting.pending_restart)
    return [restart_needed(primary.node, waiting)] if waiting else []


def _overridden(situation: Situation, name: NodeName, host: HostFacts, major: int) -> list[str]:
    """postgresql.auto.conf is read last: what ALTER SYSTEM wrote there wins over every rendered setting."""
    by_hand = parse_conf(host.files.get("postgresql.auto.conf", ""))
    texts = (file.text for file in situation.rendered(name, major) if file.name == "postgresql.conf")
    wanted = parse_conf("".join(texts))
    differing = sorted(key for key, value in by_hand.items() if key in wanted and wanted[key] != value)
    if not differing:
        return []
    return [
        f"ALTER SYSTEM on {name} overrides the inventory: {', '.join(differing)}; `ALTER SYSTEM RESET` and a reload "
        "give way to it"
    ]


def _roles(situation: Situation, name: NodeName) -> tuple[Step, ...]:
    inventory = situation.inventory
    return (
        _role(name, RoleKind.REPLICATION, inventory.replication.user),
        _role(name, RoleKind.APP, inventory.app.user),
        _database(situation, name),
        _grant(situation, name),
    )


def _missing_roles(situation: Situation, name: NodeName, server: ServerFacts) -> tuple[Step, ...]:
    inventory = situation.inventory
    steps: list[Step] = []
    if not role_fits(server, inventory, RoleKind.REPLICATION):
        steps.append(_role(name, RoleKind.REPLICATION, inventory.replication.user))
    if not role_fits(server, inventory, RoleKind.APP):
        steps.append(_role(name, RoleKind.APP, inventory.app.user))
    if server.databases.get(inventory.app.database) != inventory.app.user:
        steps.append(_database(situation, name))
    if not server.rewind_granted:
        steps.append(_grant(situation, name))
    return tuple(steps)


def _role(name: NodeName, kind: RoleKind, role: str) -> Step:
    whys = {
        RoleKind.REPLICATION: f"replicas log in as {role}",
        RoleKind.APP: f"the application logs in as {role}",
    }
    return step(f"role-{kind.value}", name, CreateRole(kind), whys[kind])


def _database(situation: Situation, name: NodeName) -> Step:
    app = situation.inventory.app
    return step("database", name, CreateDatabase(), f"{app.database} belongs to {app.user}")


def _grant(situation: Situation, name: NodeName) -> Step:
    user = situation.inventory.replication.user
    return step("grant-rewind", name, GrantRewind(), f"{user} can serve pg_rewind when a node has to rejoin")
