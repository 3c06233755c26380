"""A server with an sshd beside it, and the three ways to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from replctl.model.inventory import Admin, App, Connection, Inventory, Node, PostgresSettings, Replication, SqlRoute
from replctl.model.secret import EnvSecret, Passwords, Secret
from replctl.model.values import NodeName
from replctl.remote.links import open_fleet
from replctl.remote.ports import Fleet
from replctl.remote.waiting import NeverCancelled, SystemClock
from tests.contract.routes import OS_USER, ssh_node
from tests.contract.scratch_postgres import ADMIN_PASSWORD, REPLICATION_PASSWORD, Scratch
from tests.contract.sshd import Sshd

DB1 = NodeName("db1")
NOWHERE = EnvSecret("NOWHERE")
PASSWORDS = Passwords(Secret(ADMIN_PASSWORD), Secret(REPLICATION_PASSWORD), Secret("app"))
WAYS = ["tunnel", "direct", "local"]


@dataclass(frozen=True)
class Site:
    """What the inventory of a test is made from."""

    server: Scratch
    sshd: Sshd

    def node(self, way: str, **postgres: object) -> Node:
        ssh = ssh_node(self.sshd, OS_USER)
        settings = {"data_dir": str(self.server.data_dir), "port": self.server.port, "os_user": OS_USER}
        route = SqlRoute.DIRECT if way == "direct" else SqlRoute.TUNNEL
        connection = Connection.LOCAL if way == "local" else Connection.SSH
        return replace(ssh, connection=connection, postgres=PostgresSettings(connect=route, **(settings | postgres)))

    def fleet(self, node: Node, passwords: Passwords = PASSWORDS, admin: str = "postgres") -> Fleet:
        inventory = Inventory(
            Path("/tmp/inventory.yaml"),
            "chat",
            {DB1: node},
            Admin(admin, NOWHERE),
            Replication("replicator", NOWHERE),
            App("chat", "chat", NOWHERE, Path("/tmp/app.env")),
        )
        return open_fleet(
            inventory,
            passwords,
            cancellation=NeverCancelled(),
            clock=SystemClock(),
            warn=pytest.fail,
            ssh_config=Path("/dev/null"),
        )
