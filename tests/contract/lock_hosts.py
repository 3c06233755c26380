"""Nodes on this machine whose locks are taken, and the processes that hold them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from replctl.execution.lock import Holder, LockTimings, lock_nodes
from replctl.model.inventory import (
    Admin,
    App,
    Connection,
    Inventory,
    Node,
    PostgresSettings,
    Replication,
    SshSettings,
    Timeouts,
)
from replctl.model.secret import EnvSecret
from replctl.model.values import NodeName
from replctl.remote.local import LocalShells
from replctl.remote.ports import Runner
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.waiting import NeverCancelled, SystemClock

HOLDER = Holder("alice", "ops1", "2026-07-01 10:00:00 UTC", "replctl promote db2")
BOB = Holder("bob", "ops2", "2026-07-01 10:00:03 UTC", "replctl restart db1")
CALM = LockTimings(beat=0.2)
QUICK = LockTimings(beat=0.05, lost_after=0.5, ends_after=1, answer=5.0, release=2.0)


@dataclass
class Link:
    """A NodeLink to this machine, as far as a lock needs it."""

    name: NodeName
    runner: Runner

    @classmethod
    def to(cls, name: str) -> Link:
        shells = LocalShells(NodeName(name))
        return cls(NodeName(name), ShellRunner(shells, shells.account, SystemClock(), NeverCancelled()))


def pids_holding(path: Path) -> list[int]:
    """The processes that have a file open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == path:
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


def reader_of(shell: int) -> int | None:
    """The dd that reads heartbeats for this shell: of the same process group."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text() == "dd\n" and os.getpgid(int(folder.name)) == os.getpgid(shell):
                return int(folder.name)
        except OSError:
            continue
    return None


@dataclass
class Hosts:
    """Nodes whose data directories stand in one folder."""

    folder: Path

    def lock_file(self, name: str) -> Path:
        return self.folder / name / "main.replctl-lock"

    @property
    def inventory(self) -> Inventory:
        secret = EnvSecret("X")
        return Inventory(
            path=self.folder / "inventory.yaml",
            cluster="chat",
            nodes={NodeName(n): self._node(n) for n in ("db1", "db2", "db3")},
            admin=Admin("postgres", secret),
            replication=Replication("replicator", secret),
            app=App("chatdb", "chat", secret, self.folder / "app.env"),
            timeouts=Timeouts(),
        )

    def _node(self, name: str) -> Node:
        return Node(
            name=NodeName(name),
            host="127.0.0.1",
            ssh_host="127.0.0.1",
            connection=Connection.LOCAL,
            ssh=SshSettings(),
            postgres=PostgresSettings(data_dir=str(self.folder / name / "main")),
        )

    def lock(self, *names: str, holder: Holder = HOLDER, clock=None, cancellation=None, timings=QUICK):
        return self.lock_links([Link.to(name) for name in names], holder, clock, cancellation, timings)

    def lock_links(self, links: list[Link], holder: Holder = HOLDER, clock=None, cancellation=None, timings=QUICK):
        return lock_nodes(
            links,
            self.inventory,
            holder,
            clock=clock or SystemClock(),
            cancellation=cancellation or NeverCancelled(),
            timings=timings,
        )

    def far_process(self, name: str) -> int:
        """The shell that holds the lock; one that it has just forked has the file open for an instant as well."""
        seen: list[int] = []

        def alone() -> bool:
            seen[:] = pids_holding(self.lock_file(name))
            return len(seen) == 1

        eventually(alone)
        return seen[0]


def eventually(holds, timeout: float = 3.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
