"""Clients that commit one row after the other and remember which commits were acknowledged: one, or many."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from tests.real.hosts import Operator

RETRY_SECONDS = 0.002
CLIENTS = Path(__file__).with_name("ledger_clients.py")

Row = tuple[int, int]
"""A client and the number that it gave its row."""


def conninfo(operator: Operator) -> str:
    """The app's way to whichever node accepts writes."""
    hosts = [operator.lan[name].address for name in operator.lan.names]
    return make_conninfo(
        host=",".join(hosts),
        port=",".join("5432" for _ in hosts),
        user="chat",
        password=operator.passwords["app"],
        dbname="chatdb",
        target_session_attrs="read-write",
        connect_timeout=2,
        tcp_user_timeout=2000,
    )


class Writer:
    """Inserts as fast as it can into whichever node accepts writes, from entering its context until leaving it.

    With ``anew`` it logs in for every row.
    """

    def __init__(self, operator: Operator, table: str = "ledger", *, anew: bool = False) -> None:
        self._anew = anew
        self.errors: list[str] = []
        """What it was told beside acknowledgements."""
        self._conninfo = conninfo(operator)
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
                    for _ in itertools.count() if not self._anew else range(1):
                        if self._stop.is_set():
                            break
                        number += 1
                        connection.execute(f"insert into {self._table} values (%s)", [number])
                        self.acknowledged.append(number)
                        now = time.monotonic()
                        self.longest_gap, last = max(self.longest_gap, now - last), now
            except psycopg.Error as error:
                self.errors.append(str(error))
                time.sleep(RETRY_SECONDS)

    def missing(self, operator: Operator, primary: str) -> list[int]:
        """Acknowledged rows that the primary does not have."""
        with operator.connect(primary, "app") as connection:
            there = {row[0] for row in connection.execute(f"select n from {self._table}")}
        return [number for number in self.acknowledged if number not in there]


class Clients:
    """Many clients at once, from entering the context until leaving it.

    ``pause`` is how long each of them thinks between two rows, in seconds.
    """

    def __init__(self, operator: Operator, number: int = 64, *, pause: float = 0.05, table: str = "ledger64") -> None:
        self._conninfo = conninfo(operator)
        self._order = {"conninfo": self._conninfo, "table": table, "clients": number, "pause": pause}
        self._table = table
        self._acknowledged = 0
        self._last = ""
        self.seen: list[dict[str, Any]] = []
        """What each client did, once all have ended: ``number``, ``sent``, ``acknowledged``, ``unknown``,
        ``connections``."""

    def __enter__(self) -> Clients:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            # Without a key: a row that was written twice has to be there twice.
            connection.execute(f"create table {self._table} (client int not null, number int not null, words text)")
        self._program = subprocess.Popen(
            [sys.executable, CLIENTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._program.stdin.write(json.dumps(self._order) + "\n")
        self._program.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._program.stdin.close()
        try:
            self._program.wait(60)
        finally:
            self._program.kill()
            self._program.wait(10)
            self._reader.join(10)
            self._program.stdout.close()
        if kind is None:
            assert self._program.returncode == 0, "the clients broke off"
            self.seen = json.loads(self._last)

    def _read(self) -> None:
        for line in self._program.stdout:
            self._last = line
            if line.strip().isdigit():
                self._acknowledged = int(line)

    def wait_for_rows(self, more: int) -> None:
        """Until so many further commits were acknowledged, by whichever client."""
        goal, deadline = self._acknowledged + more, time.monotonic() + 60
        while self._acknowledged < goal:
            assert self._program.poll() is None, "the clients have ended"
            assert time.monotonic() < deadline, f"{self._acknowledged} of {goal} rows"
            time.sleep(0.01)

    @property
    def acknowledged(self) -> set[Row]:
        """Every row whose commit a client was told of."""
        return {(c["number"], n) for c in self.seen for n in set(range(1, c["sent"] + 1)) - set(c["unknown"])}

    @property
    def sent(self) -> set[Row]:
        return {(client["number"], number) for client in self.seen for number in range(1, client["sent"] + 1)}

    def rows(self, operator: Operator, node: str) -> Counter[Row]:
        """The rows that a node has, and how many times."""
        with operator.connect(node, "app") as connection:
            return Counter(connection.execute(f"select client, number from {self._table}").fetchall())
