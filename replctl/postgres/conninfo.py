"""How a standby reaches its upstream: primary_conninfo, and the passfile that holds its password."""

from __future__ import annotations

import re

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from replctl.model.errors import SecretError
from replctl.model.inventory import Inventory, Node
from replctl.model.secret import Secret

CONNECT_TIMEOUT = 10
"""Seconds for one attempt of the walreceiver."""

# A peer that vanished without a word (power, cable) is noticed within 10 + 3 x 5 seconds, while the link is idle and
# while written bytes wait to be acknowledged alike. wal_receiver_timeout would take a minute.
_LIVENESS = {
    "connect_timeout": CONNECT_TIMEOUT,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


def passfile_path(node: Node) -> str:
    """The passfile of a node: beside its data directory, since backups and pg_rewind copy what is inside."""
    return f"{node.postgres.data_dir}.replctl-passfile"


def primary_conninfo(inventory: Inventory, standby: Node, upstream: Node) -> str:
    """How ``standby`` connects to ``upstream``. Holds no password: that stands in the passfile.

    application_name is the standby's node name, by which pg_stat_replication on the upstream tells the nodes apart.
    """
    return make_conninfo(
        "",
        host=upstream.host,
        port=upstream.postgres.port,
        user=inventory.replication.user,
        application_name=standby.name,
        passfile=passfile_path(standby),
        **_LIVENESS,
    )


def passfile_text(inventory: Inventory, node: Node, password: Secret) -> Secret:
    """The passfile of ``node``: a line for every peer that it may stream or rewind from.

    The database is ``*``: a physical walreceiver looks for ``replication``, pg_rewind for ``postgres``.
    Raises SecretError for a password with a line break, which a passfile cannot hold.
    """
    if re.search(r"[\n\r\0]", password.reveal()):
        raise SecretError(
            "replication.password: holds a line break, which a passfile cannot hold",
            hint="Choose a password without line breaks.",
        )
    peers = {(peer.host, peer.postgres.port): None for peer in inventory.nodes.values() if peer.name != node.name}
    credentials = f"{_escaped(inventory.replication.user)}:{_escaped(password.reveal())}"
    return Secret("".join(f"{_escaped(host)}:{port}:*:{credentials}\n" for host, port in peers))


def parse_upstream(conninfo: str) -> tuple[str | None, int | None]:
    """Host and port of a primary_conninfo; None for what it does not say, or what cannot be read."""
    try:
        options = conninfo_to_dict(conninfo)
    except ProgrammingError:
        return None, None
    host = options.get("host") or options.get("hostaddr")
    port = str(options.get("port") or "")
    return str(host) if host else None, int(port) if port.isascii() and port.isdigit() else None


def _escaped(field: str) -> str:
    """A field of a passfile. The last one, the password, is unescaped by libpq as well."""
    return field.replace("\\", "\\\\").replace(":", "\\:")
