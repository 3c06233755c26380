"""A switchover as an expert would write it by hand for the hosts of one machine, without SSH.

It keeps every promise that replctl keeps: nothing acknowledged is lost, which it proves by the positions, and the old
primary is a standby on its disk before the other one is promoted. What can be done beforehand is done beforehand.
pg_control is read and the postmaster is signalled without any program in between, and every wait looks again after a
millisecond.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from bench.lan import data_dir
from replctl.remote.waiting import NeverCancelled, SystemClock, Waiting
from tests.real.hosts import Operator

T = TypeVar("T")
LOOK_SECONDS = 0.001
PATIENCE_SECONDS = 60.0
WAKE_AFTER = 50
"""Looks."""
SHUT_DOWN = 1
"""DB_SHUTDOWNED (src/include/catalog/pg_control.h)."""
CONTROL = struct.Struct("=QIIi4xqQ")
"""System identifier, two versions, state, time, and where the last checkpoint begins."""
MAKE_SLOT = """
select pg_create_physical_replication_slot(%(name)s, true)
 where not exists (select from pg_replication_slots where slot_name = %(name)s)
"""


@dataclass(frozen=True)
class Member:
    """One of the two servers: its directory as this machine sees it, and its postmaster's number here."""

    directory: Path
    postmaster: int

    @classmethod
    def of(cls, operator: Operator, name: str, version: int) -> Member:
        host = operator.lan[name]
        return cls(host.path(data_dir(version)), host.postmaster(data_dir(version)))

    @property
    def shutdown_record(self) -> int | None:
        """Once the server is shut down."""
        control = (self.directory / "global/pg_control").read_bytes()
        *_, state, _, checkpoint = CONTROL.unpack(control[: CONTROL.size])
        return checkpoint if state == SHUT_DOWN else None


def switch_over(operator: Operator, old: str, new: str, version: int) -> None:
    """Until ``new`` takes writes. The old primary is left stopped, the others follow it still."""
    stopped, promoted = (Member.of(operator, name, version) for name in (old, new))
    with operator.connect(new) as candidate:
        make_slots(operator, new, candidate)
        standby = (stopped.directory, own_conninfo(operator, old, new, candidate), f"replctl_{old}")
        with operator.connect(old) as primary:
            primary.execute("checkpoint")
            primary.execute("checkpoint")
        # The fast shutdown (PostgreSQL's documentation, "Shutting Down the Server").
        os.kill(stopped.postmaster, signal.SIGINT)
        record = until(lambda: stopped.shutdown_record)
        until(lambda: replayed(candidate) > record)
        make_standby(*standby)
        # What `pg_ctl promote` does.
        write_durably(promoted.directory / "promote", "")
        os.kill(promoted.postmaster, signal.SIGUSR1)
        looks = count(1)
        until(lambda: not in_recovery(candidate, next(looks)))


def in_recovery(candidate: psycopg.Connection[Any], look: int) -> bool:
    """A promotion that was asked for just after the primary went away may sleep for five seconds
    (wal_retrieve_retry_interval), and a reload wakes it."""
    wake = " and pg_reload_conf()" if look % WAKE_AFTER == 0 else ""
    return bool(fetch(candidate, f"select pg_is_in_recovery(){wake}"))


def make_slots(operator: Operator, new: str, candidate: psycopg.Connection[Any]) -> None:
    """For all who will follow."""
    for name in operator.lan.names:
        if name != new:
            candidate.execute(MAKE_SLOT, {"name": f"replctl_{name}"})


def own_conninfo(operator: Operator, old: str, new: str, candidate: psycopg.Connection[Any]) -> str:
    """What the old primary will connect with: as the candidate does now, with the roles swapped."""
    conninfo = str(fetch(candidate, "show primary_conninfo"))
    conninfo = conninfo.replace(operator.lan[old].address, operator.lan[new].address)
    return conninfo.replace(f"application_name={new}", f"application_name={old}")


def replayed(candidate: psycopg.Connection[Any]) -> int:
    """Moves at the ends of records: past the beginning of one means that all of it was replayed."""
    high, low = str(fetch(candidate, "select pg_last_wal_replay_lsn()")).split("/")
    return (int(high, 16) << 32) + int(low, 16)


def make_standby(directory: Path, conninfo: str, slot: str) -> None:
    """A standby from here on, whoever starts it; durably."""
    path, new = directory / "postgresql.auto.conf", directory / "postgresql.auto.conf.new"
    kept = [line for line in path.read_text().splitlines() if not re.match("primary_(conninfo|slot_name)", line)]
    lines = [*kept, f"primary_conninfo = '{conninfo}'", f"primary_slot_name = '{slot}'"]
    write_durably(new, "\n".join(lines) + "\n")
    new.rename(path)
    write_durably(directory / "standby.signal", "")
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def write_durably(path: Path, text: str) -> None:
    """As the server's own user would."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o600)
    shutil.chown(path, "postgres", "postgres")


def fetch(connection: psycopg.Connection[Any], query: str) -> Any:
    """The first value of the first row."""
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def until(look: Callable[[], T | None]) -> T:
    """What ``look`` returns once that is true. Raises SystemExit after a minute."""
    waiting = Waiting(SystemClock(), NeverCancelled(), timeout=PATIENCE_SECONDS, poll=LOOK_SECONDS)
    found = waiting.until(lambda: look() or None)
    if found is None:
        raise SystemExit("the server did not get there in time")
    return found
