"""Reading one's own writes, and never going back in time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from sqlalchemy import text

from replctl.router import NoReadableHostError, ReadReplicaManager, Token
from tests.relay import Relay
from tests.router.labs import Lab, wait_until
from tests.router.managers import PATIENT, healthy, manager_of

CLIENTS = 6
COUNT = text("select count(*) from seen")
TOLERANT = replace(PATIENT, token_wait=0.1)


@pytest.fixture
def manager(lab: Lab) -> Iterator[ReadReplicaManager]:
    lab.app("db1", "drop table if exists seen; create table seen (i int)")
    wait_until(lab.is_caught_up)
    with manager_of(lab, options=TOLERANT, max_lag_ms=600_000) as manager:
        yield manager


def write(manager: ReadReplicaManager) -> Token:
    with manager.get_write_session() as session:
        session.execute(text("insert into seen values (1)"))
        session.commit()
        return session.take_token()


def count(manager: ReadReplicaManager, token: Token | None) -> tuple[int, str]:
    with manager.get_read_session(token) as session:
        return int(session.scalar(COUNT) or 0), str(session.host)


def test_a_token_stands_behind_the_commit_and_on_the_primarys_timeline(lab: Lab, manager: ReadReplicaManager) -> None:
    before = lab.sql("db1", "select pg_current_wal_lsn() - '0/0', timeline_id from pg_control_checkpoint()")[0]
    token = write(manager)
    assert token.lsn > before[0]
    assert token.timeline == before[1]
    assert token.system_identifier == lab.sql("db1", "select system_identifier from pg_control_system()")[0][0]
    assert write(manager).lsn > token.lsn


def test_a_replica_that_covers_the_token_serves_it(lab: Lab, manager: ReadReplicaManager) -> None:
    token = write(manager)
    wait_until(lab.is_caught_up)
    hosts = {count(manager, token) for _ in range(20)}
    assert hosts <= {(1, lab.id("db2")), (1, lab.id("db3"))}


def test_only_the_replica_that_covers_it_serves_it(lab: Lab, manager: ReadReplicaManager) -> None:
    with lab.paused("db2"):
        token = write(manager)
        wait_until(lambda: lab.app("db3", "select count(*) from seen") == [(1,)])
        assert {count(manager, token) for _ in range(6)} == {(1, lab.id("db3"))}
        assert {count(manager, None)[0] for _ in range(6)} == {0, 1}


def test_a_replica_is_waited_for_that_will_cover_it(lab: Lab, manager: ReadReplicaManager) -> None:
    with manager_of(lab, options=replace(PATIENT, token_wait=30.0), max_lag_ms=600_000) as patient:
        paused = lab.paused("db2", "db3")
        with ExitStack() as pauses:
            pauses.enter_context(paused)
            token = write(manager)
            # Each is asked once before replay goes on, and knows of no pause afterwards.
            lab.resume("db3")
            assert count(patient, token) == (1, lab.id("db3"))


def test_what_no_replica_will_cover_is_read_from_the_primary_at_once(lab: Lab, manager: ReadReplicaManager) -> None:
    options = replace(PATIENT, token_wait=60.0)
    with manager_of(lab, options=options, max_lag_ms=600_000) as patient, lab.paused("db2", "db3"):
        wait_until(lambda: all(status["paused"] for status in patient.get_replica_status().values()))
        begin = time.monotonic()
        assert count(patient, write(manager)) == (1, lab.id("db1"))
        assert time.monotonic() - begin < 30.0


def test_or_is_refused_where_the_primary_shall_not_stand_in(lab: Lab, manager: ReadReplicaManager) -> None:
    with manager_of(lab, options=TOLERANT, max_lag_ms=600_000, fallback_to_primary=False) as strict:
        with lab.paused("db2", "db3"), pytest.raises(NoReadableHostError) as caught:
            count(strict, write(manager))
        assert set(caught.value.reasons.values()) == {"has not replayed what was seen before"}


def test_a_token_of_another_cluster_asks_for_nothing(lab: Lab, manager: ReadReplicaManager) -> None:
    token = replace(write(manager), system_identifier=1, lsn=2**60)
    assert count(manager, token)[1] in {lab.id("db2"), lab.id("db3")}


def test_a_token_of_a_timeline_that_is_not_there_is_served_by_nobody(manager: ReadReplicaManager) -> None:
    token = write(manager)
    with pytest.raises(NoReadableHostError, match="no host has what was seen before"):
        count(manager, replace(token, timeline=token.timeline + 5))


def test_a_token_of_a_read_never_lets_a_client_see_an_earlier_moment(lab: Lab, manager: ReadReplicaManager) -> None:
    with lab.paused("db2"):
        write(manager)
        wait_until(lambda: lab.app("db3", "select count(*) from seen") == [(1,)])
        with manager_of(lab, replicas=("db3",), max_lag_ms=600_000) as near, near.get_read_session() as session:
            assert session.scalar(COUNT) == 1
            token = session.take_token()
        assert {count(manager, token) for _ in range(6)} == {(1, lab.id("db3"))}


class Ledger:
    """Clients that each add to a counter of their own, read it, and note how often it went back."""

    def __init__(self, manager: ReadReplicaManager) -> None:
        self._manager = manager
        self.went_back = 0
        self.reads = 0
        self.hosts: set[str | None] = set()
        self._lock = threading.Lock()

    def run(self, *, with_tokens: bool, rounds: int = 15) -> None:
        clients = [threading.Thread(target=self._client, args=(n, with_tokens, rounds)) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

    def _client(self, number: int, with_tokens: bool, rounds: int) -> None:
        token: Token | None = None
        newest = 0
        chance = random.Random(number)
        for value in range(1, rounds + 1):
            with self._manager.get_write_session() as session:
                session.execute(text("update ledger set value = :v where client = :c"), {"v": value, "c": number})
                session.commit()
                token = session.take_token().latest(token) if with_tokens else None
                newest = value
            for _ in range(chance.randint(1, 4)):
                with self._manager.get_read_session(token) as read:
                    shown = int(read.scalar(text("select value from ledger where client = :c"), {"c": number}) or 0)
                    token = read.take_token().latest(token) if with_tokens else None
                with self._lock:
                    self.reads += 1
                    self.went_back += shown < newest
                    self.hosts.add(read.host)
                newest = max(newest, shown)


@pytest.mark.parametrize("with_tokens", [True, False], ids=["with tokens", "without"])
def test_no_clients_counter_goes_back_with_tokens_and_it_does_without(lab: Lab, with_tokens: bool) -> None:
    lab.app("db1", "drop table if exists ledger; create table ledger (client int primary key, value int)")
    lab.app("db1", "insert into ledger select n, 0 from generate_series(0, 5) as n")
    wait_until(lab.is_caught_up)
    over = threading.Event()

    def hiccups() -> None:
        while not over.wait(0.05):
            with lab.paused("db2"):
                over.wait(0.05)

    (conninfo,) = lab.sql("db3", "show primary_conninfo")[0]
    with Relay(lab.port("db1")) as line, line.slow(0.02), manager_of(lab, max_lag_ms=600_000) as manager:
        behind = str(conninfo).replace(f"port={lab.port('db1')}", f"port={line.port}").replace("'", "''")
        lab.sql("db3", f"alter system set primary_conninfo = '{behind}'")  # type: ignore[arg-type]
        lab.sql("db3", "select pg_reload_conf()")
        unsteady = threading.Thread(target=hiccups)
        unsteady.start()
        ledger = Ledger(manager)
        try:
            wait_until(lambda: healthy(manager) == {lab.id("db2"), lab.id("db3")})
            ledger.run(with_tokens=with_tokens)
        finally:
            over.set()
            unsteady.join()
            original = str(conninfo).replace("'", "''")
            lab.sql("db3", f"alter system set primary_conninfo = '{original}'")  # type: ignore[arg-type]
            lab.sql("db3", "select pg_reload_conf()")
    assert ledger.reads >= CLIENTS * 15
    if with_tokens:
        assert ledger.went_back == 0
    else:
        assert ledger.went_back > 0
