"""env --write: the file as the cluster stands now."""

from __future__ import annotations

import pytest

from replctl.model.actions import PublishEnv
from replctl.model.facts import ProblemKind
from replctl.model.plan import Plan, Refused
from replctl.planning.publish_env import plan_env_write
from tests.unit.builders import IDENTITY, OTHER_IDENTITY, ClusterBuilder, a_cluster
from tests.unit.plans import DB1, DB2, codes, compare_with_golden, notes_of, steps


def pair() -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2")


def plan(built: ClusterBuilder):
    return plan_env_write(built.situation())


def published(built: ClusterBuilder) -> PublishEnv:
    planned = plan(built)
    assert isinstance(planned, Plan)
    (step,) = planned.steps
    assert (step.node, step.undo, step.point_of_no_return) == (None, None, False)
    return step.action


def test_a_stale_file() -> None:
    compare_with_golden("env-write", plan(pair().unreachable("db3").env("db2", "db1")))


def test_a_true_file_stays() -> None:
    assert steps(plan(pair())) == []


@pytest.mark.parametrize(
    "built", [pair().env("db1"), pair().env("db1", "db2", current=False), pair().env(), pair().env("db2", "db1")]
)
def test_anything_else_is_written(built: ClusterBuilder) -> None:
    assert published(built) == PublishEnv(DB1, (DB2,))


@pytest.mark.parametrize(
    "built",
    [
        a_cluster().primary("db1").replica("db2", receiver=None).env(),
        a_cluster().primary("db1").replica("db2", walsender=None).env(),
        a_cluster().primary("db1").replica("db2", timeline=7).env(),
        a_cluster().primary("db1").unreachable("db2").env(),
        a_cluster().primary("db1").stopped("db2", standby=True).env(),
    ],
)
def test_a_replica_that_is_not_proven_is_left_out(built: ClusterBuilder) -> None:
    assert published(built) == PublishEnv(DB1, ())


def test_a_paused_replica_is_one() -> None:
    assert published(a_cluster().primary("db1").replica("db2", paused="paused").env()) == PublishEnv(DB1, (DB2,))


def test_who_is_out_of_reach_is_noted() -> None:
    assert notes_of(plan(pair().unreachable("db3"))) == (
        "db3 cannot be reached and stays as it is: no answer within 10 s",
    )


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (a_cluster().stopped("db1"), [("no-primary", None)]),
        (a_cluster().primary("db1").primary("db2"), [("two-primaries", None)]),
        (a_cluster().unreachable("db1").replica("db2"), [("timeout", "db1")]),
        (
            a_cluster().unreachable("db1").silent("db2", ProblemKind.SQL_AUTH),
            [("timeout", "db1"), ("sql-authentication", "db2")],
        ),
    ],
)
def test_refused(built: ClusterBuilder, expected) -> None:
    assert codes(plan(built)) == expected


def test_two_primaries_of_different_clusters_are_told_from_a_split_brain() -> None:
    built = a_cluster(identifier=None).primary("db1").primary("db2", system_identifier=OTHER_IDENTITY)
    planned = plan(built)
    assert codes(planned) == [("two-primaries", None)]
    assert isinstance(planned, Refused)
    (refusal,) = planned.refusals
    assert f"db1 has {IDENTITY}, db2 has {OTHER_IDENTITY}" in refusal.message
    assert "Pin" in refusal.hint
    assert "Stop" not in refusal.hint


def test_a_primary_that_only_sql_reaches_can_be_published() -> None:
    assert published(pair().without_ssh("db1").env()) == PublishEnv(DB1, (DB2,))
