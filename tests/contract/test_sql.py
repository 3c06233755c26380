"""What every Database promises, over every route to a real server."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from replctl.model.errors import ConnectionLostError, ReplctlError, SqlError, UnreachableError
from replctl.model.inventory import Node
from replctl.model.secret import Passwords, Secret
from replctl.remote.ports import Database, Fleet
from replctl.remote.sql import scram_verifier
from tests.contract.routes import OS_USER, eventually
from tests.contract.scratch_postgres import not_accepting
from tests.contract.sql_site import DB1, PASSWORDS, Site
from tests.contract.sshd import free_port, serving


def refusal(site: Site, node: Node, passwords: Passwords = PASSWORDS, admin: str = "postgres") -> ReplctlError:
    fleet = site.fleet(node, passwords, admin)
    with pytest.raises(ReplctlError) as caught:
        fleet[DB1].database(timeout=5)
    fleet.close()
    return caught.value


def insert_and(database: Database, number: int, then: Callable[[], object]) -> None:
    with database.transaction():
        database.execute("insert into ledger values (%s)", (number,), timeout=4)
        then()


class TestStatements:
    def test_rows(self, database: Database) -> None:
        rows = database.fetch("select g as number, 'é' as text from generate_series(1, 2) g")
        assert rows == [{"number": 1, "text": "é"}, {"number": 2, "text": "é"}]

    def test_parameters(self, database: Database) -> None:
        assert database.fetch("select %s as x, %s as y", (1, "it's"))[0] == {"x": 1, "y": "it's"}
        assert database.fetch("select %(x)s as x", {"x": [1, 2]})[0] == {"x": [1, 2]}
        assert database.fetch("select '%' as x, 5 % 3 as y")[0] == {"x": "%", "y": 2}

    def test_autocommit(self, fleet: Fleet, database: Database) -> None:
        database.execute("create table autocommit (x int)")
        assert fleet[DB1].database().fetch("select count(*) as n from autocommit")[0]["n"] == 0
        database.execute("drop table autocommit")
        database.execute("checkpoint")

    def test_a_big_answer(self, database: Database) -> None:
        assert len(database.fetch("select repeat('x', 20000000) as x")[0]["x"]) == 20_000_000

    def test_a_big_question(self, database: Database) -> None:
        assert database.fetch("select length(%s) as n", ("x" * 5_000_000,))[0]["n"] == 5_000_000

    def test_session(self, database: Database) -> None:
        row = database.fetch(
            "select application_name as name, current_setting('client_encoding') as encoding, usename as who "
            "from pg_stat_activity where pid = pg_backend_pid()"
        )[0]
        assert row == {"name": "replctl", "encoding": "UTF8", "who": "postgres"}

    def test_options(self, fleet: Fleet) -> None:
        options = "-c log_statement=none -c work_mem=123kB"
        with_options = fleet[DB1].database(options=options)
        assert with_options.fetch("show work_mem")[0]["work_mem"] == "123kB"

    def test_transaction(self, database: Database) -> None:
        database.execute("create table ledger (x int)")
        with database.transaction():
            database.execute("insert into ledger values (1)", timeout=3)
        with pytest.raises(KeyError):
            insert_and(database, 2, lambda: {}["x"])
        with pytest.raises(SqlError):
            insert_and(database, 3, lambda: database.execute("no such statement"))
        assert database.fetch("select x from ledger", timeout=4) == [{"x": 1}]
        assert database.fetch("show statement_timeout", timeout=4) == [{"statement_timeout": "4s"}]
        database.execute("drop table ledger")

    def test_threads_take_turns(self, database: Database) -> None:
        with ThreadPoolExecutor(6) as threads:
            found = list(threads.map(lambda number: database.fetch("select %s as x", (number,))[0]["x"], range(50)))
        assert found == list(range(50))

    def test_sessions_in_parallel(self, fleet: Fleet) -> None:
        def ask(number: int) -> int:
            database = fleet[DB1].database()
            answer = database.fetch("select %s as x, pg_sleep(0.05)", (number,))[0]["x"]
            database.close()
            return answer

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(ask, range(16))) == list(range(16))

    def test_sqlstate_and_escaped_words(self, database: Database) -> None:
        with pytest.raises(SqlError) as caught:
            database.execute("do $$ begin raise exception E'one\\x1b[31m\\ntwo' using errcode = '22012'; end $$")
        assert caught.value.sqlstate == "22012"
        assert caught.value.message == r"db1: one\x1b[31m two"
        assert caught.value.hint

    def test_the_server_ends_what_takes_too_long(self, database: Database) -> None:
        started = time.monotonic()
        with pytest.raises(SqlError) as caught:
            database.fetch("select pg_sleep(30)", timeout=0.2)
        assert time.monotonic() - started < 1.5
        assert caught.value.sqlstate == "57014"
        assert database.fetch("select 1 as x")[0]["x"] == 1

    def test_a_frozen_server_costs_a_bounded_time(self, database: Database) -> None:
        pid = database.fetch("select pg_backend_pid() as pid")[0]["pid"]
        os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        try:
            with pytest.raises(ConnectionLostError):
                database.fetch("select 1", timeout=0.2)
            assert time.monotonic() - started < 4
        finally:
            os.kill(pid, signal.SIGCONT)
        with pytest.raises(ReplctlError):
            database.fetch("select 1")

    def test_a_session_that_is_ended(self, fleet: Fleet, database: Database) -> None:
        pid = database.fetch("select pg_backend_pid() as pid")[0]["pid"]
        fleet[DB1].database().fetch("select pg_terminate_backend(%s)", (pid,))
        with pytest.raises(ConnectionLostError), database.transaction():
            database.fetch("select pg_sleep(1)")
        database.close()


class TestLogin:
    def test_wrong_password(self, site: Site, way: str) -> None:
        error = refusal(site, site.node(way), replace(PASSWORDS, admin=Secret("wrong-canary")))
        assert isinstance(error, SqlError)
        assert error.sqlstate == "28P01"
        assert "does not let postgres in: password authentication failed" in error.message
        assert "canary" not in f"{error} {error!r} {error.hint} {error.__cause__!r} {error.__context__!r}"

    def test_no_such_database(self, fleet: Fleet) -> None:
        with pytest.raises(SqlError) as caught:
            fleet[DB1].database("nowhere")
        assert caught.value.sqlstate == "3D000"

    def test_no_line_in_pg_hba(self, site: Site) -> None:
        hba = site.server.data_dir / "pg_hba.conf"
        before = hba.read_text()
        hba.write_text("host all postgres 127.0.0.1/32 scram-sha-256\n")
        site.server.pg_ctl("reload")
        try:
            assert eventually(lambda: refused_with(site, "plain") == "28000")
        finally:
            hba.write_text(before)
            site.server.pg_ctl("reload")

    def test_too_many_sessions(self, site: Site, way: str) -> None:
        assert refused_with(site, "crowded", way) == "53300"

    def test_no_superuser(self, site: Site, way: str) -> None:
        error = refusal(site, site.node(way), replace(PASSWORDS, admin=Secret("plain")), "plain")
        assert isinstance(error, SqlError)
        assert (error.sqlstate, error.message) == ("42501", "plain on db1 is no superuser")

    def test_starting_up(self, site: Site, way: str) -> None:
        with not_accepting(site.server) as server:
            there = Site(server, site.sshd)
            # It listens a moment before it can answer.
            assert eventually(lambda: refused_with(there, "postgres", way) == "57P03")

    def test_nothing_listens(self, site: Site, way: str) -> None:
        error = refusal(site, site.node(way, port=free_port()))
        assert isinstance(error, UnreachableError)
        assert error.code == "connection-refused"

    def test_a_server_that_says_nothing(self, site: Site, way: str) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(8)
            fleet = site.fleet(site.node(way, port=listener.getsockname()[1]))
            started = time.monotonic()
            with pytest.raises(UnreachableError) as caught:
                fleet[DB1].database(timeout=0.5)
            assert time.monotonic() - started < 2
            fleet.close()
        assert caught.value.code == "timeout"

    def test_something_else_than_postgres(self, site: Site, way: str) -> None:
        error = refusal(site, site.node(way, port=site.sshd.port))
        assert isinstance(error, UnreachableError)

    def test_forwarding_forbidden(self, site: Site) -> None:
        with serving("AllowTcpForwarding no\n") as sshd:
            there = Site(site.server, sshd)
            error = refusal(there, there.node("tunnel"))
            assert error.code == "forwarding-forbidden"
            fleet = there.fleet(there.node("direct"))
            assert fleet[DB1].database().fetch("select 1 as x")[0]["x"] == 1
            fleet.close()

    def test_libpq_variables_have_no_effect(self, site: Site, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {
            "PGHOSTADDR": "127.0.0.9",
            "PGPORT": "1",
            "PGSERVICE": "nowhere",
            "PGSSLMODE": "verify-full",
            "PGOPTIONS": "-c work_mem=1MB -c statement_timeout=1",
            "PGREQUIREAUTH": "none",
            "PGTARGETSESSIONATTRS": "standby",
            "PGREQUIREPEER": "nobody",
        }.items():
            monkeypatch.setenv(name, value)
        fleet = site.fleet(site.node(way))
        assert fleet[DB1].database().fetch("show work_mem")[0]["work_mem"] == "4MB"
        fleet.close()

    def test_a_cleartext_password_is_never_sent(self, site: Site) -> None:
        hba = site.server.data_dir / "pg_hba.conf"
        before = hba.read_text()
        hba.write_text("host all all 127.0.0.1/32 password\n")
        site.server.pg_ctl("reload")
        try:
            assert eventually(lambda: refused(site, "direct"))
        finally:
            hba.write_text(before)
            site.server.pg_ctl("reload")
            assert eventually(lambda: not refused(site, "direct"))


def refused_with(site: Site, admin: str, way: str = "tunnel") -> str | None:
    error = refusal(site, site.node(way), replace(PASSWORDS, admin=Secret(admin)), admin)
    return getattr(error, "sqlstate", None)


def refused(site: Site, way: str) -> bool:
    fleet = site.fleet(site.node(way))
    try:
        fleet[DB1].database()
    except ReplctlError:
        return True
    else:
        return False
    finally:
        fleet.close()


class TestIdentity:
    def test_another_directory(self, site: Site, way: str) -> None:
        error = refusal(site, site.node(way, data_dir="/var/lib/postgresql/15/other"))
        assert error.code == "other-instance"
        assert str(site.server.data_dir) in error.message

    def test_a_symbolic_link_to_it(self, site: Site, way: str) -> None:
        link = site.server.folder / f"link-{way}"
        link.symlink_to(site.server.data_dir)
        fleet = site.fleet(site.node(way, data_dir=f"{link}/"))
        assert fleet[DB1].database().fetch("select 1 as x")[0]["x"] == 1
        fleet.close()


class TestReplicationLogin:
    def test_the_system_identifier(self, site: Site, fleet: Fleet, database: Database) -> None:
        wanted = database.fetch("select system_identifier::text as id from pg_control_system()")[0]["id"]
        assert fleet[DB1].replication_login("127.0.0.1", site.server.port, timeout=5) == wanted
        assert fleet[DB1].replication_login("localhost", site.server.port, timeout=5) == wanted

    def test_wrong_password(self, site: Site, way: str) -> None:
        fleet = site.fleet(site.node(way), replace(PASSWORDS, replication=Secret("wrong-canary")))
        with pytest.raises(SqlError) as caught:
            fleet[DB1].replication_login("127.0.0.1", site.server.port, timeout=5)
        fleet.close()
        assert caught.value.sqlstate == "28P01"
        assert "canary" not in caught.value.message

    def test_no_line_for_replication(self, site: Site, fleet: Fleet) -> None:
        hba = site.server.data_dir / "pg_hba.conf"
        before = hba.read_text()
        hba.write_text("host all all 127.0.0.1/32 scram-sha-256\n")
        site.server.pg_ctl("reload")
        try:
            assert eventually(lambda: self._state(site, fleet) == "28000")
        finally:
            hba.write_text(before)
            site.server.pg_ctl("reload")

    def _state(self, site: Site, fleet: Fleet) -> str | None:
        try:
            fleet[DB1].replication_login("127.0.0.1", site.server.port, timeout=5)
        except SqlError as error:
            return error.sqlstate
        return None

    def test_nothing_listens(self, fleet: Fleet) -> None:
        with pytest.raises(UnreachableError) as caught:
            fleet[DB1].replication_login("127.0.0.1", free_port(), timeout=5)
        assert caught.value.code == "connection-refused"


class TestHygiene:
    def test_verifier(self, database: Database) -> None:
        verifier = scram_verifier(database, "anyone", Secret("p"))
        assert verifier.startswith("SCRAM-SHA-256$4096:")
        assert verifier != scram_verifier(database, "anyone", Secret("p"))

    def test_nothing_is_left_in_the_temporary_folder(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        with tempfile.TemporaryDirectory(prefix="t") as short:
            monkeypatch.setattr(tempfile, "tempdir", short)
            self._come_and_go(site, Path(short))

    def _come_and_go(self, site: Site, temporary: Path) -> None:
        fleet = site.fleet(site.node("tunnel"))
        database = fleet[DB1].database()
        assert list(temporary.iterdir()) == []
        refusal(site, site.node("tunnel"), replace(PASSWORDS, admin=Secret("wrong")))
        fleet[DB1].replication_login("127.0.0.1", site.server.port, timeout=5)
        assert list(temporary.iterdir()) == []
        assert database.fetch("select 1 as x")[0]["x"] == 1
        fleet.close()

    def test_close_ends_everything(self, site: Site, way: str) -> None:
        before = threading.active_count()
        fleet = site.fleet(site.node(way))
        for _ in range(3):
            fleet[DB1].database().fetch("select 1")
        fleet[DB1].runner.run(["true"], timeout=5)
        fleet.close()
        assert eventually(lambda: threading.active_count() <= before)
        fleet.close()

    def test_a_lost_ssh_connection_breaks_the_session_and_a_new_one_works(self, site: Site) -> None:
        fleet = site.fleet(site.node("tunnel"))
        database = fleet[DB1].database()
        for pid in site.sshd.sessions(OS_USER):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(ConnectionLostError):
            database.fetch("select pg_sleep(5)", timeout=6)
        assert fleet[DB1].database().fetch("select 1 as x")[0]["x"] == 1
        fleet.close()
