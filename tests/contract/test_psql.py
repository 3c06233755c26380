"""SQL through psql at the local socket keeps the promises of every Database."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql

from replctl.model.errors import ConnectionLostError, ReplctlError, SqlError
from replctl.model.values import NodeName
from replctl.remote.psql import PsqlDatabase, open_psql
from replctl.remote.shell_runner import ShellRunner
from tests.contract.routes import Route
from tests.contract.scratch_postgres import BIN, Scratch, scratch

DB1 = NodeName("db1")
HOSTILE = [
    "it's",
    'a "b"',
    "\\",
    "\\q",
    "back\\nslash",
    "100 %",
    "%(x)s",
    ":name",
    ":'x'",
    "a\nb;\n\\! id",
    "é$$;--",
    "",
]


@pytest.fixture(scope="module")
def server() -> Iterator[Scratch]:
    with scratch() as server:
        hba = server.data_dir / "pg_hba.conf"
        hba.write_text("local all postgres peer\n" + hba.read_text())
        with (server.data_dir / "postgresql.conf").open("a") as conf:
            conf.write(f"unix_socket_directories = '{server.folder}'\n")
        server.folder.chmod(0o777)
        server.pg_ctl("restart", "-w", "-m", "fast")
        yield server


@pytest.fixture
def runner() -> Iterator[ShellRunner]:
    runner = Route("local").open()
    yield runner
    runner.close()


@pytest.fixture
def open_session(server: Scratch, runner: ShellRunner) -> Iterator[Callable[..., PsqlDatabase]]:
    opened: list[PsqlDatabase] = []

    def open_one(port: int = server.port, options: str = "") -> PsqlDatabase:
        opened.append(open_psql(runner, DB1, str(BIN), str(server.folder), port, options=options))
        return opened[-1]

    yield open_one
    for database in opened:
        database.close()


@pytest.fixture
def database(open_session: Callable[..., PsqlDatabase]) -> PsqlDatabase:
    return open_session()


def test_rows_have_their_types(database: PsqlDatabase) -> None:
    query = "select 1 as n, 9007199254740993 as big, 1.5 as x, true as yes, null as nothing, array['a', 'b'] as some"
    assert database.fetch(query) == [
        {"n": 1, "big": 9007199254740993, "x": 1.5, "yes": True, "nothing": None, "some": ["a", "b"]}
    ]
    assert database.fetch("select 1 as n where false") == []
    assert [row["n"] for row in database.fetch("select n from generate_series(1, 3) as n order by n -- all;")] == [
        1,
        2,
        3,
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_values_come_through_whatever_is_in_them(database: PsqlDatabase, text: str) -> None:
    assert database.fetch("select %(a)s as a, '%%' as percent", {"a": text}) == [{"a": text, "percent": "%"}]
    composed = sql.SQL("select {} as {}").format(sql.Literal(text), sql.Identifier(text or "x"))
    assert database.fetch(composed) == [{text or "x": text}]
    assert database.fetch("select 'b' = any(%(list)s) as there", {"list": ["a", "b", text]}) == [{"there": True}]


def test_a_refused_statement_has_its_sqlstate_and_the_session_goes_on(database: PsqlDatabase) -> None:
    with pytest.raises(SqlError) as error:
        database.execute("select 1 / 0")
    assert (error.value.sqlstate, error.value.node) == ("22012", DB1)
    assert "division by zero" in error.value.message
    assert database.fetch("select 1 as n") == [{"n": 1}]


def test_a_transaction_is_committed_at_its_end_or_rolled_back(database: PsqlDatabase) -> None:
    database.execute("create table t (n int)")
    with database.transaction():
        database.execute("insert into t values (1)")
    with pytest.raises(SqlError):
        insert(database, "2", "'x'")
    assert database.fetch("select n from t") == [{"n": 1}]
    database.execute("drop table t")


def insert(database: PsqlDatabase, *values: str) -> None:
    with database.transaction():
        for value in values:
            database.execute(sql.SQL("insert into t values ({})").format(sql.SQL(value)))


def test_a_slow_statement_is_ended(database: PsqlDatabase) -> None:
    with pytest.raises(SqlError) as error:
        database.fetch("select pg_sleep(60)", timeout=0.3)
    assert error.value.sqlstate == "57014"
    assert database.usable


def test_options_reach_the_server(open_session: Callable[..., PsqlDatabase]) -> None:
    database = open_session(options="-c log_statement=none -c work_mem=7MB")
    assert database.fetch("select current_setting('work_mem') as it") == [{"it": "7MB"}]


def test_no_statement_stands_in_a_process_list(database: PsqlDatabase) -> None:
    database.execute("select 'canary-in-a-statement'")
    assert not [line for line in cmdlines() if "canary-in-a-statement" in line]


def test_nobody_at_the_socket(open_session: Callable[..., PsqlDatabase]) -> None:
    with pytest.raises(ReplctlError) as error:
        open_session(port=1)
    assert "local socket" in error.value.message


def test_a_session_that_is_ended_is_told(database: PsqlDatabase) -> None:
    (row,) = database.fetch("select pg_backend_pid() as pid")
    os.kill(row["pid"], signal.SIGTERM)
    with pytest.raises((SqlError, ConnectionLostError)):
        use(database)


def use(database: PsqlDatabase) -> None:
    """psql tells only with a later statement that its session is gone."""
    for _ in range(3):
        database.fetch("select 1 as n")


def cmdlines() -> list[str]:
    found: list[str] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_text(errors="replace"))
    return found
