"""A switchover reaches a running application by its env file: what is written, read and cut off meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from replctl.router import DatabaseConfig, PrimaryUnavailableError, ReadReplicaManager, ReadSession, RouterError
from tests.router.labs import Lab, wait_until
from tests.router.managers import PATIENT, following, healthy, manager_of, pid, read_from

PATIENT_READERS = replace(PATIENT, switchover_wait=30.0, fallback_wait=30.0)
WORKERS = 8


@dataclass
class Load:
    """Threads and tasks that read without a pause, and a thread that writes and notes when."""

    manager: ReadReplicaManager
    reads: int = 0
    failed: list[str] = field(default_factory=list)
    written: list[tuple[float, str | None]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, meanwhile: Callable[[], None]) -> None:
        workers = [threading.Thread(target=self._read) for _ in range(WORKERS)]
        workers += [threading.Thread(target=self._write), threading.Thread(target=lambda: asyncio.run(self._tasks()))]
        for worker in workers:
            worker.start()
        try:
            meanwhile()
        finally:
            self.over.set()
            for worker in workers:
                worker.join()

    def _read(self) -> None:
        while not self.over.wait(0.01):
            try:
                with self.manager.get_read_session() as session:
                    session.execute(text("select count(*) from load"))
                self.reads += 1
            except (RouterError, DBAPIError) as error:
                self.failed.append(f"{type(error).__name__}: {error}")

    async def _tasks(self) -> None:
        async def read() -> None:
            while not self.over.is_set():
                try:
                    async with self.manager.get_async_read_session() as session:
                        await session.execute(text("select count(*) from load"))
                    self.reads += 1
                except (RouterError, DBAPIError) as error:
                    self.failed.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(0.01)

        await asyncio.gather(*(read() for _ in range(WORKERS)))
        await self.manager.dispose_async()

    def _write(self) -> None:
        while not self.over.wait(0.01):
            try:
                with self.manager.get_write_session() as session:
                    session.execute(text("insert into load values (1)"))
            except (RouterError, DBAPIError):
                continue
            self.written.append((time.monotonic(), session.host))


class Published:
    """When the env file was replaced by one with another primary."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = DatabaseConfig.from_env_file(path, {}).primary
        self.at = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Published:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            if DatabaseConfig.from_env_file(self._path, {}).primary != self._before:
                self.at = time.monotonic()
                return


def test_a_switchover_under_load_fails_no_read_and_writes_go_on_at_the_new_primary(lab: Lab) -> None:
    lab.app("db1", "drop table if exists load; create table load (i int)")
    wait_until(lab.is_caught_up)
    with following(lab, PATIENT_READERS, max_replication_lag_ms=10_000.0) as manager, Published(lab.env_file) as file:
        load = Load(manager)

        def switch() -> None:
            wait_until(lambda: load.written)
            lab.promote("db2")
            wait_until(lambda: load.written[-1][1] == lab.id("db2"))
            wait_until(lambda: healthy(manager) == {lab.id("db1"), lab.id("db3")})

        load.run(switch)
        first = next(at for at, host in load.written if host == lab.id("db2"))
    assert load.failed == []
    assert load.reads > WORKERS
    assert first - file.at < 5.0, "a second on a machine that has nothing else to do"
    assert lab.app("db2", "select count(*) from load")[0][0] == len(load.written)


def swapped(manager: ReadReplicaManager, lab: Lab) -> DatabaseConfig:
    """The settings with db3 taken out."""
    return replace(manager.config, replicas=tuple(url for url in manager.config.replicas if url.id != lab.id("db3")))


def held(manager: ReadReplicaManager, host: str) -> tuple[ReadSession, int]:
    """A unit of work at a host, in progress."""
    while True:
        session = manager.get_read_session()
        own = pid(session)
        if session.host == host:
            return session, own
        session.close()


def test_a_unit_of_work_on_a_host_that_is_taken_out_may_finish(lab: Lab) -> None:
    with manager_of(lab, options=replace(PATIENT, drain_timeout=60.0)) as manager:
        session, own = held(manager, lab.id("db3"))
        manager.apply(swapped(manager, lab))
        assert {read_from(manager) for _ in range(4)} == {lab.id("db2")}
        assert pid(session) == own
        session.close()
        gone = f"select count(*) from pg_stat_activity where pid = {own}"
        wait_until(lambda: lab.sql("db3", gone) == [(0,)])  # type: ignore[arg-type]


