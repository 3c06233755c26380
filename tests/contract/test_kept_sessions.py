"""A session that an earlier block left open is used again, unless something happened to it."""

from __future__ import annotations

import pytest

from replctl.model.errors import SqlError
from replctl.remote.ports import Database, Fleet
from tests.contract.routes import eventually
from tests.contract.sql_site import DB1


class TestKeptSessions:
    PID = "select pg_backend_pid() as pid"

    def pid(self, fleet: Fleet) -> int:
        with fleet[DB1].session() as session:
            return session.fetch(self.PID)[0]["pid"]

    def test_a_session_is_used_again(self, fleet: Fleet) -> None:
        assert self.pid(fleet) == self.pid(fleet)

    def test_two_at_a_time_are_two(self, fleet: Fleet) -> None:
        with fleet[DB1].session() as one, fleet[DB1].session() as other:
            assert one.fetch(self.PID) != other.fetch(self.PID)

    def test_two_are_kept(self, fleet: Fleet, database: Database) -> None:
        others = "select count(*) as n from pg_stat_activity where application_name = 'replctl'"
        with fleet[DB1].session(), fleet[DB1].session(), fleet[DB1].session():
            assert database.fetch(others)[0]["n"] == 4
        assert eventually(lambda: database.fetch(others)[0]["n"] == 3)

    def test_one_that_failed_is_not(self, fleet: Fleet) -> None:
        before = self.pid(fleet)
        with pytest.raises(SqlError), fleet[DB1].session() as session, session.transaction():
            session.fetch("select 1 / 0")
        assert self.pid(fleet) != before

    def test_one_that_the_server_ended_is_not(self, fleet: Fleet, database: Database) -> None:
        before = self.pid(fleet)
        database.fetch("select pg_terminate_backend(%s)", (before,))
        gone = "select count(*) as n from pg_stat_activity where pid = %s"
        assert eventually(lambda: database.fetch(gone, (before,))[0]["n"] == 0)
        assert eventually(lambda: self.pid(fleet) != before)

    def test_one_that_was_left_in_a_transaction_is_not(self, fleet: Fleet) -> None:
        with fleet[DB1].session() as session:
            before = session.fetch(self.PID)[0]["pid"]
            session.execute("begin")
        assert self.pid(fleet) != before
