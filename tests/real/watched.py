"""A run of replctl that is watched while it goes on: its progress lines say when to disturb it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tests.real.clusters import wait_until
from tests.real.hosts import Host, Operator, Run, pg_bin
from tests.real.standing import freeze


class Watched:
    """A running replctl whose output is read as it comes."""

    def __init__(self, operator: Operator, *args: str) -> None:
        self.program = operator.start(*args)
        self._out: list[bytes] = []
        self._err: list[bytes] = []
        self._news = threading.Condition()
        pipes = ((self.program.stdout, self._out), (self.program.stderr, self._err))
        self._readers = [threading.Thread(target=self._read, args=pipe, daemon=True) for pipe in pipes]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: IO[bytes], lines: list[bytes]) -> None:
        for line in pipe:
            with self._news:
                lines.append(line)
                self._news.notify_all()

    @property
    def err(self) -> str:
        return b"".join(self._err).decode()

    def until(self, *words: str, seconds: float = 30.0) -> str:
        """The first line on stderr that has all the words among its own, once it is there."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            over = not any(reader.is_alive() for reader in self._readers)
            with self._news:
                lines = [line.decode() for line in self._err]
                if found := [line for line in lines if set(words) <= set(line.split())]:
                    return found[0]
                if over:
                    break
                self._news.wait(0.1)
        raise AssertionError(f"no line with {words} in:\n{self.err}")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.program.pid, number)

    def end(self, seconds: float = 60.0) -> Run:
        """How it ended."""
        code = self.program.wait(seconds)
        for reader in self._readers:
            reader.join(10)
        return Run(code, b"".join(self._out).decode(), self.err)

    def kill(self) -> None:
        """SIGKILL: nothing of it is left to undo anything."""
        self.signal(signal.SIGKILL)
        self.program.wait(10)


def until_copying(host: Host) -> list[int]:
    """The processes of the copy that is made on a host, once both are there: one for the files, one for the WAL."""
    found: list[int] = []

    def look() -> bool:
        found[:] = host.pids("pg_basebackup --pgdata")
        return len(found) > 1

    wait_until(look)
    return found


def copying(operator: Operator, *args: str, rate: str = "4M") -> tuple[Watched, list[int]]:
    """An add-replica of db2 whose copy has begun and stands still; ``rate`` is its speed in bytes a second."""
    host = operator.lan["db2"]
    with slow_copies(host, rate):
        run = Watched(operator, "add-replica", "db2", *args, "--yes")
        pids = until_copying(host)
    freeze(pids)
    return run, pids


@contextmanager
def slow_copies(host: Host, rate: str = "200k") -> Iterator[None]:
    """What is copied to a host meanwhile takes its time: whoever watches it comes early enough."""
    with replaced(host, "pg_basebackup", f'exec "$real" "$@" --max-rate={rate}'):
        yield


@contextmanager
def replaced(host: Host, program: str, lines: str) -> Iterator[None]:
    """A script in the place of one of PostgreSQL's programs, which it has as ``$real``."""
    place, folder = f"{pg_bin(15)}/{program}", f"/var/log/{program}"
    host.run(["mkdir", "-p", folder], "root")
    host.run(["cp", "--no-clobber", place, f"{folder}/{program}"], "root")
    script = host.path(f"{folder}/script")
    script.write_text(f"#!/bin/sh\nreal={folder}/{program}\n{lines}\n")
    script.chmod(0o755)
    host.run(["mount", "--bind", f"{folder}/script", place], "root")
    try:
        yield
    finally:
        host.run(["umount", "--lazy", place], "root")
