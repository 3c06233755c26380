"""A server of nobody's choosing: it speaks PostgreSQL's protocol, and never comes to an end."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.waiting import Wait

from replctl.model.errors import ConnectionLostError
from replctl.model.secret import Secret
from replctl.model.values import NodeName
from replctl.remote.sql import SqlDatabase, TimedConnection
from replctl.remote.sql_connect import Endpoint, Login, connect

NODE = NodeName("db1")
READY = b"Z" + struct.pack("!ic", 5, b"I")
WELCOME = b"R" + struct.pack("!ii", 8, 0) + READY
DONE = b"C" + struct.pack("!i", 8) + b"SET\0" + READY
COLUMNS = b"T" + struct.pack("!ih", 26, 1) + b"x\0" + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
ROW = b"D" + struct.pack("!ihi", 10 + 4000, 1, 4000) + bytes(4000)


def serve(listener: socket.socket) -> None:
    """Let in whoever comes, take one setting, and answer the query behind it with rows for ever."""
    with contextlib.suppress(OSError):
        client, _ = listener.accept()
        with client:
            for answer in (WELCOME, DONE, COLUMNS):
                client.recv(4096)
                client.sendall(answer)
            while True:
                client.sendall(ROW)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqlDatabase]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / ".s.PGSQL.5432"))
        listener.listen(1)
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        endpoint = Endpoint(NODE, "db1:5432", str(tmp_path), 5432)
        session = TimedConnection(connect(endpoint, Login("postgres", Secret("x"), "postgres"), 10.0))
        with contextlib.closing(SqlDatabase(NODE, session, lambda: None)) as database:
            yield database
        server.join(10)


def test_rows_without_end_are_cut_off(database: SqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replctl.remote.sql._GRACE_SECONDS", 0.1)
    with pytest.raises(ConnectionLostError, match="does not answer any more"):
        database.fetch("select x from rows", timeout=0.1)
    assert not database.usable


def test_one_that_never_pauses_does_not_outlast_the_deadline(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is always something to read."""
    monkeypatch.setattr("replctl.remote.sql._GRACE_SECONDS", 0.1)
    session = database._connection
    session.pgconn.send_query(b"set x = 1")
    session.pgconn.flush()
    session.deadline = time.monotonic() + 0.1
    with pytest.raises(TimeoutError):
        session.wait(reading_for_ever())


def reading_for_ever() -> Iterator[Wait]:
    while True:
        yield Wait.R
