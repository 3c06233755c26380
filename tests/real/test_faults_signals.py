"""A signal while a primary is made, and on either side of a switchover's point of no return."""

from __future__ import annotations

import signal

import pytest

from tests.real.clusters import assert_cluster, ok, wait_until
from tests.real.hosts import Operator
from tests.real.ledger import Writer
from tests.real.standing import MAIN, await_streaming, freeze, held_replay, server_process, thaw
from tests.real.watched import Watched, replaced

PARENT = MAIN.rpartition("/")[0]


@pytest.mark.fault("2a", "2b", "2c")
def test_while_initdb_runs(operator: Operator) -> None:
    host = operator.lan["db1"]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with replaced(host, "initdb", "sleep 60"):
            run = Watched(operator, "init-primary", "db1", "--yes")
            wait_until(lambda: host.pids("/initdb"))
            run.signal(number)
            ended = run.end()
        assert ended.code == 130, ended.err
        assert "Traceback" not in ended.err
        assert not list(host.path(PARENT).glob("*"))
        assert not host.pids("/initdb")
    ok(operator.replctl("init-primary", "db1", "--yes"))


@pytest.mark.slow
@pytest.mark.fault("2a", "2b", "2c")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_before_the_promote_request(cluster: Operator, number: signal.Signals) -> None:
    """The primary is down already: it is started again."""
    with Writer(cluster) as writer:
        with held_replay(cluster.lan["db2"]):
            run = Watched(cluster, "promote", "db2", "--yes")
            run.until("db2", "prove", "waiting")
            run.signal(number)
            ended = run.end()
        assert ended.code == 130, ended.err
        writer.wait_for_rows(20)
    assert writer.missing(cluster, "db1") == []
    await_streaming(cluster, "db1", ["db2", "db3"])
    assert_cluster(cluster, "db1", ["db2", "db3"])


@pytest.mark.fault("2a", "2b", "2c")
def test_after_the_promote_request(cluster: Operator) -> None:
    """There is no way back: the application gets its primary first, whatever the signal; then the same command ends
    what is left."""
    startup = [server_process(cluster.lan["db2"], "startup")]
    with Writer(cluster) as writer:
        run = Watched(cluster, "promote", "db2", "--yes")
        run.until("db1", "demote", "done")
        freeze(startup)
        run.until("db2", "promote", "waiting")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            run.signal(number)
        thaw(startup)
        ended = run.end()
        assert ended.code in {0, 6}, ended.err
        assert cluster.lan["db2"].address in cluster.read_env()["DB_PRIMARY_URL"]
        writer.wait_for_rows(20)
        ok(cluster.replctl("promote", "db2", "--yes"))
    assert writer.missing(cluster, "db2") == []
    assert_cluster(cluster, "db2", ["db1", "db3"])
