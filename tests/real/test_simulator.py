"""The simulation that the plans are proven over believes of PostgreSQL what is true: the same steps on both give the
same facts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from replctl.execution.context import Context, Stopwatch
from replctl.execution.handlers.registry import carry_out
from replctl.execution.session import Session
from replctl.model import actions, repair_actions
from replctl.model.actions import Action, ConfigFile, Place
from replctl.model.errors import ReplctlError
from replctl.model.facts import ClusterFacts, NodeFacts, Primary, Replica, Stopped, Unreachable
from replctl.model.inventory import Inventory
from replctl.model.plan import Step
from replctl.model.repair_actions import Promise
from replctl.model.values import NodeName
from replctl.observe import observe
from replctl.planning.ancestry import fork_from_primary, has_diverged, superseded
from replctl.planning.topology import live_receiver, upstream_of
from replctl.remote.links import open_fleet
from replctl.remote.local_files import load_inventory, read_template_dir
from replctl.remote.secrets import resolve_passwords
from replctl.remote.waiting import SystemClock
from tests.properties.clusters import Past, crashed
from tests.properties.observed import observed
from tests.properties.simulate import simulate
from tests.properties.wanted import Wanted, ordered
from tests.properties.world import World, clients_write
from tests.real.hosts import Operator
from tests.real.standing import control, execute
from tests.unit.runs import Interrupts, Told

DB1, DB2, DB3 = (NodeName(name) for name in ("db1", "db2", "db3"))
SECONDS = 60.0
"""Until the servers have arrived where the simulation is at once."""


@dataclass
class Both:
    """A cluster of servers and its simulation, which go through the same."""

    operator: Operator
    session: Session
    world: World

    def does(self, node: NodeName, *some: Action) -> None:
        """Carry actions out on both, one after the other, and compare after each."""
        for action in some:
            self._carry_out(node, action)
            self.world = self._simulated(node, action)
            self.agree(f"after {action} on {node}")

    def refuses(self, node: NodeName, action: Action) -> None:
        """Both say no."""
        with pytest.raises(ReplctlError):
            self._simulated(node, action)
        with pytest.raises(ReplctlError):
            self._carry_out(node, action)
        self.agree(f"after {action} failed on {node}")

    def _carry_out(self, node: NodeName, action: Action) -> None:
        facts = self.facts
        action = with_own_wal(action, facts, node)
        step = Step("step", node, action, "the simulation does so too")
        carry_out(Context(self.session, facts, step, Stopwatch()), action)

    def _simulated(self, node: NodeName, action: Action) -> World:
        return simulate(self.world, node, with_own_wal(action, observed(self.world), node))

    def write(self) -> None:
        """A commit on every server that lets a client do so."""
        for name in self.world.writable:
            execute(self.operator, name, "create table if not exists written (n int)", "insert into written values (1)")
        self.world = clients_write(self.world)
        self.agree("after writing")

    def crash(self, node: NodeName) -> None:
        control(self.operator.lan[node], "stop", "-m", "immediate")
        self.world = crashed(self.world, node)
        self.agree(f"after {node} crashed")

    @property
    def facts(self) -> ClusterFacts:
        return observe(self.session.fleet, self.session.inventory, self.session.passwords)

    def agree(self, when: str) -> None:
        """Wait until the servers have arrived where the simulation is."""
        wanted = {
            name: reduced(self.world.inventory, observed(self.world), name) for name in self.session.inventory.nodes
        }
        deadline = time.monotonic() + SECONDS
        while (seen := self._reduced()) != wanted:
            assert time.monotonic() < deadline, f"{when}:\n{told_apart(seen, wanted)}"
            time.sleep(0.05)

    def _reduced(self) -> dict[NodeName, dict[str, Any]]:
        facts = self.facts
        return {name: reduced(self.session.inventory, facts, name) for name in facts.nodes}


def with_own_wal(action: Action, facts: ClusterFacts, node: NodeName) -> Action:
    """What the node has past the fork lies elsewhere on the servers than in the simulation."""
    fork = fork_from_primary(facts, facts.nodes[node])
    match action:
        case repair_actions.KeepDivergedWal():
            assert fork is not None
            return replace(action, ranges=fork.own)
        case repair_actions.Rewind():
            assert fork is not None
            return replace(action, kept=fork.own)
        case _:
            return action


def told_apart(seen: dict[NodeName, dict[str, Any]], wanted: dict[NodeName, dict[str, Any]]) -> str:
    differences = (
        f"{name}: {key}: {seen[name].get(key)!r} on the servers, {wanted[name].get(key)!r} simulated"
        for name in wanted
        for key in wanted[name].keys() | seen[name].keys()
        if seen[name].get(key) != wanted[name].get(key)
    )
    return "\n".join(differences)


def reduced(inventory: Inventory, facts: ClusterFacts, name: NodeName) -> dict[str, Any]:
    """Facts without positions, names of hosts and what else differs between any two clusters."""
    node = facts.nodes[name]
    assert not isinstance(node, Unreachable)
    host = node.host
    assert host is not None
    return {
        "kind": type(node).__name__,
        "state": host.control.state if host.control else None,
        "timeline": host.wal_timeline,
        "histories": {h.timeline for h in host.histories if h.timeline >= (host.wal_timeline or 0)},
        "standby.signal": host.standby_signal,
        "asides": len(host.asides),
        "rewind": (host.broken_rewind, host.finished_rewind),
        "diverged": has_diverged(facts, node),
        "superseded": node in superseded(facts),
        **of_server(inventory, facts, node),
    }


def of_server(inventory: Inventory, facts: ClusterFacts, node: NodeFacts) -> dict[str, Any]:
    match node:
        case Stopped():
            return {"checkpoint past the fork": _checkpoint_past_fork(facts, node)}
        case Primary():
            return {"slots": {slot.name: slot.active for slot in node.server.slots}}
        case Replica():
            upstream = upstream_of(inventory, facts, node)
            return {
                "slots": {slot.name: slot.active for slot in node.server.slots},
                "upstream": upstream.node if upstream else None,
                "streams": live_receiver(node) is not None,
                "paused": node.paused,
            }
        case _:
            return {}


def _checkpoint_past_fork(facts: ClusterFacts, node: Stopped) -> bool:
    fork = fork_from_primary(facts, node)
    return fork is not None and node.control.state == "shut down" and node.control.checkpoint >= fork.at


def configured(operator: Operator, inventory: Inventory, node: NodeName = DB1) -> ConfigFile:
    """The node's postgresql.conf as it stands there."""
    path = Path(inventory.nodes[node].postgres.data_dir) / "postgresql.conf"
    return ConfigFile(path.name, operator.lan[node].read(str(path)))


