"""The reckoning of a drill: outages, lost rows, rows written twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replctl.model.drill import Acknowledged, Route
from replctl.planning.drill_figures import drill_report
from tests.unit.plans import DB1, DB2

ROUTE = Route(to=DB2, home=DB1)


def rows(*moments: tuple[str, float]) -> list[Acknowledged]:
    """Numbered from one."""
    return [Acknowledged(number, node, at) for number, (node, at) in enumerate(moments, start=1)]


WRITTEN = rows(("db1", 1.0), ("db1", 1.01), ("db2", 1.11), ("db2", 1.5), ("db1", 1.7), ("db1", 1.71))


def test_a_good_drill() -> None:
    report = drill_report(ROUTE, WRITTEN, [1.0, 1.1, 1.02], range(1, 7))
    assert report.to == "db2"
    assert report.write_outage_ms == (100.0, 200.0), "not the pause on db2, where no primary changed"
    assert report.longest_write_outage_ms == 200.0
    assert report.read_outage_ms == 80.0
    assert (report.rows, report.lost, report.twice) == (6, 0, 0)


def test_rows_that_are_gone_and_rows_that_are_there_twice() -> None:
    report = drill_report(ROUTE, WRITTEN, [], [1, 2, 2, 4, 6, 99, 99])
    assert report.missing == (3, 5)
    assert report.repeated == (2, 99)
    assert (report.lost, report.twice) == (2, 2)


def test_a_row_that_was_not_answered_may_be_there() -> None:
    report = drill_report(ROUTE, WRITTEN[:2], [], [1, 2, 3])
    assert (report.rows, report.lost, report.twice) == (2, 0, 0)


def test_a_drill_that_did_not_come_back() -> None:
    report = drill_report(ROUTE, WRITTEN[:4], [], range(1, 5))
    assert report.write_outage_ms == (100.0, None)
    assert report.longest_write_outage_ms == 100.0


def test_a_drill_that_did_not_get_there() -> None:
    report = drill_report(ROUTE, WRITTEN[:2], [], None)
    assert report.write_outage_ms == (None, None)
    assert report.longest_write_outage_ms is None
    assert report.read_outage_ms is None
    assert (report.rows, report.lost, report.twice) == (2, None, None)


@given(st.lists(st.integers(1, 60), unique=True), st.lists(st.integers(1, 60)))
def test_every_acknowledged_row_is_there_or_lost(numbers: list[int], stored: list[int]) -> None:
    report = drill_report(ROUTE, [Acknowledged(n, DB1, float(n)) for n in numbers], [], stored)
    assert set(report.missing) == set(numbers) - set(stored)
    assert {n for n in stored if stored.count(n) > 1} == set(report.repeated)
