"""Whom commits wait for, with ``sync`` in the inventory: right after each change, and no commit waits for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import SetSynchronous
from replctl.model.inventory import Sync, SyncMode
from replctl.model.plan import OnFailure, Plan, Refused, Step
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.config_apply import plan_config_apply
from replctl.planning.consent import Consent
from replctl.planning.failover import plan_failover
from replctl.planning.init_primary import plan_init_primary
from replctl.planning.promote import plan_promote
from replctl.planning.publish_env import plan_env_write
from replctl.planning.remove_replica import Directory, plan_remove_replica
from replctl.planning.restart import plan_restart, plan_rolling_restart
from replctl.postgres.standby_names import standby_names
from tests.unit.builders import ClusterBuilder, a_cluster, settings
from tests.unit.plans import DB1, DB2, DB3, codes, notes_of, steps

ANY_OF_TWO = 'ANY 1 ("db2", "db3")'


def named(value: str) -> dict[str, str]:
    return {"synchronous_standby_names": value}


def cluster(value: str = ANY_OF_TWO, **sync: object) -> ClusterBuilder:
    """db1 with the replicas db2 and db3, whose commits wait as ``value`` says."""
    built = a_cluster().primary("db1", settings=settings(**named(value)))
    for name in ("db2", "db3"):
        built.replica(name, setting={"primary_slot_name": f"replctl_{name}"})
    built.inventory = {"sync": replace(Sync(), **sync)}
    return built.as_made_by_us()


def sets(planned: Plan | Refused) -> list[Step]:
    assert isinstance(planned, Plan), planned
    return [step for step in planned.steps if isinstance(step.action, SetSynchronous)]


def ids(planned: Plan | Refused) -> list[str]:
    return [step.id for step in sets(planned)]


@pytest.mark.parametrize(
    ("sync", "following", "expected"),
    [
        (Sync(), 2, ANY_OF_TWO),
        (Sync(count=2), 2, 'ANY 2 ("db2", "db3")'),
        (Sync(count=2), 1, ANY_OF_TWO),
        (Sync(SyncMode.FIRST), 1, 'FIRST 1 ("db2", "db3")'),
        (Sync(), 0, ""),
    ],
)
def test_commits_wait_for_no_more_than_follow(sync: Sync, following: int, expected: str) -> None:
    assert standby_names(sync, [DB2, DB3], following) == expected


def test_what_is_right_is_left_alone() -> None:
    built = cluster()
    assert steps(plan_init_primary(built.situation(), DB1)) == []
    assert steps(plan_add_replica(cluster().situation(), [DB2, DB3])) == []


@pytest.mark.parametrize("value", ["", "db2", 'ANY 1 ("db2")'])
def test_a_primary_that_has_another_value_is_given_the_inventory_s(value: str) -> None:
    for planned in (
        plan_init_primary(cluster(value).situation(), DB1),
        plan_config_apply(cluster(value).situation(configurations={}), [], frozenset()),
    ):
        if isinstance(planned, Plan):
            assert ids(planned) == ["standbys:db1"]


def test_other_commands_leave_it_alone() -> None:
    assert ids(plan_env_write(cluster("").situation())) == []


def test_without_sync_it_is_the_operator_s() -> None:
    built = cluster("")
    built.inventory = {}
    assert steps(plan_init_primary(built.situation(), DB1)) == []


def test_a_new_replica_counts_once_it_streams() -> None:
    built = a_cluster().primary("db1", settings=settings(**named(""))).absent("db2").as_made_by_us()
    built.inventory = {"sync": Sync()}
    planned = plan_add_replica(built.situation(), [DB2])
    assert steps(planned).index("standbys:db1") == steps(planned).index("streaming:db2") + 1
    [last] = sets(planned)
    assert last.action == SetSynchronous((DB2,))
    assert last.why == "commits on db1 wait for any 1 of its replicas"


def test_a_replica_of_two_may_go_at_once() -> None:
    planned = plan_remove_replica(cluster().situation(), DB3, Directory.SET_ASIDE)
    assert ids(planned) == []


def test_before_the_last_one_goes_commits_wait_for_nobody() -> None:
    built = a_cluster().primary("db1", settings=settings(**named('ANY 1 ("db2")'))).replica("db2").as_made_by_us()
    built.inventory = {"sync": Sync()}
    planned = plan_remove_replica(built.situation(), DB2, Directory.SET_ASIDE)
    spare, last = sets(planned)
    assert steps(planned).index("stop:db2") == steps(planned).index(spare.id) + 1
    assert spare.action == SetSynchronous((DB2,), without=DB2)
    assert spare.undo == SetSynchronous((DB2,))
    assert last.why == "no replica follows db1, and commits would wait for ever"


def test_a_restart_of_the_only_one_is_waited_for_by_nobody() -> None:
    built = a_cluster().primary("db1", settings=settings(**named('ANY 1 ("db2")'))).replica("db2").as_made_by_us()
    built.inventory = {"sync": Sync()}
    planned = plan_restart(built.situation(), DB2)
    assert steps(planned) == ["standbys:db1", "stop:db2", "start:db2", "caught-up:db2", "standbys:db1-2"]
    assert not any("commits" in note for note in notes_of(planned))


def test_a_rolling_restart_with_as_many_as_commits_wait_for() -> None:
    planned = plan_rolling_restart(cluster('ANY 2 ("db2", "db3")', count=2).situation())
    found = steps(planned)
    assert found[found.index("stop:db2") - 1].startswith("standbys:db1")
    assert found[found.index("stop:db3") - 1].startswith("standbys:db1")
    assert [step.node for step in sets(planned)][-1] == DB2  # the new primary's, and none twice
    assert len(ids(planned)) == 4


def test_a_switchover() -> None:
    planned = plan_promote(cluster().situation(), DB2)
    assert ids(planned) == ["no-standbys:db1", "standbys:db2"]
    back, last = sets(planned)
    assert back.action == SetSynchronous(())
    assert last.action == SetSynchronous((DB1, DB3))
    assert isinstance(planned, Plan)
    stage = next(stage for stage in planned.stages if (last,) in stage.lanes)
    assert stage.on_failure is OnFailure.GO_ON
    found = steps(planned)
    assert found.index("streaming:db3") < found.index("standbys:db2") < found.index("env-2")


def test_what_is_left_on_a_candidate_goes_before_the_stop() -> None:
    built = a_cluster().primary("db1", settings=settings(**named("")))
    built.replica("db2", setting=named('ANY 1 ("db1")')).replica("db3").as_made_by_us()
    built.inventory = {"sync": Sync()}
    planned = plan_promote(built.situation(), DB2)
    found = steps(planned)
    assert found[0] == "no-standbys:db2"
    assert found.index("no-standbys:db2") < found.index("stop:db1")


def test_a_promotion_that_was_not_finished() -> None:
    """On today's primary there is nothing to do but this."""
    assert steps(plan_promote(cluster("").situation(), DB1)) == ["standbys:db1"]


