"""Figures over time and events, as ``status --watch`` draws them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replctl.cli.trends import BARS, KEPT, PLAIN_BARS, Direction, Trends, direction, events_between, sparkline
from replctl.model.values import Lsn, NodeName
from replctl.planning.report import status_report
from tests.unit.builders import CURRENT, ClusterBuilder, a_cluster, mib

DB2 = NodeName("db2")


def healthy(**primary: object) -> ClusterBuilder:
    return a_cluster().primary("db1", **primary).replica("db2")


def events(before: ClusterBuilder, now: ClusterBuilder) -> list[str]:
    return list(events_between(status_report(*before.build()), status_report(*now.build())))


def add(trends: Trends, cluster: ClusterBuilder, at: float) -> None:
    inventory, facts = cluster.build()
    trends.add(facts, status_report(inventory, facts), at=at, time_of_day="03:00:00")


def test_bars_stand_between_zero_and_the_largest() -> None:
    assert sparkline([0, 1, 50, 100], 10) == "▁▂▅█"
    assert sparkline([0, 0], 10) == "▁▁"
    assert sparkline([None, 7, None], 10) == " █ "
    assert sparkline([1, 2, 3], 2) == sparkline([2, 3], 2)
    assert sparkline([0, 100], 10, PLAIN_BARS) == "_@"
    assert sparkline([], 10) == ""


@given(st.lists(st.none() | st.integers(min_value=0, max_value=2**60)), st.integers(min_value=1, max_value=80))
def test_one_bar_a_value_and_only_nothing_lies_flat(values: list[int | None], width: int) -> None:
    bars = sparkline(values, width)
    assert len(bars) == min(width, len(values))
    for value, bar in zip(values[-width:], bars, strict=True):
        assert (bar == " ") == (value is None)
        assert (bar == BARS[0]) == (value == 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], Direction.LEVEL),
        ([5], Direction.LEVEL),
        ([0, 0, 0], Direction.LEVEL),
        ([100, 100, 104, 104], Direction.LEVEL),
        ([100, 200, 300, 400], Direction.UP),
        ([400, None, 300, 0], Direction.DOWN),
        ([None, None], Direction.LEVEL),
    ],
)
def test_where_it_leads(values: list[int | None], expected: tuple[str, str]) -> None:
    assert direction(values) == expected


def test_the_wal_rate_is_between_two_looks_at_the_same_primary() -> None:
    trends = Trends()
    add(trends, healthy(), 10.0)
    add(trends, healthy(current=Lsn(CURRENT.position + mib(6))), 12.0)
    assert list(trends.wal) == [None, mib(3)]
    add(trends, a_cluster().unreachable("db1").replica("db2"), 13.0)
    add(trends, healthy(current=Lsn(CURRENT.position + mib(9))), 14.0)
    add(trends, a_cluster().primary("db2", current=Lsn(CURRENT.position + mib(99))).replica("db1", of="db2"), 15.0)
    assert list(trends.wal)[2:] == [None, None, None]


def test_the_lag_of_a_replica_is_kept_also_while_it_is_unknown() -> None:
    trends = Trends()
    add(trends, a_cluster().primary("db1").replica("db2", lag=mib(2)), 1.0)
    add(trends, a_cluster().primary("db1").unreachable("db2"), 2.0)
    add(trends, healthy(), 3.0)
    assert {name: list(lag) for name, lag in trends.lag.items()} == {DB2: [mib(2), None, 0]}


def test_it_forgets() -> None:
    trends = Trends()
    for second in range(KEPT + 5):
        add(trends, healthy(), float(second))
    assert len(trends.wal) == len(trends.lag[DB2]) == KEPT


def test_nothing_happened() -> None:
    assert events(healthy(), healthy()) == []


def test_a_role_change() -> None:
    swapped = a_cluster().primary("db2").replica("db1", of="db2")
    assert set(events(healthy(), swapped)) >= {
        "primary: db1 -> db2",
        "db1: primary -> replica",
        "db2: replica -> primary",
        "db1: read-write -> streaming",
    }


def test_a_link_is_lost_and_comes_back() -> None:
    idle = a_cluster().primary("db1").replica("db2", receiver=None).env("db1")
    lost = [
        "db2: streaming -> not-receiving",
        "db2: left out of the env file",
        "db2: its slot is idle: nobody takes its WAL",
        "health: healthy -> degraded",
    ]
    assert events(healthy(), idle) == lost
    assert "db2: its slot is used again" in events(idle, healthy())
    assert "db2: listed in the env file" in events(idle, healthy())


def test_another_upstream() -> None:
    three = a_cluster().primary("db1").replica("db2").replica("db3", of="db1")
    cascade = a_cluster().primary("db1").replica("db2").replica("db3", of="db2")
    assert "db3: streams from db2, no longer from db1" in events(three, cascade)


def test_events_carry_the_time_of_day() -> None:
    trends = Trends()
    add(trends, healthy(), 1.0)
    add(trends, a_cluster().primary("db1").unreachable("db2"), 2.0)
    assert ("03:00:00", "db2: streaming -> unreachable") in trends.events
