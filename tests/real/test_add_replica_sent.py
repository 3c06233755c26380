"""How a copy is sent: slower, compressed, from a replica; and what cannot be is refused before anything is made."""

from __future__ import annotations

from tests.real.clusters import assert_cluster, ok, slots
from tests.real.hosts import Operator
from tests.real.standing import forget


def test_slower_and_compressed(cluster: Operator) -> None:
    forget(cluster, "db2")
    run = ok(cluster.replctl("add-replica", "db2", "--max-rate", "200M", "--compress", "server-lz4:1", "--yes", "-v"))
    assert "--max-rate=200M --compress=server-lz4:1" in run.err
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_of_a_replica(cluster: Operator) -> None:
    forget(cluster, "db2")
    run = ok(cluster.replctl("add-replica", "db2", "--from", "db3", "--compress", "server-gzip", "--yes", "-v"))
    assert f"host={cluster.lan['db3'].address}" in run.err
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_what_pg_basebackup_would_not_take(cluster: Operator) -> None:
    forget(cluster, "db2")
    before = slots(cluster, "db1")
    for option in (("--max-rate", "2G"), ("--compress", "lz4")):
        run = cluster.replctl("add-replica", "db2", *option, "--yes")
        assert run.code == 2
        assert option[0] in run.err
    assert slots(cluster, "db1") == before
