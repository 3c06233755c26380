"""Switchover after switchover while 64 clients commit: nothing is lost, and nothing is left over."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, build, data_dir, ok, slots, status, wait_until
from tests.real.hosts import QUICK, Host, Operator, pg_bin
from tests.real.ledger import Clients
from tests.real.standing import execute, value

CLIENTS = 64
SEGMENT = 16 * 2**20
WAL_LIMIT = 6 * SEGMENT
PARAMETERS = {
    **QUICK,
    "max_connections": 150,
    "min_wal_size": "32MB",
    "max_wal_size": f"{WAL_LIMIT >> 20}MB",
}
"""Room for the clients that reconnect while their old sessions end; little WAL, so that a slot that keeps it shows."""
KEPT_BESIDE = {"main", "main.replctl-passfile"}
AT_HOME = ("postgres: ", f"{pg_bin(15)}/postgres ", "sshd: /usr/sbin/sshd ")
LIFELINE = ["cat"]
"""What a host of the tests ends with (boot.sh)."""
WALSENDERS = "select string_agg(application_name, ' ' order by application_name) from pg_stat_replication"
SESSIONS = "select count(*) from pg_stat_activity where application_name = 'replctl'"


def test_a_few_switchovers_in_a_row(operator: Operator) -> None:
    to_and_fro(operator, 6)


@pytest.mark.slow
@pytest.mark.fault("76")
def test_fifty_switchovers_in_a_row(operator: Operator, request: pytest.FixtureRequest) -> None:
    outages = to_and_fro(operator, 50)
    told = f"min {min(outages)}, median {median(outages):.1f}, max {max(outages)}"
    request.node.user_properties.append(("write_outage_ms", told))


def to_and_fro(operator: Operator, rounds: int) -> list[float]:
    """From db1 to db2 and back again and again, db3 following; every one of them has to end well by itself.

    Returns the write outages, in ms.
    """
    operator.write_inventory(parameters=PARAMETERS)
    build(operator)
    temporary = operator.folder / "tmp"
    temporary.mkdir()
    outages: list[float] = []
    with Clients(operator, CLIENTS) as clients:
        clients.wait_for_rows(CLIENTS)
        for new in islice(cycle(["db2", "db1"]), rounds):
            outages.append(switched_over(operator, new, temporary))
            clients.wait_for_rows(CLIENTS)

    assert_cluster(operator, "db1", ["db2", "db3"])
    assert status(operator)["timeline"] == rounds + 1
    assert_nothing_lost(operator, clients)
    assert_nothing_left(operator, temporary)
    return outages


def switched_over(operator: Operator, new: str, temporary: Path) -> float:
    """The outage in ms."""
    run = operator.replctl("promote", new, "--yes", "-o", "json", env={"TMPDIR": str(temporary)})
    document: dict[str, Any] = ok(run).document
    assert document["outcome"] == "done", document
    return document["write_outage_ms"]


def assert_nothing_lost(operator: Operator, clients: Clients) -> None:
    """Every acknowledged row is there once, nothing is there that nobody sent, and every node has the same."""
    rows, acknowledged = clients.rows(operator, "db1"), clients.acknowledged
    assert {client for client, _ in acknowledged} == set(range(1, CLIENTS + 1))
    assert acknowledged - rows.keys() == set()
    assert rows.keys() - clients.sent == set()
    assert max(rows.values()) == 1
    for name in ("db2", "db3"):
        wait_until(lambda name=name: clients.rows(operator, name) == rows)


def assert_nothing_left(operator: Operator, temporary: Path) -> None:
    """No slot, WAL, lock, process, session or file but those of a cluster that was never switched over."""
    assert list(temporary.iterdir()) == []
    wait_until(lambda: [value(operator, name, WALSENDERS) for name in operator.lan.names] == ["db2 db3", None, None])
    assert slots(operator, "db1") == {"replctl_db2", "replctl_db3"}
    for host in operator.lan:
        wait_until(lambda host=host: strangers(host) == LIFELINE)
        wait_until(lambda host=host: value(operator, host.name, SESSIONS) == 0)
        assert {path.name for path in host.path(data_dir()).parent.iterdir()} == KEPT_BESIDE
    assert_wal_is_bounded(operator)


def strangers(host: Host) -> list[str]:
    """What runs on a host beside PostgreSQL and the listening sshd."""
    return [line for line in host.cmdlines().values() if not line.startswith(AT_HOME)]


def assert_wal_is_bounded(operator: Operator) -> None:
    """pg_wal is what max_wal_size allows: no slot keeps WAL, and the segments of old timelines are gone.

    PostgreSQL tells by a segment's number, not by its timeline, whether it is still needed: those of the old timelines
    go once the WAL has moved on from that number, which an idle server would take its time for.
    """
    execute(operator, "db1", "select pg_switch_wal()", "checkpoint")
    for name in operator.lan.names:
        wait_until(lambda name=name: wal_bytes(operator, name) <= WAL_LIMIT + SEGMENT)


def wal_bytes(operator: Operator, name: str) -> int:
    """After a checkpoint; on a standby, after the restartpoint at the latest one of the primary's that it has."""
    execute(operator, name, "checkpoint")
    return int(value(operator, name, "select sum(size) from pg_ls_waldir()"))
