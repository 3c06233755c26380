"""Reads a running server by SQL into facts."""

from __future__ import annotations

from dataclasses import replace

from replctl.model.configuration import Configuration, FileEntry, LiveSetting
from replctl.model.errors import ConnectionLostError
from replctl.model.facts import (
    Primary,
    Receiver,
    Replica,
    Role,
    ServerFacts,
    Setting,
    Slot,
    Walsender,
)
from replctl.model.inventory import Inventory, Node
from replctl.model.secret import Passwords, Secret
from replctl.model.values import Lsn, NodeName, SystemIdentifier, Timeline
from replctl.postgres import statements
from replctl.postgres.conninfo import parse_upstream
from replctl.postgres.scram import verifier_matches
from replctl.remote.ports import Database, NodeLink, Row


def read_server(link: NodeLink, node: Node, inventory: Inventory, passwords: Passwords) -> Primary | Replica:
    """Every fact, over the kept session. Raises SqlError, ConnectionLostError, UnreachableError."""
    timeout = node.ssh.connect_timeout
    try:
        with link.session(timeout=timeout) as database:
            return read_facts(database, node, inventory, passwords)
    except ConnectionLostError:
        # The server was restarted since the last look, which an old session may learn only by being used.
        with link.session(timeout=timeout) as database:
            return read_facts(database, node, inventory, passwords)


def read_facts(database: Database, node: Node, inventory: Inventory, passwords: Passwords) -> Primary | Replica:
    """The same over a session that is open already. Raises SqlError, ConnectionLostError."""
    secrets = {
        inventory.admin.user: passwords.admin,
        inventory.replication.user: passwords.replication,
        inventory.app.user: passwords.app,
    }
    wanted = {
        "settings": list(statements.OBSERVED_SETTINGS),
        "roles": list(secrets),
        "database": inventory.app.database,
        "role": inventory.replication.user,
    }
    server = database.fetch(statements.SERVER, wanted)[0]
    role = database.fetch(statements.REPLICA if server["in_recovery"] else statements.PRIMARY)[0]
    facts = ServerFacts(
        version_num=server["version_num"],
        version=server["version"],
        system_identifier=SystemIdentifier(server["system_identifier"]),
        timeline=Timeline(role["timeline"]),
        data_directory=server["data_directory"],
        settings={row["name"]: _setting(row) for row in server["settings"]},
        slots=tuple(_slot(row) for row in role["slots"]),
        walsenders=tuple(_walsender(row) for row in role["walsenders"]),
        roles=tuple(_role(row, secrets[row["name"]]) for row in server["roles"]),
        databases={row["name"]: row["owner"] for row in server["databases"]},
        closed_databases=tuple(row["name"] for row in server["databases"] if not row["open"]),
        rewind_granted=server["rewind_granted"],
        hba_errors=tuple(f"line {row['line_number']}: {row['error']}" for row in server["hba_errors"]),
        archive_backlog=server["archive_backlog"],
        prepared_transactions=server["prepared_transactions"],
        tablespaces=tuple(server["tablespaces"]),
        clock_s=float(role["clock_s"]),
    )
    return _replica(node.name, facts, role) if server["in_recovery"] else _primary(node.name, facts, role)


def read_positions(link: NodeLink, seen: Primary | Replica, *, timeout: float) -> Primary | Replica:
    """The same server a moment later: where it is, who streams from it and its slots. The rest stays as it was seen.

    Raises SqlError, also when its role is another one by now, ConnectionLostError, UnreachableError.
    """
    replica = isinstance(seen, Replica)
    with link.session(timeout=timeout) as database:
        role = database.fetch(statements.REPLICA if replica else statements.PRIMARY)[0]
    server = replace(
        seen.server,
        timeline=Timeline(role["timeline"]),
        slots=tuple(_slot(row) for row in role["slots"]),
        walsenders=tuple(_walsender(row) for row in role["walsenders"]),
        clock_s=float(role["clock_s"]),
    )
    return replace(_replica(seen.node, server, role) if replica else _primary(seen.node, server, role), host=seen.host)


def read_configuration(database: Database) -> Configuration:
    """What the server's files say now, and what is in force. Raises SqlError, ConnectionLostError."""
    entries = tuple(
        FileEntry(row["name"], row["value"], row["file"], row["line"])
        for row in database.fetch(statements.FILE_ENTRIES)
    )
    live = {row["name"]: LiveSetting(**row) for row in database.fetch(statements.LIVE_SETTINGS)}
    return Configuration(entries, live)


def _primary(name: NodeName, server: ServerFacts, row: Row) -> Primary:
    return Primary(name, None, server, Lsn.parse(row["current"]), wal_bytes_per_s=row["wal_bytes_per_s"])


def _replica(name: NodeName, server: ServerFacts, row: Row) -> Replica:
    host, port = parse_upstream(server.setting("primary_conninfo"))
    return Replica(
        name,
        None,
        server,
        received=_lsn(row["received"]),
        replayed=_lsn(row["replayed"]),
        receiver=_receiver(row["receiver"]),
        paused=row["paused"],
        upstream_host=host,
        upstream_port=port,
        last_replay_age_ms=_by_two_clocks(row["last_replay_age_ms"]),
    )


def _setting(row: Row) -> Setting:
    return Setting(row["setting"], row["source"], row["sourcefile"], row["pending_restart"])


def _role(row: Row, password: Secret) -> Role:
    return Role(
        name=row["name"],
        can_login=row["can_login"],
        superuser=row["superuser"],
        replication=row["replication"],
        password_matches=bool(row["verifier"]) and verifier_matches(row["verifier"], password),
    )


def _walsender(row: Row) -> Walsender:
    return Walsender(
        pid=row["pid"],
        application_name=row["application_name"],
        client_addr=row["client_addr"],
        state=row["state"],
        sent=_lsn(row["sent"]),
        flushed=_lsn(row["flushed"]),
        replayed=_lsn(row["replayed"]),
        replay_lag_ms=_ms(row["replay_lag_ms"]),
        reply_age_ms=_by_two_clocks(row["reply_age_ms"]),
        sync_state=row["sync_state"],
        slot=row["slot"],
    )


def _slot(row: Row) -> Slot:
    return Slot(
        name=row["name"],
        kind=row["kind"],
        active=row["active"],
        temporary=row["temporary"],
        restart_lsn=_lsn(row["restart_lsn"]),
        wal_status=row["wal_status"],
        safe_wal_bytes=row["safe_wal_bytes"],
        retained_bytes=None if row["retained_bytes"] is None else max(0, row["retained_bytes"]),
        active_pid=row["active_pid"],
    )


def _receiver(row: Row | None) -> Receiver | None:
    if row is None:
        return None
    return Receiver(
        status=row["status"],
        sender_host=row["sender_host"],
        sender_port=row["sender_port"],
        slot=row["slot"],
        flushed=_lsn(row["flushed"]),
        timeline=None if row["timeline"] is None else Timeline(row["timeline"]),
    )


def _lsn(text: str | None) -> Lsn | None:
    return None if text is None else Lsn.parse(text)


def _ms(value: float | None) -> float | None:
    return None if value is None else max(0.0, float(value))


def _by_two_clocks(value: float | None) -> float | None:
    """One server's clock less another's, in milliseconds; negative where the other is ahead."""
    return None if value is None else float(value)
