"""How a primary is lost, what its replicas did not get of it, and the commands that go on without it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from replctl.model.values import Lsn
from tests.real.clusters import wait_until
from tests.real.hosts import Host, Operator
from tests.real.standing import MAIN, freeze, thaw

TABLE = "entries"
LOST = re.compile(r"([0-9A-F]+/[0-9A-F]+) to ([0-9A-F]+/[0-9A-F]+)")
RECEIVERS = "select from pg_stat_wal_receiver where pid is not null"
COMMITS = re.compile(r"(\d+) commits?")


def failover(operator: Operator, node: str, *flags: str, code: int = 0) -> dict[str, Any]:
    """The document of ``promote NODE --failover``."""
    return command(operator, "promote", node, "--failover", *flags, code=code)


def rejoin(operator: Operator, node: str, *flags: str, code: int = 0) -> dict[str, Any]:
    """The document of ``rejoin NODE``."""
    return command(operator, "rejoin", node, *flags, code=code)


def command(operator: Operator, *args: str, code: int = 0) -> dict[str, Any]:
    """The document of a changing command, which must have ended so."""
    run = operator.replctl(*args, "--yes", "-o", "json")
    assert run.code == code, f"exit {run.code}\n{run.out}\n{run.err}"
    assert run.document["exit_code"] == code
    return run.document


def codes(document: dict[str, Any]) -> set[str]:
    return {refusal["code"] for refusal in document["refusals"]}


def refusal(document: dict[str, Any], code: str) -> dict[str, str]:
    """The one refusal of that code."""
    (found,) = [one for one in document["refusals"] if one["code"] == code]
    assert found["hint"]
    return found


def hurry(operator: Operator, **extra: Any) -> None:
    """An unreachable host costs no more than three seconds."""
    operator.write_inventory(extra={"ssh": {"connect_timeout": 3}, **extra})


def server_pids(host: Host) -> list[int]:
    """Every process of the host's PostgreSQL."""
    return [
        process.pid
        for process in host.processes()
        if process.argv[0].endswith("/postgres") or process.argv[0].startswith("postgres: ")
    ]


def end_server(host: Host) -> None:
    """Every process of PostgreSQL dies at once: nothing more is written, sent or told."""
    for pid in server_pids(host):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not server_pids(host))


@contextmanager
def unsent(host: Host) -> Iterator[None]:
    """The walsenders stand still: what is committed meanwhile is acknowledged and reaches nobody."""
    pids = host.pids("postgres: walsender")
    freeze(pids)
    try:
        yield
    finally:
        thaw(pids)


def make_table(operator: Operator, name: str = "db1") -> None:
    with operator.connect(name, "app") as connection:
        connection.execute(f"create table {TABLE} (n int primary key)")


def commit(operator: Operator, name: str, numbers: range) -> None:
    """One commit a row, each acknowledged."""
    with operator.connect(name, "app") as connection:
        for number in numbers:
            connection.execute(f"insert into {TABLE} values (%s)", [number])


def entries(operator: Operator, name: str) -> set[int]:
    """The rows that a node has."""
    with operator.connect(name, "app") as connection:
        return {row[0] for row in connection.execute(f"select n from {TABLE}")}


def assert_entries(operator: Operator, name: str, expected: set[int]) -> None:
    """A replica that streams may have something still to replay."""
    with suppress(AssertionError):
        wait_until(lambda: entries(operator, name) == expected)
    assert entries(operator, name) == expected


def announced(text: str) -> tuple[int, int]:
    """Bytes and commits that replctl said are lost, or kept aside."""
    flat = " ".join(text.split())
    found, commits = LOST.search(flat), COMMITS.search(flat)
    assert found, text
    assert commits, text
    return Lsn.parse(found[2]) - Lsn.parse(found[1]), int(commits[1])


def await_sent(operator: Operator, name: str) -> None:
    """Until every replica has on its disk what the primary has written so far."""
    with operator.connect(name) as connection:
        target = connection.execute("select pg_current_wal_lsn()::text").fetchone()
        behind = "select from pg_stat_replication where flush_lsn is null or flush_lsn < %s::pg_lsn"
        wait_until(lambda: not connection.execute(behind, target).fetchall())


def lose(operator: Operator, rows: range, name: str = "db1") -> None:
    """The server dies with rows that were acknowledged and that no replica has."""
    host = operator.lan[name]
    await_sent(operator, name)
    with unsent(host):
        commit(operator, name, rows)
        end_server(host)


def refuses_connections(operator: Operator, name: str) -> bool:
    try:
        operator.connect(name).close()
    except psycopg.OperationalError:
        return True
    return False


def step_ids(document: dict[str, Any]) -> set[str]:
    """The steps' names, without the node behind the colon."""
    return {step["id"].split(":")[0] for step in document["steps"]}


def follow_nobody(operator: Operator, *names: str) -> None:
    """Replicas that receive nothing more."""
    for name in names:
        with operator.connect(name) as connection:
            connection.execute("alter system set primary_conninfo = ''")
            connection.execute("select pg_reload_conf()")
            wait_until(lambda connection=connection: not connection.execute(RECEIVERS).fetchall())


def signal_file(host: Host) -> bool:
    return host.path(f"{MAIN}/standby.signal").exists()
