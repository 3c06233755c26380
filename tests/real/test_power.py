"""The power goes: what was acknowledged is there afterwards, and no demoted node comes back as a primary."""

from __future__ import annotations

import pytest

from tests.real.clusters import assert_cluster, build, ok, status
from tests.real.hosts import QUICK, Operator
from tests.real.ledger import Writer
from tests.real.standing import in_recovery, start
from tests.real.watched import Watched


def test_all_hosts_at_once(operator: Operator) -> None:
    operator.write_inventory(parameters={**QUICK, "fsync": True})
    build(operator)
    with Writer(operator) as writer:
        operator.lan.power_off()
        operator.lan.boot()
        assert status(operator)["health"] == "critical"
        ok(operator.replctl("init-primary", "db1", "--yes"))
        ok(operator.replctl("add-replica", "db2", "db3", "--yes"))
        writer.wait_for_rows(20)
    assert writer.missing(operator, "db1") == []
    assert_cluster(operator, "db1", ["db2", "db3"])


def test_the_old_primary_right_after_a_switchover(cluster: Operator) -> None:
    """The application is served already; the node that lost its power is brought along by the next run."""
    cluster.write_inventory(extra={"ssh": {"connect_timeout": 5}})
    host = cluster.lan["db1"]
    with Writer(cluster) as writer:
        run = Watched(cluster, "promote", "db2", "--yes")
        run.until("here", "env", "done")
        host.power_cut()
        assert run.end(90).code == 6, run.err
        writer.wait_for_rows(20)
        assert status(cluster)["primary"] == "db2"
        host.power_on()
        ok(cluster.replctl("promote", "db2", "--yes"))
    assert writer.missing(cluster, "db2") == []
    assert_cluster(cluster, "db2", ["db1", "db3"])


@pytest.mark.fault("62")
def test_a_demoted_node_that_is_started_by_hand(cluster: Operator) -> None:
    """The run is gone before the promotion, the host reboots, and its init system starts PostgreSQL."""
    host = cluster.lan["db1"]
    run = Watched(cluster, "promote", "db2", "--yes")
    run.until("db1", "demote", "done")
    run.kill()
    host.power_cut()
    host.power_on()
    start(host)
    assert in_recovery(cluster, "db1")
    ok(cluster.replctl("promote", "db2", "--yes"))
    assert_cluster(cluster, "db2", ["db1", "db3"])
