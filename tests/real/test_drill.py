"""Drills on real hosts: there and back with nothing lost, broken off on either side, and refused."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import jsonschema
import psycopg

from tests.real.clusters import assert_cluster, build, ok, status, wait_until
from tests.real.hosts import DEPLOY, Operator, pg_bin
from tests.real.ledger import Writer
from tests.real.standing import await_streaming, execute, held_replay, in_recovery
from tests.real.watched import Watched, replaced

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/status.schema.json").read_text())
STARTS_LATER = f"""[ "$1" = start ] || exec "$real" "$@"
while [ ! -e "${{real%/*}}/go" ]; do sleep 0.05; done
exec "$real" "$@" -p {pg_bin(15)}/postgres
"""
LEFT = "select count(*) from pg_namespace where nspname = 'replctl_drill'"


def count(operator: Operator, name: str) -> int:
    with operator.connect(name, dbname="chatdb") as connection:
        row = connection.execute(LEFT).fetchone()
    return int(row[0])


def assert_nothing_left(operator: Operator, *names: str) -> None:
    """The schema is gone everywhere, once the replicas have replayed its end."""
    for name in names or operator.lan.names:
        wait_until(lambda name=name: count(operator, name) == 0)


def assert_proven(operator: Operator, document: dict[str, Any]) -> None:
    """The document of a drill that went there and back, and what the status makes of it."""
    assert document["outcome"] == "done", document
    drill = document["drill"]
    assert (drill["to"], drill["lost"], drill["twice"]) == ("db2", 0, 0)
    assert drill["rows"] >= 60
    assert len(drill["write_outage_ms"]) == 2
    assert all(0 < ms < 30_000 for ms in drill["write_outage_ms"])
    assert document["write_outage_ms"] == max(drill["write_outage_ms"])
    assert 0 < drill["read_outage_ms"] < 30_000
    seen = status(operator)
    jsonschema.validate(seen, SCHEMA)
    shown = {key: seen["last_drill"][key] for key in ("to", "write_outage_ms", "read_outage_ms", "rows", "lost")}
    assert shown == {key: drill[key] for key in shown}
    assert "last drill" in operator.replctl("status").out
    assert "replctl_last_drill_timestamp_seconds{" in operator.replctl("status", "-o", "prometheus").out


def test_there_and_back(cluster: Operator) -> None:
    """The application beside it loses nothing either; the plan that was shown is the one that runs."""
    planned = ok(cluster.replctl("drill", "--dry-run", "-o", "json")).document
    assert status(cluster)["last_drill"] is None
    with Writer(cluster) as writer:
        document = ok(cluster.replctl("drill", "--yes", "-o", "json")).document
        writer.wait_for_rows(20)
    assert [step["id"] for step in document["steps"]] == [step["id"] for step in planned["steps"]]
    assert_proven(cluster, document)
    assert writer.missing(cluster, "db1") == []
    assert_cluster(cluster, "db1", ["db2", "db3"])
    assert_nothing_left(cluster)
    history = ok(cluster.replctl("history")).out
    assert "(to db2)" in history
    assert "(back to db1)" in history


def test_another_version_and_two_nodes(operator: Operator) -> None:
    operator.write_inventory(version=17, ssh_user=DEPLOY, nodes=("db1", "db2"))
    build(operator, replicas=("db2",))
    document = ok(operator.replctl("drill", "db2", "--yes", "-o", "json")).document
    assert_proven(operator, document)
    assert_cluster(operator, "db1", ["db2"])
    assert_nothing_left(operator, "db1", "db2")
    assert operator.replctl("drill", "--dry-run").out.count("in the last drill for") == 1


def test_it_asks_for_the_clusters_name(cluster: Operator) -> None:
    assert "no terminal" in cluster.replctl("drill").err
    for typed, code in (("y\r", 3), ("chat\r", 0)):
        terminal = cluster.pty("drill", "db2")
        terminal.read_until("Type the cluster's name:")
        assert "then back to db1" in terminal.seen
        terminal.type(typed)
        assert terminal.end(120) == code, terminal.seen
    assert "none lost, none written twice" in terminal.seen
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_interrupted_before_the_first_promotion(cluster: Operator) -> None:
    with held_replay(cluster.lan["db2"]):
        run = Watched(cluster, "drill", "db2", "--yes")
        run.until("db2", "prove", "waiting")
        run.signal(signal.SIGINT)
        ended = run.end()
    assert ended.code == 130, ended.err
    await_streaming(cluster, "db1", ["db2", "db3"])
    assert_cluster(cluster, "db1", ["db2", "db3"])
    assert_nothing_left(cluster)
    assert status(cluster)["last_drill"] is None


def held_in_between(operator: Operator) -> tuple[Watched, psycopg.Connection[Any]]:
    """A drill that has come to db2, where a lock keeps its writer waiting as long as the session is open.

    db1 is not started as a replica before the lock is there.
    """
    host = operator.lan["db1"]
    go = host.path("/var/log/pg_ctl/go")
    go.unlink(missing_ok=True)
    with replaced(host, "pg_ctl", STARTS_LATER):
        run = Watched(operator, "drill", "db2", "--yes")
        run.until("db2", "probe-write", "ok:", seconds=60)
        session = operator.connect("db2", dbname="chatdb", autocommit=False)
        session.execute("lock table replctl_drill.ledger")
        go.touch()
        run.until("db2", "served", seconds=60)
    return run, session


def test_interrupted_in_between(cluster: Operator) -> None:
    """The cluster is whole, with db2 as its primary, and it is told how to go back."""
    run, session = held_in_between(cluster)
    run.signal(signal.SIGINT)
    run.until("please", "wait")
    session.close()
    ended = run.end()
    assert ended.code == 6, ended.err
    assert "`replctl promote db1` goes back" in ended.err
    assert status(cluster)["last_drill"] is None
    assert_cluster(cluster, "db2", ["db1", "db3"])
    ok(cluster.replctl("promote", "db1", "--yes"))
    assert_cluster(cluster, "db1", ["db2", "db3"])
    assert_nothing_left(cluster)


def test_killed_in_between(cluster: Operator) -> None:
    """What it leaves is a healthy cluster and a schema, which the next drill replaces."""
    run, session = held_in_between(cluster)
    run.kill()
    session.close()
    assert_cluster(cluster, "db2", ["db1", "db3"])
    ok(cluster.replctl("promote", "db1", "--yes"))
    assert count(cluster, "db1") == 1
    assert_proven(cluster, ok(cluster.replctl("drill", "--yes", "-o", "json")).document)
    assert_nothing_left(cluster)


def test_a_lost_row_is_told(cluster: Operator) -> None:
    """A row that somebody takes away stands for one that a switchover lost."""
    run, session = held_in_between(cluster)
    session.execute("delete from replctl_drill.ledger where number = 5")
    session.commit()
    session.close()
    ended = run.end(120)
    assert ended.code == 6, ended.err
    assert "ACKNOWLEDGED ROWS ARE LOST: 5" in ended.err
    assert status(cluster)["last_drill"]["lost"] == 1
    assert_cluster(cluster, "db1", ["db2", "db3"])
    assert_nothing_left(cluster)


def refused(operator: Operator, *args: str) -> list[tuple[str, str | None]]:
    run = operator.replctl("drill", *args, "--yes", "-o", "json")
    assert run.code == 3, run.out + run.err
    assert all(refusal["hint"] for refusal in run.document["refusals"])
    assert not in_recovery(operator, "db1")
    return [(refusal["code"], refusal["node"]) for refusal in run.document["refusals"]]


def test_refusals(cluster: Operator) -> None:
    assert refused(cluster, "db1") == [("is-primary", "db1")]
    assert cluster.replctl("drill", "db9").code == 2
    with cluster.connect("db1", dbname="chatdb") as connection:
        connection.execute("create schema replctl_drill")
    assert refused(cluster) == [("schema-taken", "db1")]
    assert count(cluster, "db1") == 1
    execute(cluster, "db3", "select pg_wal_replay_pause()")
    assert ("paused", "db3") in refused(cluster)
    cluster.env_file.write_text("")
    assert {"paused", "env-drift"} <= {code for code, _ in refused(cluster)}
