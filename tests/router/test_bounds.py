"""What a read may never do, and how much of a server the router may take."""

from __future__ import annotations

import asyncio
import io
import logging
import multiprocessing
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InternalError

from replctl.router import (
    Connecting,
    ManagerClosedError,
    NoReadableHostError,
    PrimaryUnavailableError,
    ReadReplicaManager,
    ReadSession,
    RouterOptions,
)
from tests.router.labs import Lab, wait_until
from tests.router.managers import PATIENT, healthy, manager_of, pid, read_from

OURS = """
select count(*) from pg_stat_activity
where usename = 'app' and application_name <> 'replctl-router' and pid <> pg_backend_pid()
"""
WRITES = ("create table never (i int)", "create temp table never (i int)", "select nextval('seen_once')")


def test_a_stampede_opens_no_more_connections_to_the_primary_than_are_allowed(lab: Lab) -> None:
    bounded = replace(PATIENT, fallback_connections=3, fallback_wait=0.05)
    outcomes: Counter[str] = Counter()
    most = 0
    with manager_of(lab, options=bounded, max_lag_ms=200) as manager, lab.paused("db2", "db3"):
        lab.sql("db1", "select pg_logical_emit_message(true, 'test', 'x')")
        wait_until(lambda: not healthy(manager))

        def read() -> None:
            try:
                with manager.get_read_session() as session:
                    session.execute(text("select pg_sleep(0.3)"))
                outcomes[str(session.host)] += 1
            except NoReadableHostError as error:
                outcomes[error.reasons[lab.id("db1")]] += 1

        threads = [threading.Thread(target=read) for _ in range(50)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, lab.sql("db1", OURS)[0][0])
        for thread in threads:
            thread.join()
    assert 1 <= most <= 3
    served, refused = outcomes[lab.id("db1")], outcomes["stands in for as many reads as it may"]
    assert served + refused == 50, outcomes
    assert min(served, refused) > 0


@pytest.mark.parametrize("statement", [*WRITES, "begin_write"])
@pytest.mark.parametrize("where", ["replica", "primary", "alone"])
def test_a_read_session_writes_nowhere(lab: Lab, where: str, statement: str) -> None:
    lab.app("db1", "create sequence if not exists seen_once")
    wait_until(lab.is_caught_up)
    replicas = {"replica": ("db2", "db3"), "primary": ("db2",), "alone": ()}[where]
    with manager_of(lab, replicas=replicas, max_lag_ms=200) as manager:
        if where == "primary":
            lab.stop("db2")
            wait_until(lambda: not healthy(manager))
        with manager.get_read_session() as session:
            if statement == "begin_write":
                with suppress(DBAPIError):  # may be refused, and must not help
                    session.execute(text("set transaction read write"))
                session.rollback()
                statement = WRITES[0]
            with pytest.raises(InternalError) as caught:
                session.execute(text(statement))
            if where != "replica":
                assert session.host == lab.id("db1")
        assert getattr(caught.value.orig, "sqlstate", "") == "25006"


def test_one_database_alone_is_read_from_and_written_to(lab: Lab) -> None:
    with manager_of(lab, replicas=()) as manager:
        with manager.get_write_session() as session:
            session.execute(text("create table if not exists alone (i int)"))
        assert read_from(manager) == lab.id("db1")
        assert manager.get_replica_status() == {}
        assert manager.get_primary_status()["healthy"] is True
        held = [manager.get_read_session() for _ in range(8)]  # not bounded as a stand-in is
        for session in held:
            session.execute(text("select 1"))
        for session in held:
            session.close()


def test_an_idle_transaction_is_ended(lab: Lab) -> None:
    options = replace(PATIENT, connecting=Connecting(idle_in_transaction_timeout=0.2))
    with manager_of(lab, options=options) as manager:
        with manager.get_write_session() as session:
            own = pid(session)
            wait_until(lambda: lab.sql("db1", f"select 1 from pg_stat_activity where pid = {own}") == [])  # type: ignore[arg-type]
            with pytest.raises(DBAPIError):
                session.execute(text("select 1"))
            session.rollback()
        with manager.get_write_session() as session:
            assert pid(session) != own


