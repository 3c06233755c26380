"""promote is killed after each of its steps while a client writes: there is never a second primary, no acknowledged row
is lost, and the same command finishes the job."""

from __future__ import annotations

import pytest

from tests.real.clusters import assert_cluster
from tests.real.hosts import Operator
from tests.real.ledger import Writer
from tests.real.standing import MAIN
from tests.real.test_faults_killed import assert_finished, killed

MOMENTS = (
    ("db2", "slot:db1", "done"),
    ("db2", "slot:db3", "done"),
    ("db1", "checkpoint", "ok:"),
    ("db1", "stop", "done"),
    ("db2", "prove", "ok:"),
    ("db1", "demote", "done"),
    ("db2", "promote", "done"),
    ("db2", "probe-write", "ok:"),
    ("here", "env", "done"),
    ("db3", "repoint", "done"),
    ("db1", "start", "done"),
    ("db3", "streaming", "ok:"),
    ("db1", "streaming", "ok:"),
    ("db1", "sweep-db2", "done"),
    ("here", "env-2", "done"),
)


def assert_one_primary_at_most(operator: Operator) -> None:
    """By the files, since servers may be down: each that is no primary would come up as a standby."""
    may_write = [
        host.name
        for host in operator.lan
        if host.path(f"{MAIN}/postmaster.pid").exists() and not host.path(f"{MAIN}/standby.signal").exists()
    ]
    assert len(may_write) <= 1, may_write


@pytest.mark.slow
@pytest.mark.fault("1c")
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"{moment[1]}-{moment[0]}")
def test_after_a_step(cluster: Operator, moment: tuple[str, ...]) -> None:
    with Writer(cluster) as writer:
        killed(cluster, moment, "promote", "db2")
        assert_one_primary_at_most(cluster)
        assert_finished(cluster, "promote", "db2")
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db2") == []
    assert_cluster(cluster, "db2", ["db1", "db3"])
