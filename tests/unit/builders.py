"""Clusters in sentences: ``a_cluster().primary("a").replica("b", lag=mib(3)).build()``.

What nodes say of each other is derived when the cluster is built: a replica that streams has a walsender and a slot
on its upstream; ``env`` lists the primary and the replicas, unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from replctl.model.facts import (
    ClusterFacts,
    EnvListing,
    FenceDebt,
    Foreign,
    NodeFacts,
    NoInstance,
    Primary,
    Problem,
    ProblemKind,
    Receiver,
    Replica,
    Role,
    ServerFacts,
    Setting,
    Silent,
    Slot,
    Stopped,
    Unreachable,
    Walsender,
)
from replctl.model.host import ControlData, DataDirectory, DirectoryState, HostFacts, Postmaster
from replctl.model.inventory import Admin, App, Connection, Inventory, Node, PostgresSettings, Replication, SshSettings
from replctl.model.secret import EnvSecret
from replctl.model.values import Lsn, NodeName, SystemIdentifier, Timeline, slot_name
from replctl.planning.situation import Situation
from replctl.postgres.ownership import MARK
from replctl.postgres.render import Renderer, Templates

IDENTITY = SystemIdentifier("7277000000000000001")
OTHER_IDENTITY = SystemIdentifier("7277000000000000999")
CURRENT = Lsn.parse("4/20000000")
DATA_DIR = "/var/lib/postgresql/15/main"
SETTINGS = {
    "max_connections": "100",
    "max_worker_processes": "8",
    "max_wal_senders": "10",
    "max_prepared_transactions": "0",
    "max_locks_per_transaction": "64",
    "recovery_min_apply_delay": "0",
    "restore_command": "",
    "archive_mode": "off",
    "hot_standby": "on",
    "wal_level": "replica",
    "wal_log_hints": "on",
    "max_replication_slots": "10",
    "max_slot_wal_keep_size": "10240",
}
TEMPLATES = Templates(
    postgresql_conf=f"# {MARK}\nport = {{{{ managed.port }}}}\n",
    pg_hba_conf="{% for peer in peers %}\nhost replication replicator {{ peer }} scram-sha-256\n{% endfor %}\n",
)
"""Small ones, which tell one inventory from another."""


def kib(n: float) -> int:
    return int(n * 1024)


def mib(n: float) -> int:
    return int(n * 1024**2)


def gib(n: float) -> int:
    return int(n * 1024**3)


def a_problem(kind: ProblemKind = ProblemKind.TIMEOUT, message: str = "no answer within 10 s") -> Problem:
    return Problem(kind, message, "Check that the host is up.")


def settings(**changed: str) -> dict[str, Setting]:
    return {name: Setting(value, "configuration file") for name, value in (SETTINGS | changed).items()}


def a_node(name: str, number: int, **changed: Any) -> Node:
    node = Node(
        name=NodeName(name),
        host=f"10.0.0.{number}",
        ssh_host=f"10.0.0.{number}",
        connection=Connection.SSH,
        ssh=SshSettings(),
        postgres=PostgresSettings(data_dir=DATA_DIR),
    )
    return replace(node, **changed)


def a_host(**changed: Any) -> HostFacts:
    host = HostFacts(
        hostname="host",
        bin_dir="/usr/lib/postgresql/15/bin",
        major=15,
        glibc="2.36",
        directory=DataDirectory(DATA_DIR, DirectoryState.CLUSTER),
        port_in_use=True,
        control=a_control(),
        postmaster=Postmaster(812, 5432, "ready"),
        wal_free_bytes=gib(40),
    )
    return replace(host, **changed)


def a_control(state: str = "in production", timeline: int = 8, **changed: Any) -> ControlData:
    control = ControlData(IDENTITY, state, Timeline(timeline), Lsn(CURRENT.position - 200), True, True)
    return replace(control, **changed)


def a_server(timeline: int = 8, **changed: Any) -> ServerFacts:
    server = ServerFacts(150018, "15.18", IDENTITY, Timeline(timeline), DATA_DIR, settings())
    return replace(server, **changed)


def a_slot(name: str, **changed: Any) -> Slot:
    return replace(Slot(name, "physical", True, False, CURRENT, "reserved", gib(10), 0), **changed)


def a_walsender(name: str, **changed: Any) -> Walsender:
    walsender = Walsender(900, name, "10.0.0.99", "streaming", CURRENT, CURRENT, CURRENT, None, 20.0, "async", None)
    return replace(walsender, **changed)


@dataclass(frozen=True)
class Link:
    """What a replica's upstream says of it."""

    upstream: str
    walsender: Mapping[str, Any] | None
    slot: Mapping[str, Any] | None