@pytest.fixture
def both(cluster: Operator) -> Iterator[Both]:
    inventory = load_inventory(cluster.inventory_file)
    passwords, clock, told, interrupts = resolve_passwords(inventory), SystemClock(), Told(), Interrupts()
    fleet = open_fleet(inventory, passwords, cancellation=interrupts, clock=clock, warn=told.warn)
    with closing(fleet):
        templates = read_template_dir(inventory.templates)
        session = Session(inventory, passwords, templates, fleet, clock, interrupts, told, "run-1", "replctl test")
        wanted = Wanted(settings=ordered(configured(cluster, inventory).text))
        both = Both(cluster, session, Past(3, 3, (), wanted).world)
        both.agree("at the start")
        yield both


def slot(node: NodeName) -> str:
    return f"replctl_{node}"


def taken_over(both: Both) -> None:
    """db2 has taken over from db1, which is stopped or crashed, and db3 follows it."""
    both.does(DB2, actions.CreateSlot(slot(DB1)), actions.CreateSlot(slot(DB3)))
    both.does(DB2, actions.DetachStandby())
    both.does(DB3, actions.DetachStandby())
    both.does(DB2, actions.ProveFurthest((DB3,)), actions.Promote(), actions.ProbeWrite())
    both.write()
    both.does(DB3, actions.RepointStandby(DB2, slot(DB3)), actions.AwaitStreaming(DB2))


def rewound(both: Both) -> None:
    """The diverged db1 comes back by pg_rewind."""
    both.does(DB2, actions.Checkpoint())
    both.does(DB1, repair_actions.RecoverAlone())
    both.does(
        DB1,
        repair_actions.KeepDivergedWal((), Promise.GIVEN_UP),
        repair_actions.CheckRewind(DB2),
        repair_actions.Rewind(DB2, ()),
    )
    both.does(DB1, actions.ConfigureStandby(Place.REWOUND, DB2, slot(DB1)), repair_actions.InstallRewound())
    both.does(DB1, actions.StartPostgres(), actions.AwaitStreaming(DB2))
    both.write()


def test_a_switchover_and_back(both: Both) -> None:
    for old, new in ((DB1, DB2), (DB2, DB1)):
        both.write()
        both.does(new, actions.CreateSlot(slot(old)), actions.CreateSlot(slot(DB3)))
        both.does(old, actions.Checkpoint(), actions.StopForSwitchover())
        both.does(new, actions.ProveCaughtUp(old))
        both.does(old, actions.ConfigureStandby(Place.LIVE, new, slot(old)))
        both.does(new, actions.Promote(), actions.ProbeWrite())
        both.does(DB3, actions.RepointStandby(new, slot(DB3)), actions.AwaitStreaming(new))
        both.does(old, actions.StartPostgres(), actions.AwaitStreaming(new))
        both.does(old, *(actions.DropSlot(slot(name)) for name in (DB3, new)))


