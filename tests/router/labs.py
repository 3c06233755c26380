"""A cluster of three servers on this machine, made by ``replctl lab up``: what the router is tried on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg

NODES = ("db1", "db2", "db3")
DATABASE = "appdb"
LISTED = "select count(*) from pg_stat_replication where state = 'streaming'"
UNREPLAYED = """
select coalesce(max(pg_current_wal_lsn() - replay_lsn), 1) from pg_stat_replication where state = 'streaming'
"""
RESUMED = "select pg_wal_replay_resume() from (select pg_is_in_recovery() as standby) as it where standby"
PAUSED = "select pg_get_wal_replay_pause_state()"


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


class Lab:
    """``db1`` is the primary of ``db2`` and ``db3`` once it is made or restored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env_file = folder / "app.env"
        self._asking: dict[str, psycopg.Connection[Any]] = {}

    def up(self) -> None:
        self.replctl("lab", "up", "--dir", ".")
        self._marker: dict[str, Any] = json.loads((self.folder / "lab.json").read_text())
        self._published = self.env_file.read_text()

    def down(self) -> None:
        self._hang_up(*self._asking)
        for node in NODES:
            with suppress(OSError, KeyError, AttributeError):
                self.thaw(node)
        self.replctl("lab", "down", "--dir", ".")

    # The operator.

    def replctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A run of the CLI in the lab's folder, which must end with 0 unless ``check`` is off."""
        run = subprocess.run(
            [sys.executable, "-m", "replctl", *args],
            cwd=self.folder,
            env=os.environ | {"NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or run.returncode == 0, f"exit {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run

    def promote(self, node: str) -> None:
        self.replctl("promote", node, "--yes")

    def restore(self) -> None:
        """Healthy again: db1 is the primary, the others stream and have replayed all, and the env file says so."""
        for node in NODES:
            self.thaw(node)
            if not self.is_running(node):
                self.start(node)
            self.sql(node, RESUMED)
        if [self._is_standby(node) for node in NODES] != [False, True, True]:
            self._repair()
        wait_until(lambda: self.sql("db1", LISTED) == [(len(NODES) - 1,)])
        wait_until(self.is_caught_up)
        if self.env_file.read_text() != self._published:
            self.replctl("env", "--write", "--yes")
            assert self.env_file.read_text() == self._published

    def _repair(self) -> None:
        alone = [node for node in NODES if not self._is_standby(node)]
        if len(alone) > 1:  # one was promoted behind replctl's back: it goes back to db1, the oldest of them
            for node in (node for node in alone if node != "db1"):
                self.stop(node)  # rejoin leaves two running primaries to the operator
                self.replctl("rejoin", node, "--discard-diverged", "--yes")
        else:
            self.promote("db1")

    def is_caught_up(self) -> bool:
        return self.sql(self.primary, UNREPLAYED) == [(0,)]

    # The servers.

    @property
    def primary(self) -> str:
        return next(node for node in NODES if self.is_running(node) and not self._is_standby(node))

    def _is_standby(self, node: str) -> bool:
        return bool(self.sql(node, "select pg_is_in_recovery()")[0][0])

    def port(self, node: str) -> int:
        return int(self._marker["ports"][node])

    def id(self, node: str) -> str:
        """As the router names it."""
        return f"127.0.0.1:{self.port(node)}/{DATABASE}"

    def url(self, node: str, port: int | None = None, database: str = DATABASE) -> str:
        """The application's; over a relay when its port is given."""
        password = quote(self.password("app"), safe="")
        return f"postgresql://app:{password}@127.0.0.1:{port or self.port(node)}/{database}"

    def password(self, of: str) -> str:
        return (self.folder / "secrets" / of).read_text().removesuffix("\n")

    def sql(self, node: str, statement: LiteralString, database: str = DATABASE) -> list[tuple[Any, ...]]:
        """Rows of a statement, as the admin, outside a transaction. ``app`` owns what it makes."""
        for last in (False, True):
            try:
                cursor = self._admin(node, database).execute(statement)
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                self._hang_up(f"{node}/{database}")  # the server was restarted since
                if last:
                    raise
        raise AssertionError

    def app(self, node: str, statement: LiteralString) -> list[tuple[Any, ...]]:
        """The same as the application's role."""
        with psycopg.connect(self.url(node), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _admin(self, node: str, database: str) -> psycopg.Connection[Any]:
        key = f"{node}/{database}"
        if key not in self._asking:
            self._asking[key] = psycopg.connect(
                host="127.0.0.1",
                port=self.port(node),
                dbname=database,
                user="postgres",
                password=self.password("admin"),
                application_name="test",
                connect_timeout=10,
                autocommit=True,
            )
        return self._asking[key]

    def _hang_up(self, *keys: str) -> None:
        for key in keys:
            connection = self._asking.pop(key, None)
            if connection is not None:
                connection.close()

    def pause(self, node: str) -> None:
        """Its replay stands still; it goes on receiving."""
        self.sql(node, "select pg_wal_replay_pause()")
        wait_until(lambda: self.sql(node, PAUSED) == [("paused",)])

    def resume(self, node: str) -> None:
        self.sql(node, "select pg_wal_replay_resume()")

    @contextmanager
    def paused(self, *nodes: str) -> Iterator[None]:
        for node in nodes:
            self.pause(node)
        try:
            yield
        finally:
            for node in nodes:
                self.resume(node)

    def data_dir(self, node: str) -> Path:
        return Path(self._marker["storage"]) / "nodes" / node

    def start(self, node: str) -> None:
        """In whatever role its data directory says."""
        data = self.data_dir(node)
        self._pg_ctl("start", "-w", "-D", str(data), "-l", f"{data}/started.log")

    def stop(self, node: str) -> None:
        """Fast, with a checkpoint."""
        self._hang_up(*(key for key in list(self._asking) if key.startswith(node)))
        self._pg_ctl("stop", "-m", "fast", "-D", str(self.data_dir(node)))

    def kill(self, node: str) -> None:
        """At once, as after a loss of power."""
        self._hang_up(*(key for key in list(self._asking) if key.startswith(node)))
        self._pg_ctl("stop", "-m", "immediate", "-D", str(self.data_dir(node)))

    def is_running(self, node: str) -> bool:
        pid = self._postmaster(node)
        return pid is not None and Path(f"/proc/{pid}/stat").exists() and _state(pid) != "Z"

    def freeze(self, node: str) -> None:
        """Its postmaster takes no connection, and answers none."""
        for pid in self._processes(node):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self, node: str) -> None:
        for pid in self._processes(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _processes(self, node: str) -> list[int]:
        pid = self._postmaster(node)
        if pid is None:
            return []
        children = Path(f"/proc/{pid}/task/{pid}/children")
        try:
            return [pid, *(int(child) for child in children.read_text().split())]
        except FileNotFoundError:
            return []

    def _postmaster(self, node: str) -> int | None:
        try:
            return int((self.data_dir(node) / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def _pg_ctl(self, *args: str) -> None:
        user = ["setpriv", f"--reuid={self._marker['os_user']}", f"--regid={self._marker['os_user']}", "--init-groups"]
        as_owner = [*user, "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*as_owner, f"{self._marker['bin_dir']}/pg_ctl", *args, "-s"],
            cwd="/",
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