@dataclass
class ClusterBuilder:
    """Collects nodes; ``build`` gives them to each other's view."""

    current: Lsn = CURRENT
    timeline: int = 8
    nodes: dict[NodeName, Node] = field(default_factory=dict)
    facts: dict[NodeName, NodeFacts] = field(default_factory=dict)
    links: dict[NodeName, Link] = field(default_factory=dict)
    listing: EnvListing | None = None
    identifier: SystemIdentifier | None = IDENTITY
    debts: tuple[FenceDebt, ...] = ()
    first_primary: str | None = None
    rendered: tuple[NodeName, ...] = ()
    inventory: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the inventory."""
    templates: Templates = TEMPLATES

    def primary(
        self,
        name: str,
        *,
        timeline: int | None = None,
        current: Lsn | None = None,
        pace: int | None = mib(1),
        **server: Any,
    ) -> ClusterBuilder:
        """A running primary that writes ``pace`` bytes of WAL a second; ``server`` are fields of its ServerFacts."""
        found = a_server(timeline or self.timeline, **server)
        self.first_primary = self.first_primary or name
        return self._add(name, Primary(NodeName(name), a_host(), found, current or self.current, None, pace))

    def replica(
        self,
        name: str,
        *,
        lag: int = 0,
        unreplayed: int | None = None,
        of: str | None = None,
        timeline: int | None = None,
        receiver: str | None = "streaming",
        walsender: Mapping[str, Any] | None = {},
        slot: Mapping[str, Any] | None = {},
        paused: str = "not paused",
        setting: Mapping[str, str] = {},
        **fields: Any,
    ) -> ClusterBuilder:
        """A running replica ``lag`` bytes behind in receiving and ``unreplayed`` (the same) in replaying.

        ``of`` is its upstream, a node's name or ``host:port``; ``walsender`` and ``slot`` change what the upstream
        says of it, None takes it away.
        """
        received, replayed = self.current.position - lag, self.current.position - (unreplayed or lag)
        own = NodeName(name)
        upstream = of or self.first_primary or ""
        host, port = self._address(upstream)
        replica = Replica(
            own,
            a_host(standby_signal=True, control=a_control("in archive recovery")),
            a_server(timeline or self.timeline, settings=settings(**setting)),
            Lsn(received),
            Lsn(replayed),
            None if receiver is None else Receiver(receiver, host, port, slot_name(own), Lsn(received), Timeline(8)),
            paused,
            host,
            port,
            last_replay_age_ms=60_000.0,
        )
        seen = {"flushed": Lsn(received), "replayed": Lsn(replayed), "sent": Lsn(received), "slot": slot_name(own)}
        listed = None if walsender is None or receiver is None else seen | dict(walsender)
        idle = {"active": False} if receiver is None else {}
        self.links[own] = Link(upstream, listed, None if slot is None else idle | dict(slot))
        return self._add(name, replace(replica, **fields))

    def stopped(
        self, name: str, state: str = "shut down", *, standby: bool = False, timeline: int = 8, **c: Any
    ) -> ClusterBuilder:
        """Stopped with this pg_control state; ``standby`` puts standby.signal there."""
        control = a_control(state, timeline, **c)
        host = a_host(control=control, postmaster=None, standby_signal=standby, port_in_use=False)
        return self._add(name, Stopped(NodeName(name), host, control))

    def silent(
        self, name: str, kind: ProblemKind, *, standby: bool = False, state: str = "in production"
    ) -> ClusterBuilder:
        """A live postmaster that refuses SQL for this reason."""
        control = a_control(state)
        problem = a_problem(kind, "the server does not let us in")
        return self._add(
            name, Silent(NodeName(name), a_host(control=control, standby_signal=standby), control, problem)
        )

    def unreachable(self, name: str, kind: ProblemKind = ProblemKind.TIMEOUT) -> ClusterBuilder:
        return self._add(name, Unreachable(NodeName(name), a_problem(kind)))

    def absent(
        self, name: str, state: DirectoryState = DirectoryState.ABSENT, content: Sequence[str] = ()
    ) -> ClusterBuilder:
        directory = DataDirectory(DATA_DIR, state, content=tuple(content))
        host = a_host(directory=directory, control=None, postmaster=None, port_in_use=False, wal_free_bytes=None)
        return self._add(name, NoInstance(NodeName(name), host))

    def foreign(self, name: str, *, running: bool = True, host: HostFacts | None = None) -> ClusterBuilder:
        return self._add(name, Foreign(NodeName(name), host or a_host(), OTHER_IDENTITY, running))

    def idle_slot(self, of: str, on: str, **changed: Any) -> ClusterBuilder:
        """A slot without a connection for a node of the inventory."""
        return self.slots(on, a_slot(slot_name(NodeName(of)), **{"active": False, "retained_bytes": mib(48)} | changed))

    def slots(self, on: str, *slots: Slot) -> ClusterBuilder:
        return self._server(on, lambda server: replace(server, slots=(*server.slots, *slots)))

    def walsenders(self, on: str, *walsenders: Walsender) -> ClusterBuilder:
        return self._server(on, lambda server: replace(server, walsenders=(*server.walsenders, *walsenders)))

    def env(self, primary: str | None = None, *replicas: str, current: bool = True) -> ClusterBuilder:
        """What the env file lists, instead of the right nodes."""
        names = tuple(NodeName(replica) for replica in replicas)
        self.listing = EnvListing(NodeName(primary) if primary else None, names, current)
        return self

    def owing(self, node: str, promoted: str) -> ClusterBuilder:
        """A note says that this node was out of sight when the other took over."""
        self.debts = (*self.debts, FenceDebt(NodeName(node), NodeName(promoted), "2026-11-22T03:00:00+00:00"))
        return self

    def without_ssh(self, name: str) -> ClusterBuilder:
        return self.change(name, host=None, ssh=a_problem())

    def host(self, name: str, **changed: Any) -> ClusterBuilder:
        return self.change(name, host=replace(self.facts[NodeName(name)].host, **changed))

    def change(self, name: str, **changed: Any) -> ClusterBuilder:
        """Replace fields of a node's facts."""
        self.facts[NodeName(name)] = replace(self.facts[NodeName(name)], **changed)
        return self

    def node(self, name: str, **changed: Any) -> ClusterBuilder:
        """Replace fields of a node in the inventory."""
        self.nodes[NodeName(name)] = replace(self.nodes[NodeName(name)], **changed)
        return self

    def as_made_by_us(self) -> ClusterBuilder:
        """Every node has its passfile and the files that the inventory has, the primary its roles and database."""
        self.rendered = tuple(self.facts)
        roles = (
            Role("postgres", True, True, True, True),
            Role("replicator", True, False, True, True),
            Role("chat", True, False, False, True),
        )
        made = {"roles": roles, "databases": {"chatdb": "chat"}, "rewind_granted": True}
        for name, facts in self.facts.items():
            if isinstance(facts, Primary):
                self._server(name, lambda server: replace(server, **made))
        return self

    def situation(self, **facts: Any) -> Situation:
        """What a planner starts from; ``facts`` are fields of ClusterFacts, such as the logins that were tried."""
        inventory, found = self.build()
        return Situation(inventory, replace(found, **facts), self.templates)

    def build(self) -> tuple[Inventory, ClusterFacts]:
        inventory = self._inventory()
        renderer = Renderer(inventory, self.templates)
        for name in self.rendered:
            self._render(renderer, name)
        for name, link in self.links.items():
            if link.upstream in self.facts:
                self._connect(name, link)
        return inventory, ClusterFacts(
            self.facts, self.identifier, env=self.listing or self._right_listing(), debts=self.debts
        )

    def _render(self, renderer: Renderer, name: NodeName) -> None:
        facts = self.facts[name]
        if isinstance(facts, Unreachable | NoInstance) or facts.host is None:
            return
        node, host = self.nodes[name], facts.host
        files = renderer.config(node, major=15, socket_dir=f"{DATA_DIR}.replctl-run")
        known = {file.name: file.text for file in files} | dict(host.files)
        self.host(name, files=known, passfile_current=True)

    def _connect(self, name: NodeName, link: Link) -> None:
        if link.walsender is not None:
            address = {"client_addr": self.nodes[name].host, "pid": 900 + len(self.facts)}
            self.walsenders(link.upstream, a_walsender(name, **address | dict(link.walsender)))
        if link.slot is not None:
            self.slots(link.upstream, a_slot(slot_name(name), **link.slot))

    def _right_listing(self) -> EnvListing:
        replicas = tuple(name for name, node in self.facts.items() if isinstance(node, Replica))
        return EnvListing(NodeName(self.first_primary) if self.first_primary else None, replicas, current=True)

    def _inventory(self) -> Inventory:
        inventory = Inventory(
            path=Path("/srv/chat/inventory.yaml"),
            cluster="chat",
            nodes=self.nodes,
            admin=Admin("postgres", EnvSecret("ADMIN_PASSWORD")),
            replication=Replication("replicator", EnvSecret("REPLICATION_PASSWORD")),
            app=App("chatdb", "chat", EnvSecret("APP_PASSWORD"), Path("/srv/chat/app.env")),
        )
        return replace(inventory, **self.inventory)

    def _add(self, name: str, facts: NodeFacts) -> ClusterBuilder:
        own = NodeName(name)
        self.nodes.setdefault(own, a_node(name, len(self.nodes) + 1))
        self.facts[own] = facts
        return self

    def _address(self, upstream: str) -> tuple[str | None, int | None]:
        if upstream in self.nodes:
            node = self.nodes[NodeName(upstream)]
            return node.host, node.postgres.port
        host, _, port = upstream.rpartition(":")
        return host or None, int(port) if port else None

    def _server(self, name: str, change: Callable[[ServerFacts], ServerFacts]) -> ClusterBuilder:
        found = self.facts[NodeName(name)]
        if isinstance(found, Primary | Replica):
            self.facts[NodeName(name)] = replace(found, server=change(found.server))
        return self


def a_cluster(**fields: Any) -> ClusterBuilder:
    return ClusterBuilder(**fields)
