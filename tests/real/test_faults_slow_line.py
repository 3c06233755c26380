"""A line to the hosts with a long way or with pauses: every command takes its time, and works."""

from __future__ import annotations

import pytest

from tests.real.clusters import assert_cluster, ok, rows
from tests.real.hosts import Operator
from tests.real.ledger import Writer
from tests.real.relay import Line, over
from tests.real.standing import forget

pytestmark = pytest.mark.slow
MINUTES = 300.0


@pytest.mark.fault("8a")
def test_a_round_trip_of_300_ms(cluster: Operator) -> None:
    with over(Line(delay=0.15), cluster, cluster.lan), Writer(cluster) as writer:
        assert cluster.replctl("status", timeout=MINUTES).code == 0
        ok(cluster.replctl("promote", "db2", "--yes", timeout=MINUTES))
        ok(cluster.replctl("env", "--check", timeout=MINUTES))
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db2") == []
    restore_lines(cluster)
    assert_cluster(cluster, "db2", ["db1", "db3"])


@pytest.mark.fault("8b")
def test_a_line_that_stalls(cluster: Operator) -> None:
    forget(cluster, "db2")
    with over(Line(stall=2.0), cluster, cluster.lan):
        ok(cluster.replctl("add-replica", "db2", "--yes", timeout=MINUTES))
        assert rows(cluster)["db2"]["state"] == "streaming"
    restore_lines(cluster)
    assert_cluster(cluster, "db1", ["db2", "db3"])


def restore_lines(operator: Operator) -> None:
    operator.write_private("known_hosts", operator.lan.known_hosts)
    operator.write_inventory()
