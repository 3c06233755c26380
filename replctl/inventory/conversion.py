"""From the typed file to the model's values: defaults merged into every node, paths absolute."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from replctl.inventory.schema import (
    InventoryFile,
    NodeBlock,
    PasswordReference,
    PostgresBlock,
    PublishBlock,
    SshBlock,
    TimeoutsBlock,
)
from replctl.model.inventory import (
    Admin,
    App,
    AppHost,
    Connection,
    Inventory,
    Node,
    PostgresSettings,
    Replication,
    ServiceManager,
    SqlRoute,
    SshSettings,
    Sync,
    SyncMode,
    Timeouts,
)
from replctl.model.secret import CommandSecret, EnvSecret, FileSecret, LiteralSecret, Secret, SecretSource
from replctl.model.values import NodeName, SystemIdentifier


def to_inventory(file: InventoryFile, path: Path) -> Inventory:
    """The model of a file without problems. ``path`` is the inventory's own and absolute."""
    folder = path.parent
    identifier = file.system_identifier
    return Inventory(
        path=path,
        cluster=file.cluster,
        nodes={NodeName(name): _node(NodeName(name), node, file, folder) for name, node in file.nodes.items()},
        admin=Admin(file.admin.user, _password(file.admin.password, folder), _networks(file.admin.allow)),
        replication=Replication(file.replication.user, _password(file.replication.password, folder)),
        app=_app(file, folder),
        timeouts=Timeouts(**_given(file.timeouts)),
        system_identifier=None if identifier is None else SystemIdentifier(identifier),
        templates=_path(file.templates, folder),
        sync=None if file.sync is None else Sync(SyncMode(file.sync.mode), file.sync.count),
    )


def merged_ssh(common: SshBlock, node: NodeBlock | PublishBlock) -> dict[str, Any]:
    """The keys that hold for a node or an application's host: its own, then the common ones."""
    return _given(common) | _given(node.ssh)


def merged_postgres(common: PostgresBlock, node: NodeBlock) -> dict[str, Any]:
    """Like merged_ssh; ``parameters`` are merged name by name."""
    own, given = _given(node.postgres), _given(common)
    parameters = given.get("parameters", {}) | own.get("parameters", {})
    return given | own | {"parameters": parameters}


def _given(block: SshBlock | PostgresBlock | TimeoutsBlock | None) -> dict[str, Any]:
    return {} if block is None else {name: value for name, value in vars(block).items() if value is not None}


def _node(name: NodeName, node: NodeBlock, file: InventoryFile, folder: Path) -> Node:
    return Node(
        name=name,
        host=node.host,
        ssh_host=node.ssh_host or node.host,
        connection=Connection(node.connection or Connection.SSH),
        ssh=_ssh(merged_ssh(file.ssh, node), folder),
        postgres=_postgres(merged_postgres(file.postgres, node)),
        in_rotation=node.in_rotation is not False,
        region=node.region,
    )


def _ssh(given: dict[str, Any], folder: Path) -> SshSettings:
    kept = dict(given)
    for key in ("identity_file", "known_hosts_file"):
        kept[key] = _path(given.get(key), folder)
    return SshSettings(**kept)


def _postgres(given: dict[str, Any]) -> PostgresSettings:
    kept = dict(given)
    kept["service"] = ServiceManager(given.get("service", ServiceManager.PG_CTL))
    kept["connect"] = SqlRoute(given.get("connect", SqlRoute.TUNNEL))
    kept["allow"] = _networks(given.get("allow"))
    return PostgresSettings(**kept)


def _app(file: InventoryFile, folder: Path) -> App:
    app = file.app
    settings: dict[str, str | int | bool | None] = {
        "DB_READ_REPLICA_STRATEGY": app.strategy,
        "DB_READ_REPLICA_FALLBACK": app.fallback,
        "DB_READ_REPLICA_HEALTH_CHECK_INTERVAL": app.health_check_interval,
        "DB_MAX_REPLICATION_LAG_MS": app.max_replication_lag_ms,
        "DB_LAG_CHECK_ENABLED": app.lag_check,
    }
    return App(
        database=app.database,
        user=app.user,
        password=_password(app.password, folder),
        env_file=_local(app.env_file, folder),
        settings={name: _env_text(value) for name, value in settings.items() if value is not None},
        publish=tuple(_app_host(file, host, folder) for host in app.publish or ()),
        region=app.region,
    )


def _app_host(file: InventoryFile, given: PublishBlock, folder: Path) -> AppHost:
    return AppHost(
        ssh_host=given.host,
        ssh=_ssh(merged_ssh(file.ssh, given) | {"user": given.user}, folder),
        path=given.path,
        reload=tuple(shlex.split(given.reload or "")),
        region=given.region,
    )


def _env_text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _password(given: str | PasswordReference, folder: Path) -> SecretSource:
    if isinstance(given, str):
        return LiteralSecret(Secret(given))
    if given.env is not None:
        return EnvSecret(given.env)
    if given.file is not None:
        return FileSecret(_local(given.file, folder))
    return CommandSecret(tuple(shlex.split(given.command or "")))


def _networks(given: list[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(given or ()))


def _path(given: str | None, folder: Path) -> Path | None:
    return None if given is None else _local(given, folder)


def _local(given: str, folder: Path) -> Path:
    # os.path.expanduser leaves the text alone where there is no home; Path.expanduser raises.
    return folder / os.path.expanduser(given)  # noqa: PTH111
