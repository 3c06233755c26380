"""What a plan costs, as it is said above the question."""

from __future__ import annotations

import pytest

from replctl.cli.at_stake import at_stake
from replctl.model.actions import Action, FencePrimary, SetAside, StopPostgres
from replctl.model.plan import Plan, Step
from replctl.model.repair_actions import KeepDivergedWal, Promise
from replctl.model.values import Lsn, Timeline, WalRange
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.promote import plan_promote
from replctl.planning.publish_env import plan_env_write
from replctl.planning.remove_replica import Directory, plan_remove_replica
from replctl.planning.restart import plan_restart
from replctl.planning.situation import Situation, sequence, step
from tests.unit.builders import TEMPLATES, a_cluster
from tests.unit.plans import DB1, DB2, DB3

OWN = (WalRange(Timeline(1), Lsn(10)),)


@pytest.fixture
def situation() -> Situation:
    return Situation(*a_cluster().primary("db1").replica("db2").replica("db3").build(), TEMPLATES)


def said(planned: object) -> list[str]:
    assert isinstance(planned, Plan)
    return list(at_stake(planned))


def test_a_switchover_names_its_nodes_the_sessions_and_the_writes(situation: Situation) -> None:
    assert said(plan_promote(situation, DB2)) == [
        "changes db1, db2 and db3",
        "every session on db1 ends",
        "writes are refused until db2 takes them; none that was acknowledged is lost",
    ]


def test_a_removed_replica_loses_its_sessions_and_keeps_its_files(situation: Situation) -> None:
    assert said(plan_remove_replica(situation, DB3, Directory.SET_ASIDE)) == [
        "changes db1 and db3",
        "every session on db3 ends",
        "the data directory of db3 is moved aside, not deleted",
    ]


def test_a_restart_ends_sessions(situation: Situation) -> None:
    assert said(plan_restart(situation, DB2)) == ["changes db2", "every session on db2 ends"]


def test_what_disturbs_nobody_says_which_nodes_change() -> None:
    situation = Situation(*a_cluster().primary("db1").absent("db2").build(), TEMPLATES)
    planned = plan_add_replica(situation, [DB2], None)
    assert not isinstance(planned, Plan) or said(planned) == ["changes db1 and db2"]


def test_the_env_file_changes_no_node(situation: Situation) -> None:
    planned = plan_env_write(situation)
    assert said(planned) == []


def test_what_is_given_up_is_said(situation: Situation) -> None:
    def one(name: str, action: Action) -> Step:
        return step(name, DB1, action, "because")

    for action, words in (
        (FencePrimary(), "db1 is fenced: it is stopped, and takes no writes any more"),
        (
            KeepDivergedWal(OWN, Promise.GIVEN_UP),
            "the commits that db1 alone has are given up; their WAL is kept aside",
        ),
        (SetAside(), "the data directory of db1 is moved aside, not deleted"),
        (StopPostgres(), "every session on db1 ends"),
    ):
        assert said(situation.plan("test", [sequence(one("one", action))])) == ["changes db1", words]
    kept = KeepDivergedWal(OWN, Promise.NO_COMMIT)
    assert said(situation.plan("test", [sequence(one("one", kept))])) == ["changes db1"]
