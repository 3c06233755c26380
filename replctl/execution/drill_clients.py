"""The application of a drill: a writer that commits one row after the other, and readers where the env file has reads
go. They find their nodes as an application does, and know nothing of the switchovers beside them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, LiteralString

from replctl.envfile import listed_nodes
from replctl.model.drill import Acknowledged
from replctl.model.errors import InventoryError, ReplctlError
from replctl.model.inventory import Inventory
from replctl.model.values import NodeName
from replctl.remote.local_files import read_optional_text
from replctl.remote.ports import Clock, Database, Fleet

PAUSE_SECONDS = 0.01
"""Between two rows, and between two reads of one reader: as exact as an outage is measured."""
READERS_AT_FULL_PACE = 4
OPEN_SECONDS = 2.0
"""For a new session; a node that hangs is left for the next one."""
STATEMENT_SECONDS = 60.0
"""A commit may wait for a synchronous standby, which comes back in the course of a switchover."""
END_SECONDS = 5.0
"""For what is under way when the clients are stopped."""

_INSERT: Final[LiteralString] = "insert into replctl_drill.ledger values (%s)"
_READ: Final[LiteralString] = "select 1 as one from replctl_drill.ledger limit 1"
_IN_RECOVERY: Final[LiteralString] = "select pg_is_in_recovery() as yes"


@dataclass(slots=True)
class Sessions:
    """At most one open session a node, made when it is first asked for. For one thread."""

    fleet: Fleet
    dbname: str
    _open: dict[NodeName, Database] = field(default_factory=dict[NodeName, Database])

    def to(self, name: NodeName) -> Database:
        """Raises ReplctlError."""
        found = self._open.get(name)
        if found is None or not found.usable:
            self.drop(name)
            found = self._open[name] = self.fleet[name].database(self.dbname, timeout=OPEN_SECONDS)
        return found

    def drop(self, name: NodeName) -> None:
        """Close a session that failed."""
        if (found := self._open.pop(name, None)) is not None:
            found.close()

    def close(self) -> None:
        for name in tuple(self._open):
            self.drop(name)


class _Client:
    """One thread with sessions of its own, which takes its turns until it is stopped."""

    def __init__(self, sessions: Sessions, turn: Callable[[Sessions], None], pause: float = PAUSE_SECONDS) -> None:
        self._sessions = sessions
        self._turn = turn
        self._pause = pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask_to_end(self) -> None:
        self._over.set()

    def ended(self, seconds: float) -> bool:
        """Wait so long for the end of what is under way; whether it came."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while not self._over.is_set():
            self._turn(self._sessions)
            self._over.wait(self._pause)
        self._sessions.close()


class Writer:
    """Commits numbered rows on whichever node accepts writes. A number is sent once: what became of one that was not
    answered is not known, and it is not counted."""

    def __init__(self, names: Iterable[NodeName], clock: Clock) -> None:
        self._names = tuple(names)
        self._clock = clock
        self._numbers = itertools.count(1)
        self._last: NodeName | None = None
        self.acknowledged: list[Acknowledged] = []

    def turn(self, sessions: Sessions) -> None:
        """One row, on the node that took the last one if it still takes any."""
        for name in self._order():
            try:
                database = sessions.to(name)
                # A standby is asked first: every refused row would be an error in its log.
                if name != self._last and database.fetch(_IN_RECOVERY, timeout=STATEMENT_SECONDS)[0]["yes"]:
                    continue
                self._last = name
                number = next(self._numbers)
                database.execute(_INSERT, [number], timeout=STATEMENT_SECONDS)
            except ReplctlError:
                self._last = None
                sessions.drop(name)
                continue
            self.acknowledged.append(Acknowledged(number, name, self._clock.now()))
            return

    def _order(self) -> list[NodeName]:
        return sorted(self._names, key=lambda name: name != self._last)


class Listing:
    """Where the env file has reads go now: to the replicas that it lists, and without any to its primary."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._text: str | None = None
        self._readable: frozenset[NodeName] = frozenset()

    @property
    def readable(self) -> frozenset[NodeName]:
        text = _text_of(self._inventory.app.env_file)
        if text is not None and text != self._text:
            listed = listed_nodes(text, self._inventory)
            self._readable = frozenset(listed.replicas or [name for name in (listed.primary,) if name])
            self._text = text
        return self._readable


def _text_of(path: Path) -> str | None:
    try:
        return read_optional_text(path)
    except InventoryError:
        return None


class Reader:
    """Reads from one node, while the env file has reads go there."""

    def __init__(self, name: NodeName, inventory: Inventory, clock: Clock) -> None:
        self._name = name
        self._listing = Listing(inventory)
        self._clock = clock
        self.answered: list[float] = []
        """When, in seconds."""

    def turn(self, sessions: Sessions) -> None:
        if self._name not in self._listing.readable:
            return
        try:
            sessions.to(self._name).fetch(_READ, timeout=STATEMENT_SECONDS)
        except ReplctlError:
            sessions.drop(self._name)
            return
        self.answered.append(self._clock.now())


class Clients:
    """The writer and a reader a node, from ``start`` to ``stop``."""

    def __init__(self, fleet: Fleet, inventory: Inventory, clock: Clock) -> None:
        self._writer = Writer(inventory.nodes, clock)
        self._readers = [Reader(name, inventory, clock) for name in inventory.nodes]
        dbname = inventory.app.database
        # Many readers, each as busy, would take this machine's time from the switchover.
        pause = PAUSE_SECONDS * max(1, len(self._readers) // READERS_AT_FULL_PACE)
        self._clients = [
            _Client(Sessions(fleet, dbname), self._writer.turn),
            *(_Client(Sessions(fleet, dbname), reader.turn, pause) for reader in self._readers),
        ]
        self._clock = clock
        self._stopped_at: float | None = None

    def start(self) -> None:
        for client in self._clients:
            client.start()

    def stop(self) -> None:
        """What hangs is left to its daemon thread: its session ends with the command, and its row is not counted."""
        self._stopped_at = self._clock.now()
        for client in self._clients:
            client.ask_to_end()
        deadline = self._clock.now() + END_SECONDS
        for client in self._clients:
            client.ended(max(0.0, deadline - self._clock.now()))

    @property
    def acknowledged(self) -> tuple[Acknowledged, ...]:
        """Until now, in the order of the answers."""
        return tuple(self._writer.acknowledged)

    @property
    def reads(self) -> tuple[float, ...]:
        """When reads were answered. The end counts as one: until then nobody may have had an answer."""
        answered = [at for reader in self._readers for at in tuple(reader.answered)]
        end = [self._stopped_at] if self._stopped_at is not None and answered else []
        return (*answered, *end)
