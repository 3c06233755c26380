"""The changing commands: what each wants to know beforehand, and which planner decides."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from replctl.execution.pipeline import Intent
from replctl.model.actions import RoleKind
from replctl.model.facts import ClusterFacts, NoInstance, Primary, Replica, Stopped, Unreachable
from replctl.model.inquiry import Inquiry
from replctl.model.inventory import Inventory
from replctl.model.transfer import UNHINDERED, Transfer
from replctl.model.values import NodeName, WalRange
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.adopt import Adoption
from replctl.planning.ancestry import fork_from_primary
from replctl.planning.config_apply import Restarting, plan_config_apply
from replctl.planning.consent import Consent
from replctl.planning.failover import plan_failover
from replctl.planning.failover_checks import former_primaries, lacked_wal
from replctl.planning.init_primary import plan_init_primary
from replctl.planning.promote import plan_promote
from replctl.planning.publish_env import plan_env_write
from replctl.planning.rejoin import plan_rejoin
from replctl.planning.remove_replica import Directory, plan_remove_replica
from replctl.planning.restart import plan_restart, plan_rolling_restart, switchover_candidate
from replctl.planning.rotate_password import plan_rotate_password
from replctl.postgres.adopted import inherited_settings, is_adopted


def init_primary(name: NodeName, adoption: Adoption = Adoption.REFUSED) -> Intent:
    """Make NODE the primary that the inventory describes."""

    def inquiry(facts: ClusterFacts) -> Inquiry:
        return Inquiry(by_psql=tuple(facts.nodes) if adoption is not Adoption.REFUSED else ())

    return Intent(lambda situation: plan_init_primary(situation, name, adoption), inquiry)


def add_replica(names: Sequence[NodeName], source: NodeName | None, transfer: Transfer = UNHINDERED) -> Intent:
    """Make every named node a streaming replica."""
    return Intent(
        lambda situation: plan_add_replica(situation, names, source, transfer),
        lambda facts: _about_clones(facts, names),
    )


def add_every_replica(source: NodeName | None, transfer: Transfer = UNHINDERED) -> Intent:
    """Make every node but the primary a streaming replica."""
    return Intent(
        lambda situation: plan_add_replica(situation, _all_but_primary(situation.facts), source, transfer),
        lambda facts: _about_clones(facts, _all_but_primary(facts)),
    )


def _all_but_primary(facts: ClusterFacts) -> list[NodeName]:
    return [name for name, seen in facts.nodes.items() if not isinstance(seen, Primary)]


def _about_clones(facts: ClusterFacts, names: Sequence[NodeName]) -> Inquiry:
    clones = tuple(name for name in names if isinstance(facts.nodes[name], NoInstance))
    primary = facts.primary.node if facts.primary else None
    return Inquiry(
        login_at=primary if clones else None,
        login_from=clones,
        size=bool(clones),
        wal=_past_the_fork(facts, names),
        configuration=bool(clones) and _configured_by_others(facts),
    )


def _configured_by_others(facts: ClusterFacts) -> bool:
    """The primary was adopted, or took settings over from one that was."""
    if facts.primary is None or facts.primary.host is None:
        return False
    files = facts.primary.host.files
    return is_adopted(files) or bool(inherited_settings(files.get("postgresql.conf", "")))


def _past_the_fork(facts: ClusterFacts, names: Sequence[NodeName]) -> tuple[tuple[NodeName, tuple[WalRange, ...]], ...]:
    """Of stopped nodes: pg_control does not tell how far a crashed server had written."""
    forks = [(name, fork_from_primary(facts, seen)) for name in names if isinstance(seen := facts.nodes[name], Stopped)]
    return tuple((name, fork.own) for name, fork in forks if fork is not None)


def promote(name: NodeName) -> Intent:
    """Move the primary's role to NODE."""

    def inquiry(facts: ClusterFacts) -> Inquiry:
        if not isinstance(facts.nodes[name], Replica):
            return Inquiry()
        others = tuple(
            other
            for other, seen in facts.nodes.items()
            if other != name and not isinstance(seen, Unreachable | NoInstance) and seen.host is not None
        )
        return Inquiry(login_at=name, login_from=others)

    return Intent(lambda situation: plan_promote(situation, name), inquiry)


