"""One question to one server: what it is, and how far it is. On a connection of its own, within a deadline.

The application's role may ask all of it. Only who belongs to pg_read_all_stats is told which timeline a walreceiver
receives; for others the timeline of the last restart point is a lower bound.
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass

import psycopg
from psycopg import pq

from replctl.router.urls import DatabaseUrl

SQL = b"""\
select pg_is_in_recovery(),
       (pg_control_system()).system_identifier,
       case when pg_is_in_recovery()
            then coalesce((select received_tli from pg_stat_wal_receiver),
                          greatest((pg_control_checkpoint()).timeline_id,
                                   (pg_control_recovery()).min_recovery_end_timeline))
            else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int8 end,
       exists (select from pg_stat_wal_receiver where received_tli is not null),
       case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end - '0/0',
       exists (select from pg_stat_wal_receiver where pid is not null),
       case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() <> 'not paused' else false end,
       current_setting('transaction_read_only')::bool
"""
STATEMENT = b"look"


@dataclass(frozen=True, slots=True)
class Observation:
    """What a server said of itself; ``asked`` is the moment (monotonic seconds) just before it was asked."""

    asked: float
    in_recovery: bool
    system_identifier: int
    timeline: int
    timeline_is_exact: bool
    """False: it may follow a later timeline than this one."""
    lsn: int | None
    """Bytes: replayed by a replica, written by a primary. None is unknown."""
    has_receiver: bool
    """A walreceiver runs. It may still wait for its primary."""
    paused: bool
    """Pause of replay is requested, or reached."""
    read_only: bool
    """Transactions begin read-only: no primary to write to."""


class ProbeFailedError(Exception):
    """The server did not answer as it should. Its text holds no password."""


class ProbeConnection:
    """A connection for probes alone. Not thread-safe. Nothing here waits longer than ``timeout`` seconds."""

    def __init__(self, url: DatabaseUrl, timeout: float) -> None:
        self.url = url
        self.timeout = timeout
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

    def ask(self) -> Observation:
        """Raises ProbeFailedError; the next question then goes over a new connection."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            asked = time.monotonic()
            return _observation(asked, self._fetch(self._connection.pgconn, asked + self.timeout))
        except (psycopg.Error, OSError) as error:
            self.close()
            raise ProbeFailedError(_first_line(str(error))) from None

    def close(self) -> None:
        """Says no farewell to a server that may not listen."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        # libpq counts whole seconds, and takes 1 for 2 (PQconnectdbParams; conninfo "connect_timeout").
        ours = {"connect_timeout": max(2, round(self.timeout)), "application_name": "replctl-router"}
        connection = psycopg.connect(**{**self.url.connect_args, **ours}, autocommit=True)  # pyright: ignore[reportArgumentType]
        connection.execute("select set_config('statement_timeout', %s, false)", [str(round(self.timeout * 1000))])
        # Planning takes most of the server's time for it, and is done once so.
        connection.pgconn.prepare(STATEMENT, SQL)
        return connection

    def _fetch(self, connection: pq.abc.PGconn, deadline: float) -> pq.abc.PGresult:
        # libpq's own calls: psycopg's wait for a result as long as the server's kernel keeps the connection up.
        connection.send_query_prepared(STATEMENT, None)
        answer = select.poll()
        answer.register(connection.socket, select.POLLIN)
        results: list[pq.abc.PGresult] = []
        while True:
            while connection.is_busy():
                left = deadline - time.monotonic()
                if left <= 0 or not answer.poll(left * 1000):
                    raise psycopg.OperationalError(f"no answer within {self.timeout:g} s")
                connection.consume_input()
            result = connection.get_result()
            if result is None:
                break
            results.append(result)
        if not results or results[-1].status != pq.ExecStatus.TUPLES_OK:
            message = results[-1].error_message.decode(errors="replace") if results else "no result"
            raise psycopg.OperationalError(message)
        return results[-1]


def _observation(asked: float, result: pq.abc.PGresult) -> Observation:
    row = [result.get_value(0, column) for column in range(8)]
    return Observation(
        asked=asked,
        in_recovery=row[0] == b"t",
        system_identifier=int(row[1] or 0),
        timeline=int(row[2] or 0),
        timeline_is_exact=row[0] == b"f" or row[3] == b"t",
        lsn=int(row[4]) if row[4] is not None else None,
        has_receiver=row[5] == b"t",
        paused=row[6] == b"t",
        read_only=row[7] == b"t",
    )


def _first_line(message: str) -> str:
    return message.strip().split("\n", 1)[0] or "it could not be asked"
