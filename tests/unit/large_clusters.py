"""Clusters of any number of nodes, and what every planner has to do for them; also for bench/planner.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from replctl.model.actions import RoleKind
from replctl.model.checkup import Checkup, ServerCheckup
from replctl.model.configuration import Configuration, LiveSetting
from replctl.model.facts import Login, NodeFacts, Primary, Replica
from replctl.model.values import NodeName
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.agreement import keeps_to
from replctl.planning.checks import check_report
from replctl.planning.config_apply import Restarting, plan_config_apply
from replctl.planning.consent import Consent
from replctl.planning.drill import plan_drill
from replctl.planning.failover import plan_failover
from replctl.planning.fencing import plan_with_fencing
from replctl.planning.init_primary import plan_init_primary
from replctl.planning.promote import plan_promote
from replctl.planning.publish_env import plan_env_write
from replctl.planning.rejoin import plan_rejoin
from replctl.planning.remove_replica import Directory, plan_remove_replica
from replctl.planning.report import status_report
from replctl.planning.restart import plan_restart, plan_rolling_restart
from replctl.planning.rotate_password import plan_rotate_password
from replctl.planning.situation import Situation
from replctl.postgres.conf_syntax import parse_conf
from tests.unit.builders import ClusterBuilder, a_cluster, gib, settings
from tests.unit.config_inventories import shipped_templates
from tests.unit.configurations import CONF, a_setting, entries

DB1, DB2 = NodeName("db1"), NodeName("db2")
WELL = ServerCheckup(0.0, None, None, None, 0, {}, ())
OTHER_SETTINGS = {f"setting_{number}": a_setting(f"setting_{number}", "0", source="default") for number in range(300)}
"""pg_settings has about as many beside those that a configuration file sets."""


def address(number: int) -> str:
    return f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


def with_nodes(nodes: int, kind: Callable[[ClusterBuilder, str], object], **primary: object) -> ClusterBuilder:
    """db1 is the primary; each of the others is what ``kind`` makes of it. All have the files of their inventory."""
    limits = {name: str(2 * nodes + 4) for name in ("max_wal_senders", "max_replication_slots")}
    built = a_cluster(templates=shipped_templates()).primary("db1", settings=settings(**limits), **primary)
    built.node("db1", host=address(1), ssh_host=address(1))
    for number in range(2, nodes + 1):
        name = f"db{number}"
        kind(built, name)
        built.node(name, host=address(number), ssh_host=address(number))
        seen = built.facts[NodeName(name)]
        if isinstance(seen, Replica):
            server = replace(seen.server, settings=settings(**limits, primary_slot_name=built.nodes[seen.node].slot))
            built.change(name, server=server)
    return built.as_made_by_us()


def streaming(nodes: int) -> Situation:
    """Replicas that stream and are listed."""
    return with_nodes(nodes, ClusterBuilder.replica).situation(logins=logins(nodes, DB2))


def logins(nodes: int, target: NodeName) -> tuple[Login, ...]:
    """From every other node, all of them let in."""
    names = (NodeName(f"db{number}") for number in range(1, nodes + 1))
    return tuple(Login(name, target, None) for name in names if name != target)


def fresh(situation: Situation) -> Situation:
    """The same again, of which nothing was looked up yet."""
    facts = situation.facts
    nodes = {name: replace(seen, **_server(seen)) for name, seen in facts.nodes.items()}
    facts = replace(facts, nodes=nodes, env=replace(facts.env))
    return Situation(replace(situation.inventory), facts, situation.templates)


def _server(seen: NodeFacts) -> Mapping[str, object]:
    return {"server": replace(seen.server)} if isinstance(seen, Primary | Replica) else {}


def astray(nodes: int) -> Situation:
    """A switchover from db2 to db1 ended before anybody followed."""

    def follows_db2(built: ClusterBuilder, name: str) -> None:
        built.replica(name, **({} if name == DB2 else {"of": DB2}))

    return with_nodes(nodes, follows_db2).situation()


def headless(nodes: int) -> Situation:
    """The primary is gone."""
    return with_nodes(nodes, _not_receiving).unreachable(DB1).situation()


def broken(nodes: int) -> Situation:
    """Nobody streams, though the primary runs."""
    return with_nodes(nodes, _not_receiving).env().situation()


def _not_receiving(built: ClusterBuilder, name: str) -> None:
    built.replica(name, receiver=None)


def alone(nodes: int) -> Situation:
    """The primary runs; there is nothing on the other nodes yet."""
    built = with_nodes(nodes, ClusterBuilder.absent).env(DB1)
    return built.situation(logins=logins(nodes, DB1), cluster_bytes=gib(1))


def interrupted(nodes: int) -> Situation:
    """Every node is stopped: db1 was the primary."""
    built = with_nodes(nodes, lambda built, name: built.stopped(name, "shut down in recovery", standby=True))
    return built.stopped(DB1).situation()


def left_stopped(nodes: int) -> Situation:
    """The primary runs, its replicas are stopped."""
    return with_nodes(nodes, lambda built, name: built.stopped(name, "shut down in recovery", standby=True)).situation()


def configured(nodes: int, **parameters: str) -> Situation:
    """Servers that say of their settings what their files say; the inventory has other ``parameters`` since."""
    situation = streaming(nodes)
    known = {name: _configuration(seen) for name, seen in situation.facts.nodes.items()}
    changed = {
        name: replace(node, postgres=replace(node.postgres, parameters=parameters))
        for name, node in situation.inventory.nodes.items()
    }
    inventory = replace(situation.inventory, nodes=changed)
    return Situation(inventory, replace(situation.facts, configurations=known), situation.templates)


def _configuration(seen: NodeFacts) -> Configuration:
    assert isinstance(seen, Primary | Replica)
    assert seen.host is not None
    text = seen.host.files["postgresql.conf"]
    live = {name: _live(name, value) for name, value in parse_conf(text).items()}
    known = {name: a_setting(name, value) for name, value in (("max_connections", "100"), ("config_file", CONF))}
    return Configuration(entries(text), OTHER_SETTINGS | live | known)


def _live(name: str, value: str) -> LiveSetting:
    return a_setting(name, value, kind="string", context="sighup")


@dataclass(frozen=True)
class Planner:
    """What is planned of which cluster. ``plan`` is given a ``fresh`` situation each time."""

    situation: Callable[[int], Situation]
    plan: Callable[[Situation], object]


def _changing(plan: Callable[[Situation], object]) -> Callable[[Situation], object]:
    """As a changing command has it: with the fencing that the facts demand."""
    return lambda situation: plan_with_fencing(situation, plan)


def _status(situation: Situation) -> object:
    return status_report(situation.inventory, situation.facts)


def _check(situation: Situation) -> object:
    checkup = Checkup(dict.fromkeys(situation.facts.nodes, WELL), logins=situation.facts.logins)
    return check_report(situation, checkup, status_report(situation.inventory, situation.facts))


def _agreed_again(situation: Situation) -> object:
    return keeps_to(plan_promote(situation, DB2), plan_promote(situation, DB2))


def _every(situation: Situation) -> Sequence[NodeName]:
    return [name for name in situation.inventory.nodes if name != DB1]


def _rotating(kind: RoleKind) -> Callable[[Situation], object]:
    return _changing(lambda situation: plan_rotate_password(situation, kind))


IN_PLACE = frozenset({Restarting.REPLICAS, Restarting.PRIMARY})
BY_SWITCHOVER = frozenset({Restarting.REPLICAS, Restarting.SWITCHOVER})

PLANNERS: Mapping[str, Planner] = {
    "promote": Planner(streaming, _changing(lambda s: plan_promote(s, DB2))),
    "promote-finish": Planner(astray, _changing(lambda s: plan_promote(s, DB1))),
    "promote-continue": Planner(interrupted, _changing(lambda s: plan_promote(s, DB1))),
    "promote-agreed": Planner(streaming, _agreed_again),
    "failover": Planner(headless, _changing(lambda s: plan_failover(s, DB2, frozenset(Consent)))),
    "init-primary": Planner(streaming, _changing(lambda s: plan_init_primary(s, DB1))),
    "add-replica": Planner(alone, _changing(lambda s: plan_add_replica(s, _every(s)))),
    "add-replica-again": Planner(streaming, _changing(lambda s: plan_add_replica(s, _every(s)))),
    "add-replica-stopped": Planner(left_stopped, _changing(lambda s: plan_add_replica(s, _every(s)))),
    "remove-replica": Planner(streaming, _changing(lambda s: plan_remove_replica(s, DB2, Directory.KEPT))),
    "rejoin": Planner(broken, _changing(lambda s: plan_rejoin(s, DB2, frozenset(Consent)))),
    "restart": Planner(streaming, _changing(lambda s: plan_restart(s, DB1))),
    "restart-rolling": Planner(streaming, _changing(plan_rolling_restart)),
    "drill": Planner(streaming, _changing(lambda s: plan_drill(s, DB2))),
    "env-write": Planner(broken, _changing(plan_env_write)),
    **{f"rotate-password-{kind}": Planner(streaming, _rotating(kind)) for kind in RoleKind},
    "config-apply": Planner(
        lambda nodes: configured(nodes, work_mem="8MB"), _changing(lambda s: plan_config_apply(s, ()))
    ),
    "config-apply-in-place": Planner(
        lambda nodes: configured(nodes, max_connections="200"), _changing(lambda s: plan_config_apply(s, (), IN_PLACE))
    ),
    "config-apply-switchover": Planner(
        lambda nodes: configured(nodes, max_connections="200"),
        _changing(lambda s: plan_config_apply(s, (), BY_SWITCHOVER)),
    ),
    "status": Planner(streaming, _status),
    "status-broken": Planner(broken, _status),
    "status-headless": Planner(headless, _status),
    "check": Planner(configured, _check),
    "check-broken": Planner(broken, _check),
}
