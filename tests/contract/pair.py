"""A real primary and a real standby of it, as handlers have them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg

from replctl.execution.context import Context, Stopwatch
from replctl.execution.session import Session
from replctl.model.actions import Action
from replctl.model.facts import ClusterFacts
from replctl.model.inventory import Connection, Inventory, PostgresSettings
from replctl.model.plan import Step
from replctl.model.values import NodeName
from tests.contract.routes import OS_USER
from tests.contract.scratch_postgres import ADMIN_PASSWORD, Scratch
from tests.contract.sshd import free_port
from tests.unit.builders import a_cluster, a_node
from tests.unit.runs import Told


@dataclass(frozen=True)
class Pair:
    """db1 is a primary; db2 is a standby with all that db1 had written, which follows nobody."""

    session: Session
    servers: dict[NodeName, Scratch]

    @property
    def facts(self) -> ClusterFacts:
        return a_cluster(identifier=None).primary("db1").replica("db2").build()[1]

    @property
    def told(self) -> Told:
        assert isinstance(self.session.reporter, Told)
        return self.session.reporter

    def context(self, node: NodeName | None, action: Action, **facts: object) -> Context:
        return Context(self.session, replace(self.facts, **facts), Step("step", node, action, "why"), Stopwatch())

    def sql(self, node: NodeName, statement: str, **options: object) -> object:
        """The one value that a statement answers."""
        server = self.servers[node]
        login = {"host": "127.0.0.1", "port": server.port, "user": "postgres", "password": ADMIN_PASSWORD}
        with psycopg.connect(**login, dbname="postgres", autocommit=True, **options) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None


@contextlib.contextmanager
def standby_of(original: Scratch) -> Iterator[Scratch]:
    server = Scratch(Path(tempfile.mkdtemp(prefix="replctl-sql-")), free_port())
    shutil.chown(server.folder, OS_USER)
    original.pg_ctl("stop", "-m", "fast")
    subprocess.run(("cp", "-a", str(original.data_dir), str(server.folder)), check=True)
    original.start("-w")
    (server.data_dir / "standby.signal").touch()
    with (server.data_dir / "postgresql.conf").open("a") as conf:
        conf.write(f"\nport = {server.port}\n")
    try:
        server.start("-w")
        yield server
    finally:
        server.pg_ctl("stop", "-m", "immediate")
        shutil.rmtree(server.folder)


def an_inventory(servers: dict[NodeName, Scratch], folder: Path) -> Inventory:
    nodes = {
        name: a_node(
            name,
            number,
            host="127.0.0.1",
            connection=Connection.LOCAL,
            postgres=PostgresSettings(data_dir=str(server.data_dir), port=server.port, os_user=OS_USER),
        )
        for number, (name, server) in enumerate(servers.items(), start=1)
    }
    inventory = a_cluster(nodes=nodes).build()[0]
    return replace(
        inventory,
        app=replace(inventory.app, env_file=folder / "app.env"),
        replication=replace(inventory.replication, user="postgres"),
    )
