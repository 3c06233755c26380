"""Hosts that go away while they are used: what a caller notices of it, and what not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from replctl.router import Connecting, NoReadableHostError, PrimaryUnavailableError, ReadReplicaManager
from tests.relay import Relay
from tests.router.labs import Lab, wait_until
from tests.router.managers import PATIENT, healthy, manager_of, pid, read_from

END_READERS = """
select pg_terminate_backend(pid) from pg_stat_activity
where usename = 'app' and application_name <> 'replctl-router' and pid <> pg_backend_pid()
"""


@pytest.fixture
def lines(lab: Lab) -> Iterator[dict[str, Relay]]:
    """A line to each server, as the application reaches it."""
    with ExitStack() as relays:
        yield {node: relays.enter_context(Relay(lab.port(node))) for node in ("db1", "db2", "db3")}


@pytest.fixture
def manager(lab: Lab, lines: dict[str, Relay]) -> Iterator[ReadReplicaManager]:
    with manager_of(lab, ports=ports(lines)) as manager:
        yield manager


def ports(lines: dict[str, Relay]) -> dict[str, int]:
    return {node: line.port for node, line in lines.items()}


def host(lines: dict[str, Relay], node: str) -> str:
    return f"127.0.0.1:{lines[node].port}/appdb"


def test_a_cut_line_costs_no_read(lines: dict[str, Relay], manager: ReadReplicaManager) -> None:
    both = {host(lines, "db2"), host(lines, "db3")}
    assert {read_from(manager) for _ in range(4)} == both
    with lines["db2"].cut():
        for _ in range(50):
            assert read_from(manager) == host(lines, "db3")
        assert healthy(manager) == {host(lines, "db3")}
    wait_until(lambda: healthy(manager) == both)
    assert {read_from(manager) for _ in range(4)} == both


def test_a_stalled_host_is_left_out_until_it_answers_again(
    lines: dict[str, Relay], manager: ReadReplicaManager
) -> None:
    both = {host(lines, "db2"), host(lines, "db3")}
    with lines["db2"].stalled():
        wait_until(lambda: healthy(manager) == {host(lines, "db3")})
        assert {read_from(manager) for _ in range(6)} == {host(lines, "db3")}
    wait_until(lambda: healthy(manager) == both)


def test_a_slow_line_is_no_lag(lines: dict[str, Relay], manager: ReadReplicaManager) -> None:
    with lines["db2"].slow(0.1):
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert healthy(manager) == {host(lines, "db2"), host(lines, "db3")}
            time.sleep(0.05)


def test_idle_connections_that_the_server_closed_are_noticed_by_nobody(lab: Lab) -> None:
    with manager_of(lab) as manager:
        for _ in range(3):
            assert {read_from(manager) for _ in range(4)} == {lab.id("db2"), lab.id("db3")}
            for node in ("db2", "db3"):
                lab.sql(node, END_READERS)
                wait_until(partial(has_no_readers, lab, node))
        assert healthy(manager) == {lab.id("db2"), lab.id("db3")}


def has_no_readers(lab: Lab, node: str) -> bool:
    return lab.sql(node, END_READERS) == []


def test_a_first_statement_that_breaks_is_done_on_the_next_host(
    lines: dict[str, Relay], manager: ReadReplicaManager
) -> None:
    """The connection is taken, and breaks before it has shown anything."""
    with manager.get_read_session() as session:
        session.connection()
        first = session.host
        assert first is not None
        node = "db2" if first == host(lines, "db2") else "db3"
        with lines[node].cut():
            assert session.scalar(text("select 1")) == 1
            assert session.host not in {first, None}


def test_it_is_moved_again_where_the_next_host_breaks_too(
    lab: Lab, lines: dict[str, Relay], manager: ReadReplicaManager
) -> None:
    over = threading.Event()

    def end_them() -> None:
        while not over.wait(0.02):
            for node in ("db2", "db3"):
                lab.sql(node, END_READERS)

    ending = threading.Thread(target=end_them)
    with manager.get_read_session() as session:
        session.connection()
        ending.start()
        try:
            assert session.scalar(text("select 1 from pg_sleep(0.5)")) == 1
        finally:
            over.set()
            ending.join()
        assert session.host == host(lines, "db1")


def test_a_later_statement_is_never_done_again(lines: dict[str, Relay], manager: ReadReplicaManager) -> None:
    """Another host may show another moment, and what was read before it would not fit."""
    with manager.get_read_session() as session:
        session.execute(text("select 1"))
        node = "db2" if session.host == host(lines, "db2") else "db3"
        with lines[node].cut(), pytest.raises(DBAPIError):
            session.execute(text("select 2"))
        assert healthy(manager) == {host(lines, "db3" if node == "db2" else "db2")}
    assert read_from(manager) == host(lines, "db3" if node == "db2" else "db2")


def test_a_write_that_breaks_is_never_done_again(
    lab: Lab, lines: dict[str, Relay], manager: ReadReplicaManager
) -> None:
    lab.app("db1", "drop table if exists broken; create table broken (i int)")
    session = manager.get_write_session()
    session.execute(text("insert into broken values (1)"))
    with lines["db1"].cut(), pytest.raises(OperationalError):
        session.execute(text("insert into broken values (2)"))
    session.close()
    wait_until(lambda: manager.get_primary_status()["healthy"])
    with manager.get_write_session() as session:
        session.execute(text("insert into broken values (3)"))
    assert lab.app("db1", "select i from broken") == [(3,)]


def test_a_primary_that_cannot_be_reached_is_told_at_once(lines: dict[str, Relay], manager: ReadReplicaManager) -> None:
    with lines["db1"].cut():
        with pytest.raises((PrimaryUnavailableError, DBAPIError)), manager.get_write_session() as session:
            session.execute(text("select 1"))
        wait_until(lambda: not manager.get_primary_status()["healthy"])
        begin = time.monotonic()
        for _ in range(100):
            with pytest.raises(PrimaryUnavailableError), manager.get_write_session() as session:
                session.execute(text("select 1"))
        assert time.monotonic() - begin < 5.0
        assert read_from(manager) in {host(lines, "db2"), host(lines, "db3")}


def test_without_any_host_a_read_fails_with_every_reason(lab: Lab, lines: dict[str, Relay]) -> None:
    options = replace(PATIENT, switchover_wait=0.1, connecting=Connecting(connect_timeout=2))
    with manager_of(lab, ports=ports(lines), options=options) as manager, ExitStack() as cuts:
        for line in lines.values():
            cuts.enter_context(line.cut())
        wait_until(lambda: not healthy(manager) and not manager.get_primary_status()["healthy"])
        with pytest.raises(NoReadableHostError) as caught:
            read_from(manager)
        assert set(caught.value.reasons) == {host(lines, node) for node in lines}


def test_what_the_last_replica_leaves_goes_to_the_primary(lines: dict[str, Relay], manager: ReadReplicaManager) -> None:
    with lines["db2"].cut(), lines["db3"].cut():
        assert {read_from(manager) for _ in range(20)} == {host(lines, "db1")}


def test_or_is_refused_where_the_primary_shall_not_stand_in(lab: Lab, lines: dict[str, Relay]) -> None:
    with (
        manager_of(lab, ports=ports(lines), fallback_to_primary=False) as manager,
        lines["db2"].cut(),
        lines["db3"].cut(),
        pytest.raises(NoReadableHostError, match="does not stand in"),
    ):
        read_from(manager)


def test_a_session_that_is_ended_alone_takes_no_host_out(lab: Lab) -> None:
    """idle_in_transaction_session_timeout, which the router sets itself, says nothing of the server."""
    options = replace(PATIENT, connecting=Connecting(idle_in_transaction_timeout=0.2))
    with manager_of(lab, options=options) as manager:
        with manager.get_read_session() as session:
            own = pid(session)
            node = "db2" if session.host == lab.id("db2") else "db3"
            statement = f"select count(*) from pg_stat_activity where pid = {own}"
            wait_until(lambda: lab.sql(node, statement) == [(0,)])  # type: ignore[arg-type]
            with pytest.raises(DBAPIError):
                session.execute(text("select 1"))
        assert healthy(manager) == {lab.id("db2"), lab.id("db3")}
