"""A client that commits one row after the other and remembers which commits were acknowledged."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import psycopg
from psycopg.conninfo import make_conninfo

from tests.real.hosts import Operator

RETRY_SECONDS = 0.002


class Writer:
    """Inserts as fast as it can into whichever node accepts writes, from entering its context until leaving it."""

    def __init__(self, operator: Operator, table: str = "ledger") -> None:
        hosts = [operator.lan[name].address for name in operator.lan.names]
        self._conninfo = make_conninfo(
            host=",".join(hosts),
            port=",".join("5432" for _ in hosts),
            user="chat",
            password=operator.passwords["app"],
            dbname="chatdb",
            target_session_attrs="read-write",
            connect_timeout=2,
        )
        self._table = table
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.acknowledged: list[int] = []
        self.longest_gap = 0.0
        """Seconds between two acknowledged commits."""

    def __enter__(self) -> Writer:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute(f"create table if not exists {self._table} (n bigint primary key)")
        self._thread.start()
        self.wait_for_rows(20)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def wait_for_rows(self, more: int) -> None:
        """Until so many further commits were acknowledged."""
        goal, deadline = len(self.acknowledged) + more, time.monotonic() + 30
        while len(self.acknowledged) < goal:
            assert time.monotonic() < deadline, f"{len(self.acknowledged)} of {goal} rows"
            time.sleep(0.01)

    def _work(self) -> None:
        number, last = 0, time.monotonic()
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._conninfo, autocommit=True) as connection:
                    while not self._stop.is_set():
                        number += 1
                        connection.execute(f"insert into {self._table} values (%s)", [number])
                        self.acknowledged.append(number)
                        now = time.monotonic()
                        self.longest_gap, last = max(self.longest_gap, now - last), now
            except psycopg.Error:
                time.sleep(RETRY_SECONDS)

    def missing(self, operator: Operator, primary: str) -> list[int]:
        """Acknowledged rows that the primary does not have."""
        with operator.connect(primary, "app") as connection:
            there = {row[0] for row in connection.execute(f"select n from {self._table}")}
        return [number for number in self.acknowledged if number not in there]