def test_a_unit_of_work_stays_on_one_connection(lab: Lab) -> None:
    with manager_of(lab) as manager, manager.get_read_session() as session:
        seen = {(pid(session), session.host) for _ in range(10)}
        session.rollback()
        seen |= {(pid(session), session.host) for _ in range(10)}
        assert len(seen) == 1


def test_a_pool_that_is_used_up_is_no_server_for_now(lab: Lab) -> None:
    """Reads go on to the next host; without one, and for writes, the application is told in the router's own words."""
    one = Connecting(pool={"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1})
    with manager_of(lab, options=replace(PATIENT, connecting=one), fallback_to_primary=False) as manager:
        with manager.get_write_session() as first, manager.get_write_session() as second:
            first.connection()
            with pytest.raises(PrimaryUnavailableError, match="are in use"):
                second.connection()
        with manager.get_read_session() as first, manager.get_read_session() as second:
            first.connection()
            second.connection()
            assert {first.host, second.host} == {lab.id("db2"), lab.id("db3")}
            with manager.get_read_session() as third, pytest.raises(NoReadableHostError, match="are in use"):
                third.connection()
        assert healthy(manager) == {lab.id("db2"), lab.id("db3")}, "no fault of the servers"


def test_least_connections_goes_by_what_is_checked_out(lab: Lab) -> None:
    with manager_of(lab, strategy="least_connections") as manager:
        held: list[ReadSession] = []
        for _ in range(6):
            session = manager.get_read_session()
            session.execute(text("select 1"))
            held.append(session)
        assert Counter(session.host for session in held) == {lab.id("db2"): 3, lab.id("db3"): 3}
        for session in held:
            if session.host == lab.id("db2"):
                session.close()
        assert {read_from(manager) for _ in range(6)} == {lab.id("db2")}
        for session in held:
            session.close()


CONFLICTS = ("max_standby_streaming_delay = 0", "hot_standby_feedback = off")


def test_a_conflict_with_recovery_is_repeated_only_where_that_is_allowed(lab: Lab) -> None:
    lab.app("db1", "drop table if exists versions; create table versions as select 1 as i from generate_series(1, 500)")
    for setting in CONFLICTS:
        lab.sql("db2", f"alter system set {setting}")  # type: ignore[arg-type]
    lab.sql("db2", "select pg_reload_conf()")
    wait_until(lab.is_caught_up)
    tries: list[str | None] = []

    def look(session: ReadSession) -> int:
        """The first time something removes what it sees."""
        tries.append(session.host)
        count = int(session.scalar(text("select count(*) from versions")) or 0)
        if len(tries) == 1:
            lab.app("db1", "update versions set i = i + 1")
            lab.sql("db1", "vacuum (freeze) versions")
            lab.sql("db1", "select pg_logical_emit_message(true, 'test', 'x')")  # which is flushed, as a vacuum is not
            wait_until(lab.is_caught_up)
        session.execute(text("select count(*) from versions"))
        return count

    try:
        with manager_of(lab, replicas=("db2",)) as manager:
            with manager.get_read_session() as session:
                session.execute(text("set transaction isolation level repeatable read"))
                with pytest.raises(DBAPIError) as caught:
                    look(session)
            assert getattr(caught.value.orig, "sqlstate", "") == "40001"
            assert tries == [lab.id("db2")]
            assert healthy(manager) == {lab.id("db2")}  # such an end of a session says nothing of the server
            tries.clear()

            def work(session: ReadSession) -> int:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
                return look(session)

            assert manager.run_idempotent_read(work) == 500
            assert len(tries) == 2
    finally:
        for setting in CONFLICTS:
            lab.sql("db2", f"alter system reset {setting.split()[0]}")  # type: ignore[arg-type]
        lab.sql("db2", "select pg_reload_conf()")


def _in_child(manager: ReadReplicaManager, answer: Any) -> None:
    with manager.get_read_session() as session:
        answer.put((pid(session), session.host))
    manager.dispose(1.0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own_and_leaves_the_parents_alone(lab: Lab) -> None:
    fork = multiprocessing.get_context("fork")
    with manager_of(lab) as manager, manager.get_read_session() as held:
        before = pid(held)
        idle = {read_from(manager) for _ in range(4)}
        answer = fork.Queue()
        child = fork.Process(target=_in_child, args=(manager, answer))
        child.start()
        theirs, where = answer.get(timeout=60)
        child.join(60)
        assert child.exitcode == 0
        assert theirs != before
        assert where in idle
        assert pid(held) == before
        assert {read_from(manager) for _ in range(4)} == idle
        answer.close()
        answer.join_thread()


def test_threads_share_a_manager(lab: Lab) -> None:
    with manager_of(lab) as manager:

        def read(_: int) -> str | None:
            return read_from(manager)

        with ThreadPoolExecutor(32) as threads:
            hosts = Counter(threads.map(read, range(640)))
        assert hosts == {lab.id("db2"): 320, lab.id("db3"): 320}
        assert sum(status["units"] for status in manager.get_replica_status().values()) == 640
        assert not any(status["connections"] for status in manager.get_replica_status().values())


def test_tasks_share_a_manager_and_nothing_holds_up_their_loop(lab: Lab) -> None:
    """As a token is waited for: that a replica has not replayed yet, and will not."""
    worst = 0.0

    async def ticks(over: asyncio.Event) -> None:
        nonlocal worst
        while not over.is_set():
            begin = time.monotonic()
            await asyncio.sleep(0.005)
            worst = max(worst, time.monotonic() - begin)

    async def main(manager: ReadReplicaManager) -> Counter[str | None]:
        async def read() -> str | None:
            async with manager.get_async_read_session(token) as session:
                await session.execute(text("select 1"))
                return session.host

        async with manager.get_async_write_session() as session:
            await session.execute(text("create table if not exists ticks (i int)"))
            await session.execute(text("insert into ticks values (1)"))
            await session.commit()
            token = await session.take_token()
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ticks(over))
            begin = time.monotonic()
            hosts = Counter(await asyncio.gather(*(read() for _ in range(4))))
            assert time.monotonic() - begin >= 1.0  # they did wait
            over.set()
        await manager.dispose_async()
        return hosts

    options = replace(PATIENT, token_wait=1.0)
    with manager_of(lab, options=options, max_lag_ms=60_000) as manager:
        lab.sql("db2", "alter system set recovery_min_apply_delay = '60s'")
        lab.sql("db3", "alter system set recovery_min_apply_delay = '60s'")
        for node in ("db2", "db3"):
            lab.sql(node, "select pg_reload_conf()")
        try:
            assert asyncio.run(main(manager)) == {lab.id("db1"): 4}
        finally:
            for node in ("db2", "db3"):
                lab.sql(node, "alter system reset recovery_min_apply_delay")
                lab.sql(node, "select pg_reload_conf()")
    assert worst < 0.9


def test_no_password_is_shown_anywhere(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    caplog.set_level(logging.DEBUG)
    told: list[object] = []
    password = lab.password("app")
    wrong = lab.url("db2").replace("@", "WRONG@")
    try:
        with manager_of(lab, max_lag_ms=200) as manager:
            told += [manager, vars(manager), manager.config, manager.live, manager.live and vars(manager.live)]
            with manager.get_read_session() as session:
                session.execute(text("select 1"))
                told += [session, vars(session), session.get_bind().engine, session.take_token()]
            lab.stop("db2")
            lab.stop("db3")
            wait_until(lambda: not healthy(manager))
            told += [manager.get_replica_status(), manager.get_primary_status()]
            told += [vars(host) for host in (manager.live.hosts if manager.live else ())]
            lab.start("db2")
        refused = ReadReplicaManager(wrong, [wrong], options=RouterOptions(first_probe_wait=20.0))
        with pytest.raises(NoReadableHostError) as caught:
            read_from(refused)
        told += [caught.value, caught.value.reasons, refused.get_primary_status()]
        refused.dispose()
        with pytest.raises(ManagerClosedError):
            refused.get_read_session().execute(text("select 1"))
    finally:
        logging.getLogger().removeHandler(handler)
    everything = [*map(repr, told), *map(str, told), caplog.text, written.getvalue()]
    assert not [one for one in everything if password in one]
    assert "authentication" in repr(told)