def remove_replica(name: NodeName, directory: Directory) -> Intent:
    """Take NODE out of the cluster."""
    return Intent(lambda situation: plan_remove_replica(situation, name, directory))


def restart(name: NodeName) -> Intent:
    """Restart NODE in its role."""
    return Intent(
        lambda situation: plan_restart(situation, name), lambda facts: Inquiry(wal=_past_the_fork(facts, (name,)))
    )


def restart_every_node(inventory: Inventory) -> Intent:
    """Restart the replicas one after the other, and the primary by a switchover."""

    def inquiry(facts: ClusterFacts) -> Inquiry:
        candidate = switchover_candidate(inventory, facts)
        base = promote(candidate).inquiry(facts) if candidate is not None else Inquiry()
        return replace(base, wal=_past_the_fork(facts, tuple(facts.nodes)))

    return Intent(plan_rolling_restart, inquiry)


def failover(inventory: Inventory, name: NodeName, consents: Set[Consent]) -> Intent:
    """Make NODE the primary without the old one."""

    def inquiry(facts: ClusterFacts) -> Inquiry:
        candidate = facts.nodes[name]
        if facts.primaries or not isinstance(candidate, Replica):
            return Inquiry()
        old = former_primaries(inventory, facts, candidate)
        gone = [node.node for node in old if isinstance(node, Unreachable)]
        hosts = tuple(replica.node for replica in facts.replicas if replica.ssh is None)
        stopped = tuple(node for node in facts.nodes.values() if isinstance(node, Stopped))
        ranges = tuple((node.node, lacked_wal(candidate, node)) for node in stopped)
        return Inquiry(login_at=gone[0] if gone else None, login_from=hosts if gone else (), wal=ranges)

    return Intent(lambda situation: plan_failover(situation, name, consents), inquiry)


def rejoin(name: NodeName, consents: Set[Consent]) -> Intent:
    """Bring NODE back as a replica."""

    def inquiry(facts: ClusterFacts) -> Inquiry:
        seen, primary = facts.nodes[name], facts.primary
        if primary is None or isinstance(seen, Unreachable | Primary):
            return Inquiry()
        fork = fork_from_primary(facts, seen)
        clones = isinstance(seen, NoInstance) or Consent.RECLONE in consents
        return Inquiry(
            login_at=primary.node if clones else None,
            login_from=(name,) if clones else (),
            size=clones,
            configuration=clones and _configured_by_others(facts),
            segments=fork is not None,
            wal=((name, fork.own),) if fork is not None else (),
        )

    return Intent(lambda situation: plan_rejoin(situation, name, consents), inquiry)


def write_env() -> Intent:
    """Bring the env file to how the cluster stands now."""
    return Intent(plan_env_write)


def config_apply(inventory: Inventory, names: Sequence[NodeName], restarting: Set[Restarting]) -> Intent:
    """Bring the configuration of the named nodes, or of all, to what the inventory says."""

    def inquiry(facts: ClusterFacts) -> Inquiry:
        candidate = switchover_candidate(inventory, facts) if Restarting.SWITCHOVER in restarting else None
        base = promote(candidate).inquiry(facts) if candidate is not None else Inquiry()
        wal = _past_the_fork(facts, tuple(facts.nodes)) if restarting else ()
        return replace(base, settings=tuple(names) or tuple(inventory.nodes), wal=wal)

    return Intent(lambda situation: plan_config_apply(situation, names, restarting), inquiry)


def rotate_password(inventory: Inventory, kind: RoleKind) -> Intent:
    """Bring a role's password to what the inventory says. A new admin password lets nobody in yet."""
    asked = tuple(inventory.nodes) if kind is RoleKind.ADMIN else ()
    return Intent(lambda situation: plan_rotate_password(situation, kind), lambda _: Inquiry(by_psql=asked))
