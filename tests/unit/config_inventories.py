"""Small inventories for the tests of what is rendered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from replctl.model.inventory import (
    Admin,
    App,
    Connection,
    Inventory,
    Node,
    PostgresSettings,
    Replication,
    SshSettings,
)
from replctl.model.secret import EnvSecret, Passwords, Secret
from replctl.model.values import NodeName
from replctl.postgres.render import Templates

REPOSITORY = Path(__file__).parents[2]


def a_node(
    name: str,
    host: str,
    *,
    port: int = 5432,
    data_dir: str = "/var/lib/postgresql/15/main",
    os_user: str = "postgres",
    parameters: Mapping[str, str] | None = None,
    allow: tuple[str, ...] = (),
) -> Node:
    postgres = PostgresSettings(data_dir=data_dir, port=port, os_user=os_user, parameters=parameters or {}, allow=allow)
    return Node(NodeName(name), host, host, Connection.SSH, SshSettings(), postgres)


def an_inventory(
    *nodes: Node,
    admin: str = "postgres",
    admin_allow: tuple[str, ...] = (),
    replication: str = "replicator",
    app: str = "chat",
    database: str = "chatdb",
    settings: Mapping[str, str] | None = None,
    templates: Path | None = None,
) -> Inventory:
    source = EnvSecret("PASSWORD")
    return Inventory(
        path=Path("/srv/chat/inventory.yaml"),
        cluster="chat",
        nodes={node.name: node for node in nodes},
        admin=Admin(admin, source, admin_allow),
        replication=Replication(replication, source),
        app=App(database, app, source, Path("/srv/chat/app.env"), settings or {}),
        templates=templates,
    )


def three_nodes() -> Inventory:
    """Three hosts of a private network."""
    parameters = {"shared_buffers": "256MB", "max_wal_senders": "20", "log_directory": "/var/log/it's here"}
    return an_inventory(
        *(
            a_node(f"db{n}", f"10.0.0.1{n}", parameters=parameters, allow=("10.0.5.0/24", "fd00:5::/64"))
            for n in (1, 2, 3)
        ),
        admin_allow=("10.0.9.7",),
    )


def loopback_lab() -> Inventory:
    """Three nodes on one machine, run by an ordinary user."""
    return an_inventory(
        *(a_node(f"db{n}", "127.0.0.1", port=5500 + n, data_dir=f"/home/me/lab/db{n}", os_user="me") for n in (1, 2, 3))
    )


def passwords(app: str) -> Passwords:
    return Passwords(Secret("admin-pw"), Secret("replication-pw"), Secret(app))


def shipped_templates() -> Templates:
    folder = REPOSITORY / "templates"
    return Templates((folder / "postgresql.conf.j2").read_text(), (folder / "pg_hba.conf.j2").read_text())
