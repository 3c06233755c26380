"""The application of a drill, on nodes whose roles a test moves by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from replctl.envfile import managed_values, merge
from replctl.execution.drill_clients import Clients, Listing, Reader, Sessions, Writer
from replctl.model.errors import ConnectionLostError, SqlError
from replctl.model.secret import Passwords, Secret
from replctl.model.values import NodeName
from tests.unit.builders import a_cluster
from tests.unit.plans import DB1, DB2, DB3
from tests.unit.runs import Ticking

PASSWORDS = Passwords(Secret("a"), Secret("r"), Secret("c"))


@dataclass
class Place:
    """The servers: who is the primary, who is down, and what was committed."""

    primary: str = "db1"
    down: set[str] = field(default_factory=set)
    rows: list[int] = field(default_factory=list)
    lose_answer: bool = False
    """The next commit is carried out, and its answer is lost."""
    opened: list[str] = field(default_factory=list)

    def __getitem__(self, name: NodeName) -> Node:
        return Node(self, name)


@dataclass
class Node:
    place: Place
    name: str

    def database(self, _dbname: str, **_: Any) -> Server:
        if self.name in self.place.down:
            raise SqlError("the server is shutting down", hint="Wait.", node=None, sqlstate="57P03")
        self.place.opened.append(self.name)
        return Server(self.place, self.name)


@dataclass
class Server:
    place: Place
    name: str
    usable: bool = True

    def fetch(self, query: str, **_: Any) -> list[dict[str, Any]]:
        self._alive()
        return [{"yes": self.place.primary != self.name}] if "in_recovery" in query else []

    def execute(self, _query: str, params: list[int], **_: Any) -> None:
        self._alive()
        assert self.place.primary == self.name, "a standby was asked for a row"
        self.place.rows.append(params[0])
        if self.place.lose_answer:
            self.place.lose_answer = False
            self._break()

    def _alive(self) -> None:
        if self.name in self.place.down:
            self._break()

    def _break(self) -> None:
        self.usable = False
        raise ConnectionLostError("the session broke", hint="Again.", node=None)

    def close(self) -> None:
        self.usable = False


def a_writer(place: Place) -> tuple[Writer, Callable[[], None]]:
    writer, sessions = Writer([DB1, DB2, DB3], Ticking()), Sessions(place, "chatdb")
    return writer, lambda: writer.turn(sessions)


def test_the_writer_finds_the_primary_wherever_it_is() -> None:
    place = Place()
    writer, turn = a_writer(place)
    turn()
    turn()
    place.down.add("db1")
    turn()
    assert [row.node for row in writer.acknowledged] == ["db1", "db1"]
    place.primary = "db2"
    turn()
    place.down.clear()
    turn()
    place.down.add("db2")
    place.primary = "db1"
    turn()
    assert [row.node for row in writer.acknowledged] == ["db1", "db1", "db2", "db2", "db1"]
    assert [row.number for row in writer.acknowledged] == place.rows


def test_the_writer_keeps_to_one_session_while_it_works() -> None:
    place = Place("db3")
    _, turn = a_writer(place)
    for _ in range(5):
        turn()
    assert place.opened == ["db1", "db2", "db3"]


def test_a_row_whose_answer_was_lost_is_sent_once_and_not_counted() -> None:
    place = Place()
    writer, turn = a_writer(place)
    place.lose_answer = True
    turn()
    turn()
    assert len(place.rows) == len(set(place.rows)) == 2
    assert [row.number for row in writer.acknowledged] == place.rows[1:]


def inventory_with_env(folder: Path, primary: NodeName, *replicas: NodeName):
    inventory = a_cluster().primary("db1").replica("db2").replica("db3").build()[0]
    inventory = replace(inventory, app=replace(inventory.app, env_file=folder / "app.env"))
    write_env(inventory, primary, *replicas)
    return inventory


def write_env(inventory, primary: NodeName, *replicas: NodeName) -> None:
    values = managed_values(inventory, PASSWORDS, primary, replicas)
    inventory.app.env_file.write_text(merge(None, values).reveal())
    inventory.app.env_file.chmod(0o600)


def test_reads_go_where_the_env_file_has_them_go(tmp_path: Path) -> None:
    inventory = inventory_with_env(tmp_path, DB1, DB2, DB3)
    listing = Listing(inventory)
    assert listing.readable == {DB2, DB3}
    write_env(inventory, DB2)
    assert listing.readable == {DB2}, "with no replica, to the primary"
    inventory.app.env_file.unlink()
    assert listing.readable == {DB2}, "a file that is gone says nothing new"


def test_a_reader_reads_while_it_is_listed(tmp_path: Path) -> None:
    inventory = inventory_with_env(tmp_path, DB1, DB3)
    place = Place()
    reader, sessions = Reader(DB2, inventory, Ticking()), Sessions(place, "chatdb")
    reader.turn(sessions)
    assert reader.answered == []
    write_env(inventory, DB1, DB2, DB3)
    reader.turn(sessions)
    place.down.add("db2")
    reader.turn(sessions)
    assert len(reader.answered) == 1
    place.down.clear()
    reader.turn(sessions)
    assert len(reader.answered) == 2


def test_all_of_them_until_they_are_stopped(tmp_path: Path) -> None:
    place = Place()
    clients = Clients(place, inventory_with_env(tmp_path, DB1, DB2, DB3), Ticking())
    assert clients.reads == ()
    clients.start()
    while len(clients.acknowledged) < 5 or len(clients.reads) < 5:
        time.sleep(0.001)
    answered = len(clients.reads)
    clients.stop()
    rows = clients.acknowledged
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))
    assert len(clients.reads) > answered, "the end counts as an answer"
    assert clients.acknowledged == rows


def test_clients_that_never_began_are_stopped_all_the_same(tmp_path: Path) -> None:
    clients = Clients(Place(), inventory_with_env(tmp_path, DB1, DB2), Ticking())
    clients.stop()
    assert clients.acknowledged == ()
    assert clients.reads == ()
