"""What a handler works with: one step of one run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass

from replctl.execution.session import Session
from replctl.model.errors import RefusedError
from replctl.model.facts import ClusterFacts, NoInstance, Primary, Replica, Unreachable
from replctl.model.host import HostFacts
from replctl.model.inventory import AppHost, Inventory, Node
from replctl.model.plan import Step
from replctl.model.secret import Secret
from replctl.model.values import Lsn, NodeName
from replctl.postgres.layout import Layout, layout_of
from replctl.postgres.settings import RUN_DIRECTORY
from replctl.remote.ports import Cancellation, Database, Runner
from replctl.remote.waiting import NeverCancelled, Waiting


@dataclass(frozen=True, slots=True)
class Changed:
    """The goal was not there and is now."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The goal held already."""

    reason: str


Effect = Changed | Unchanged


@dataclass(slots=True)
class Stopwatch:
    """What one run measures on its way: filled in by handlers, read when the run ends. Times in seconds."""

    stopped_at: float | None = None
    """When the old primary was told to stop: no write is acknowledged from here on."""
    writable_at: float | None = None
    shutdown_record: Lsn | None = None
    """Where the old primary's shutdown checkpoint begins."""
    app_sessions: Mapping[NodeName, int | None] | None = None
    """How many sessions the application had on each node in the end; None for a node that did not answer."""

    replaced_verifier: Secret | None = None
    """What pg_authid had before a password was set; empty for none. The old password itself is not known."""

    @property
    def write_outage_ms(self) -> float | None:
        if self.stopped_at is None or self.writable_at is None:
            return None
        return round((self.writable_at - self.stopped_at) * 1000, 1)


@dataclass(frozen=True, slots=True)
class Context:
    """One step: the node that it is about, the ways to it, and what the operator is told meanwhile."""

    session: Session
    facts: ClusterFacts
    step: Step
    stopwatch: Stopwatch
    shielded: bool = False
    """The operator's interrupts do not reach this step: it is an undo, or past the point of no return."""

    @property
    def inventory(self) -> Inventory:
        return self.session.inventory

    @property
    def name(self) -> NodeName:
        """The step's node. A step without one asks for no node."""
        assert self.step.node is not None
        return self.step.node

    @property
    def node(self) -> Node:
        return self.inventory.nodes[self.name]

    @property
    def cancellation(self) -> Cancellation:
        return NeverCancelled() if self.shielded else self.session.cancellation

    def runner(self, name: NodeName | None = None) -> Runner:
        """Commands on the step's node, or another one."""
        runner = self.session.fleet[name or self.name].runner
        return runner.shielded() if self.shielded else runner

    def on_app_host(self, host: AppHost) -> Runner:
        """Commands on a host of the application, as its SSH user."""
        runner = self.session.fleet.on_app_host(host)
        return runner.shielded() if self.shielded else runner

    def database(self, name: NodeName | None = None) -> AbstractContextManager[Database]:
        """An SQL session on the step's node, or another one, as earlier steps left it."""
        node = self.inventory.nodes[name or self.name]
        if node.name in self.facts.by_psql:
            return self.new_session(name)
        return self.session.fleet[node.name].session(timeout=node.ssh.connect_timeout)

    def new_session(self, name: NodeName | None = None, *, options: str = "") -> AbstractContextManager[Database]:
        """One with ``options`` of its own, to which roles' and databases' settings apply as they are now."""
        node = self.inventory.nodes[name or self.name]
        link = self.session.fleet[node.name]
        if node.name not in self.facts.by_psql:
            return closing(link.database(options=options, timeout=node.ssh.connect_timeout))
        postmaster = self.host(node.name).postmaster
        sockets = (postmaster.socket_dir if postmaster is not None else None) or RUN_DIRECTORY
        return closing(link.local_database(self.bin_dir(node.name), sockets, options=options))

    def host(self, name: NodeName | None = None) -> HostFacts:
        """What was seen of the host when the plan was made. Raises RefusedError when SSH did not answer then."""
        facts = self.facts.nodes[name or self.name]
        host = None if isinstance(facts, Unreachable) else facts.host
        if host is None:
            raise RefusedError(f"{facts.node}: was not reached by SSH", hint="Mend SSH to the node.", node=facts.node)
        return host

    def layout(self, name: NodeName | None = None) -> Layout:
        """Where the node's configuration is, and what starts its server."""
        return layout_of(self.inventory.nodes[name or self.name], self.host(name))

    def bin_dir(self, name: NodeName | None = None) -> str:
        """Where the node's PostgreSQL programs are."""
        return self.host(name).bin_dir or ""

    def major(self, name: NodeName | None = None) -> int:
        """The major version of the node's programs, or of the running server."""
        facts = self.facts.nodes[name or self.name]
        if isinstance(facts, Primary | Replica):
            return facts.server.major
        return self.host(name).major or 0

    def exists(self, name: NodeName) -> bool:
        """Whether the node had a data directory when the plan was made."""
        return not isinstance(self.facts.nodes[name], NoInstance)

    def waiting(self, timeout: float, poll: float) -> Waiting:
        """A wait of ``timeout`` seconds that looks every ``poll`` seconds."""
        return Waiting(self.session.clock, self.cancellation, timeout, poll)

    def says(self, text: str) -> None:
        """Tell the operator what the step waits for."""
        self.session.reporter.step_says(self.step, text)