def test_one_that_does_not_finish_in_time_is_cut_off(lab: Lab) -> None:
    with manager_of(lab, options=replace(PATIENT, drain_timeout=0.3)) as manager:
        session, own = held(manager, lab.id("db3"))
        manager.apply(swapped(manager, lab))
        gone = f"select count(*) from pg_stat_activity where pid = {own}"
        wait_until(lambda: lab.sql("db3", gone) == [(0,)])  # type: ignore[arg-type]
        with pytest.raises(DBAPIError):
            pid(session)
        session.close()
        assert healthy(manager) == {lab.id("db2")}


def test_hosts_that_stay_keep_their_connections(lab: Lab) -> None:
    with manager_of(lab) as manager:
        session, own = held(manager, lab.id("db2"))
        session.close()
        manager.apply(swapped(manager, lab))
        with manager.get_read_session() as after:
            assert pid(after) == own


def test_the_primary_keeps_its_connections_when_its_replicas_come_and_go(lab: Lab) -> None:
    """As they do in a switchover: the new primary is published alone at first."""

    def pid_of_writer() -> int:
        with manager.get_write_session() as session:
            return session.scalar(text("select pg_backend_pid()"))

    with manager_of(lab) as manager:
        own, config = pid_of_writer(), manager.config
        manager.apply(replace(config, replicas=()))
        assert pid_of_writer() == own
        manager.apply(config)
        assert pid_of_writer() == own
        assert healthy(manager) == {lab.id("db2"), lab.id("db3")}


def test_a_file_that_names_other_hosts_is_followed(lab: Lab) -> None:
    published = lab.env_file.read_text()
    line = f"DB_READ_REPLICA_URLS={lab.url('db2')}\n"
    with following(lab) as manager:
        assert healthy(manager) == {lab.id("db2"), lab.id("db3")}
        kept = [one for one in published.splitlines() if not one.startswith("DB_READ_REPLICA_URLS=")]
        beside = lab.env_file.with_name("app.env.new")
        try:
            beside.write_text("\n".join([*kept, line]))
            beside.replace(lab.env_file)
            wait_until(lambda: set(manager.get_replica_status()) == {lab.id("db2")})
            assert read_from(manager) == lab.id("db2")
        finally:
            beside.write_text(published)
            beside.chmod(0o600)
            beside.replace(lab.env_file)
        wait_until(lambda: healthy(manager) == {lab.id("db2"), lab.id("db3")})


def write_often(manager: ReadReplicaManager) -> None:
    for _ in range(100):
        with manager.get_write_session() as session:
            session.execute(text("insert into stopped values (1)"))


def test_a_primary_that_takes_no_writes_any_more_stops_them_at_once(lab: Lab) -> None:
    """As a demoted one does, that is still at its old address (SQLSTATE 25006): before any probe has looked."""
    lab.app("db1", "create table if not exists stopped (i int)")
    with manager_of(lab, health_check_interval=3600, lag_check_enabled=False) as manager:
        with manager.get_write_session() as session:
            session.execute(text("insert into stopped values (1)"))
        lab.sql("db1", "alter system set default_transaction_read_only = on")
        lab.sql("db1", "select pg_reload_conf()")
        try:
            wait_until(lambda: lab.app("db1", "show default_transaction_read_only") == [("on",)])
            with pytest.raises(DBAPIError) as caught:
                write_often(manager)  # its session reads the setting a moment after others
            assert getattr(caught.value.orig, "sqlstate", "") == "25006"
            assert not manager.get_primary_status()["healthy"]
            with pytest.raises(PrimaryUnavailableError), manager.get_write_session() as session:
                session.execute(text("insert into stopped values (1)"))
        finally:
            lab.sql("db1", "alter system reset default_transaction_read_only")
            lab.sql("db1", "select pg_reload_conf()")


def test_a_standby_at_the_primarys_address_is_not_written_to(lab: Lab) -> None:
    with manager_of(lab, primary="db2", replicas=("db3",)) as manager:
        assert manager.get_primary_status()["reason"] == "is in recovery: another host is the primary, or none is"
        with pytest.raises(PrimaryUnavailableError, match="is in recovery"), manager.get_write_session() as session:
            session.execute(text("insert into load values (1)"))