def test_what_an_interrupted_switchover_left_on_the_old_primary() -> None:
    built = a_cluster().primary("db1", settings=settings(**named(ANY_OF_TWO)))
    for name, left in (("db2", 'ANY 1 ("db1")'), ("db3", "")):
        built.replica(name, setting={"primary_slot_name": f"replctl_{name}", **named(left)})
    built.inventory = {"sync": Sync()}
    assert steps(plan_promote(built.as_made_by_us().situation(), DB1)) == ["no-standbys:db2"]


def stopped_primary(value: str = ANY_OF_TWO) -> ClusterBuilder:
    built = a_cluster().stopped("db1", "in production").replica("db2", of="db1").replica("db3", of="db1").env("db1")
    built.host("db1", files={"postgresql.auto.conf": f"synchronous_standby_names = '{value}'\n"})
    built.inventory = {"sync": Sync()}
    return built


def test_a_failover_proves_that_nothing_acknowledged_is_lost() -> None:
    planned = plan_failover(stopped_primary().situation(), DB2, frozenset())
    assert ids(planned) == ["standbys:db2"]
    assert any("no commit that waited for them is lost" in note for note in notes_of(planned))


def test_a_failover_cannot_prove_it_when_too_many_are_away() -> None:
    built = stopped_primary()
    built.unreachable("db3")
    planned = plan_failover(built.situation(), DB2, frozenset({Consent.DATA_LOSS}))
    assert not any("no commit" in note for note in notes_of(planned))
    assert any("may be lost" in note for note in notes_of(planned))


def test_what_a_standby_has_that_nobody_asks_proves_nothing() -> None:
    """db9 is no node of the inventory: a commit may be there alone."""
    planned = plan_failover(stopped_primary('ANY 1 ("db2", "db9")').situation(), DB2, frozenset())
    assert any("too few of these answer" in note for note in notes_of(planned))


def test_the_last_synchronous_one_may_be_removed_only_with_sync() -> None:
    built = a_cluster().primary("db1").replica("db2", walsender={"sync_state": "sync"}).as_made_by_us()
    assert codes(plan_remove_replica(built.situation(), DB2, Directory.SET_ASIDE)) == [("last-synchronous", "db2")]