def test_a_switchover_that_is_called_off(both: Both) -> None:
    both.does(DB1, actions.StopForSwitchover(), actions.ConfigureStandby(Place.LIVE, DB2, slot(DB1)))
    both.does(DB1, actions.ForgetStandby(), actions.ReviveOldPrimary((DB2, DB3)))
    both.write()


def test_a_superseded_primary_is_started_fenced_and_rewound(both: Both) -> None:
    both.crash(DB1)
    taken_over(both)
    both.does(DB1, actions.StartPostgres())
    both.write()
    both.does(DB1, actions.FencePrimary())
    rewound(both)


def test_a_crashed_primary_is_rewound_and_a_clean_one_follows(both: Both) -> None:
    both.does(DB2, actions.DetachStandby())
    both.does(DB3, actions.DetachStandby())
    both.write()
    both.crash(DB1)
    taken_over(both)
    both.refuses(DB1, repair_actions.CheckRewind(DB2))
    both.refuses(DB1, repair_actions.KeepDivergedWal((), Promise.NO_COMMIT))
    rewound(both)


def test_a_standby_that_is_ahead_cannot_follow_and_does_not_start_again(both: Both) -> None:
    both.does(DB2, actions.DetachStandby())
    both.write()
    both.crash(DB1)
    both.refuses(DB2, actions.ProveFurthest((DB3,)))
    both.does(DB2, actions.CreateSlot(slot(DB3)), actions.Promote())
    both.write()
    both.does(DB3, actions.RepointStandby(DB2, slot(DB3)), actions.StopPostgres())
    both.refuses(DB3, actions.StartPostgres())
    both.does(DB3, actions.SetAside(), actions.SetAside())


def test_a_node_is_set_aside_and_cloned_anew(both: Both) -> None:
    both.crash(DB1)
    taken_over(both)
    both.refuses(DB3, actions.SetAside())
    both.does(DB3, actions.StopPostgres(), actions.StopPostgres(), actions.SetAside(), actions.WritePassfile())
    both.does(DB3, actions.BaseBackup(DB2, slot(DB3)))
    config = configured(both.operator, both.session.inventory, DB2)
    both.does(DB3, actions.WriteConfig(Place.STAGING, (config,)))
    both.does(DB3, actions.ConfigureStandby(Place.STAGING, DB2, slot(DB3)), actions.InstallStaging())
    both.does(DB3, actions.StartPostgres(), actions.AwaitStreaming(DB2))
    both.does(DB3, actions.DetachStandby(), actions.StopPostgres(), actions.StartPostgres())
    both.does(DB3, actions.RepointStandby(DB2, slot(DB3)), actions.AwaitStreaming(DB2))


def connections(config: ConfigFile, number: int) -> ConfigFile:
    return replace(config, text=f"{config.text}\nmax_connections = {number}\n")


def test_a_standby_with_less_than_its_primary_pauses_and_does_not_start(both: Both) -> None:
    now = configured(both.operator, both.session.inventory)
    less, more = connections(now, 40), connections(now, 60)
    both.does(DB2, actions.WriteConfig(Place.LIVE, (less,)), actions.ReloadConfig(), actions.StopPostgres())
    with pytest.raises(ReplctlError, match="insufficient parameter settings"):
        both._simulated(DB2, actions.StartPostgres())
    with pytest.raises(ReplctlError, match="insufficient parameter settings"):
        both._carry_out(DB2, actions.StartPostgres())
    both.does(DB2, actions.StartWithConfig((now,)), actions.AwaitStreaming(DB1))
    both.does(DB1, actions.WriteConfig(Place.LIVE, (more,)), actions.ReloadConfig(), actions.StopPostgres())
    both.does(DB1, actions.StartPostgres())
    for standby in (DB2, DB3):
        both.does(standby, actions.WriteConfig(Place.LIVE, (more,)), actions.ReloadConfig(), actions.StopPostgres())
        both.does(standby, actions.StartPostgres(), actions.AwaitStreaming(DB1), actions.AwaitReplayed(DB1))
    both.does(DB1, actions.WriteConfig(Place.LIVE, (now,)), actions.ReloadConfig(), actions.StopPostgres())
    both.does(DB1, actions.StartPostgres())
    for standby in (DB2, DB3):
        both.does(standby, actions.AwaitReplayed(DB1), actions.WriteConfig(Place.LIVE, (now,)), actions.StopPostgres())
        both.does(standby, actions.StartPostgres(), actions.AwaitStreaming(DB1))
