"""Whatever is asked for: a superseded primary that answers is fenced first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import FencePrimary, SettleFenceDebt
from replctl.model.facts import FenceDebt
from replctl.model.host import Unit
from replctl.model.inventory import ServiceManager
from replctl.model.plan import Plan, Refused
from replctl.model.values import Lsn
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.consent import Consent
from replctl.planning.fencing import owes, plan_with_fencing
from replctl.planning.publish_env import plan_env_write
from replctl.planning.rejoin import plan_rejoin
from replctl.planning.situation import Situation
from tests.unit.builders import ClusterBuilder, a_cluster
from tests.unit.plans import DB1, DB2, DB3, codes, steps
from tests.unit.test_ancestry import promoted, two_primaries

DEBT = FenceDebt(DB1, DB2, "2026-11-22T03:00:00+00:00")


def split(**facts: object) -> Situation:
    return built().situation(**facts)


def built() -> ClusterBuilder:
    both = two_primaries().replica("db3", of="db2", timeline=2).as_made_by_us()
    return promoted(both, "db2", 2, (1, 4000))


def test_it_is_the_first_step_of_any_plan() -> None:
    planned = plan_with_fencing(split(), plan_env_write)
    assert steps(planned)[0] == "fence:db1"
    assert any("db1 is fenced first" in note for note in planned.notes)


def test_a_refusal_fences_all_the_same_and_stays_a_refusal() -> None:
    planned = plan_with_fencing(split(), lambda situation: plan_add_replica(situation, [DB2]))
    assert isinstance(planned, Plan)
    assert [step.action for step in planned.steps] == [FencePrimary()]
    assert {refusal.code for refusal in planned.refused} == {"is-primary"}


def test_without_anything_to_fence_a_plan_and_a_refusal_stay_as_they_are() -> None:
    quiet = built().change("db1", current=Lsn(4000)).situation()
    assert isinstance(plan_with_fencing(quiet, plan_env_write), Refused)


def test_what_it_fences_can_rejoin_in_the_same_run() -> None:
    def rejoin(situation: Situation) -> Plan | Refused:
        return plan_rejoin(situation, DB1, frozenset({Consent.DISCARD}))

    found = steps(plan_with_fencing(split(), rejoin))
    assert found[0] == "fence:db1"
    assert "rewind:db1" in found


@pytest.mark.parametrize(
    ("state", "checkpoint", "autostart", "expected"),
    [
        ("shut down", 5000, "enabled", ["no-autostart:db1"]),
        ("in production", 3000, "enabled", ["no-autostart:db1"]),
        ("shut down", 5000, "disabled", []),
        ("shut down", 3900, "enabled", []),
        ("shut down in recovery", 5000, "enabled", []),
    ],
    ids=["fenced", "and crashed", "done already", "demoted by a switchover", "a replica"],
)
def test_what_a_killed_run_fenced_stays_down(state: str, checkpoint: int, autostart: str, expected: list[str]) -> None:
    """Its plan had still to speak to the service."""
    cluster = a_cluster().stopped("db1", state, standby=True, timeline=1, checkpoint=Lsn(checkpoint))
    cluster.primary("db2", timeline=2, current=Lsn(6000)).env("db2")
    promoted(cluster, "db2", 2, (1, 4000)).host("db1", unit=Unit("postgresql-15", "inactive", autostart, None))
    by_systemd = replace(cluster.nodes[DB1].postgres, service=ServiceManager.SYSTEMD)
    situation = cluster.node("db1", postgres=by_systemd).situation()
    planned = plan_with_fencing(situation, plan_env_write)
    assert steps(planned) == expected
    assert [step.undo for step in planned.steps] == [None for _ in expected]
    refused = plan_with_fencing(situation, lambda situation: plan_add_replica(situation, [DB2]))
    assert isinstance(refused, Refused)


def test_the_debt_is_settled_by_the_command_that_fences() -> None:
    planned = plan_with_fencing(split(debts=(DEBT,)), plan_env_write)
    assert SettleFenceDebt(DB1) in [step.action for step in planned.steps]


@pytest.mark.parametrize(
    ("node", "owed"),
    [
        (lambda built: built.unreachable("db1"), True),
        (lambda built: built.stopped("db1"), True),
        (lambda built: built.stopped("db1", standby=True), False),
        (lambda built: built.replica("db1"), False),
        (lambda built: built.absent("db1"), False),
    ],
    ids=["unreachable", "stopped", "stopped standby", "replica", "absent"],
)
def test_a_debt_is_told_until_the_node_is_seen_to_be_harmless(node, owed: bool) -> None:
    facts = node(a_cluster().primary("db2")).situation(debts=(DEBT,)).facts
    assert owes(facts, DB1) is owed
    assert not owes(facts, DB3)


def test_nothing_is_built_on_a_primary_whose_successor_is_out_of_sight() -> None:
    """What the note reminds of cannot be seen; without the successor in the inventory there is nothing to wait for."""
    built = a_cluster().primary("db1").unreachable("db2").replica("db3").as_made_by_us().env("db2")
    planned = plan_with_fencing(built.owing("db1", "db2").situation(), plan_env_write)
    assert codes(planned) == [("replaced-primary", DB1)]
    without = a_cluster().primary("db1").replica("db3").as_made_by_us().env("db3").owing("db1", "db2")
    assert steps(plan_with_fencing(without.situation(), plan_env_write))
