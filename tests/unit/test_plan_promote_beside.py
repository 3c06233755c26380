"""promote, after somebody started the old primary before the promote request: it is a standby of NODE by now."""

from __future__ import annotations

from typing import Any

import pytest

from replctl.model.plan import Plan
from replctl.model.values import Lsn
from replctl.planning.promote import plan_promote
from tests.unit.builders import CURRENT, ClusterBuilder, a_cluster, kib
from tests.unit.plans import DB2, codes, steps


def mutual(**candidate: Any) -> ClusterBuilder:
    """db1 was stopped, proven and demoted for db2, then started: the two follow each other. db3 waits for db1."""
    built = a_cluster().replica("db1", of="10.0.0.2:5432")
    built.replica("db2", **{"of": "10.0.0.1:5432", "receiver": None, **candidate})
    return built.replica("db3", of="10.0.0.1:5432", receiver=None).as_made_by_us().env("db1", "db2", "db3")


def plan(built: ClusterBuilder):
    return plan_promote(built.situation(), DB2)


def test_it_goes_on_from_there() -> None:
    planned = plan(mutual())
    assert isinstance(planned, Plan)
    found = steps(planned)
    assert found[found.index("promote:db2") :][:3] == ["promote:db2", "probe-write:db2", "env"]
    assert not [step for step in found if step.startswith(("stop", "demote", "start"))]
    assert {"repoint:db3", "streaming:db3", "streaming:db1"} <= set(found)


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (mutual(lag=kib(1)), ("not-caught-up", "db2")),
        (mutual(replayed=None), ("not-caught-up", "db2")),
        (mutual().change("db1", received=None), ("not-caught-up", "db2")),
        (mutual(setting={"default_transaction_read_only": "on"}), ("read-only", "db2")),
        (mutual().stopped("db4", "shut down in recovery", timeline=9, standby=True), ("later-timeline", "db4")),
        (mutual().without_ssh("db1"), ("timeout", "db1")),
        (mutual().without_ssh("db2"), ("timeout", "db2")),
    ],
)
def test_refused(built: ClusterBuilder, expected: tuple[str, str]) -> None:
    assert codes(plan(built)) == [expected]


def test_up_to_the_last_byte_is_enough() -> None:
    assert "promote:db2" in steps(plan(mutual(replayed=CURRENT)))
    assert codes(plan(mutual(replayed=Lsn(CURRENT.position - 1)))) == [("not-caught-up", "db2")]
