"""PostgreSQL's errors and libpq's, told apart by SQLSTATE and translated once."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from replctl.model.errors import ConnectionLostError, ReplctlError, SqlError
from replctl.model.values import NodeName
from replctl.remote.printable import one_line

_HINTS = {
    "28P01": "Check the password in the inventory; `ALTER ROLE ... PASSWORD` on the primary sets another one.",
    "28000": "Check that pg_hba.conf of the server has a line for this role and address, before any that rejects it.",
    "42501": "Give the role what it needs, or name a superuser as admin.user.",
    "53300": "Wait for sessions to end, or raise max_connections.",
    "57014": "Look at pg_stat_activity for what the statement waits for, then run the same command again.",
    "57P03": "Wait until the server has started or stopped, then run the same command again.",
    "3D000": "Check the database's name.",
}


@dataclass(frozen=True, slots=True)
class ServerWords:
    """An ErrorResponse that the server sent instead of letting us in."""

    sqlstate: str
    message: str
    detail: str = ""
    hint: str = ""

    def error(self, node: NodeName, what: str) -> SqlError:
        words = ": ".join(one_line(text) for text in (self.message, self.detail) if text)
        return SqlError(
            f"{what}: {words}",
            hint=one_line(self.hint) or hint_for(self.sqlstate, node),
            node=node,
            sqlstate=self.sqlstate,
        )


def hint_for(sqlstate: str | None, node: NodeName) -> str:
    return _HINTS.get(sqlstate or "", f"Look at the server's log on {node}.")


def server_words(received: bytes) -> ServerWords | None:
    """The error among the messages at the beginning of what the server sent.

    libpq keeps no SQLSTATE of a refused login, only the words, whose language is the server's.
    """
    at = 0
    while len(received) - at >= 5:
        length = int.from_bytes(received[at + 1 : at + 5])
        if received[at : at + 1] == b"E":
            return _parse_error(received[at + 5 : at + 1 + length])
        if length < 4:
            return None
        at += 1 + length
    return None


def _parse_error(body: bytes) -> ServerWords | None:
    """Fields of one type byte and a zero-terminated text (PostgreSQL docs, 55.8)."""
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
    sqlstate = fields.get(b"C", "")
    if len(sqlstate) != 5:
        return None
    return ServerWords(sqlstate, fields.get(b"M", ""), fields.get(b"D", ""), fields.get(b"H", ""))


def translate(error: psycopg.Error, node: NodeName, connection: psycopg.Connection[dict[str, object]]) -> ReplctlError:
    """A failed statement as SqlError, a broken session as ConnectionLostError."""
    words = one_line(error.diag.message_primary or str(error))
    if connection.closed:
        return lost(node, words)
    detail = f": {one_line(error.diag.message_detail)}" if error.diag.message_detail else ""
    return SqlError(
        f"{node}: {words}{detail}",
        hint=one_line(error.diag.message_hint or "") or hint_for(error.sqlstate, node),
        node=node,
        sqlstate=error.sqlstate,
    )


def lost(node: NodeName, words: str) -> ConnectionLostError:
    return ConnectionLostError(
        f"the SQL session on {node} broke: {words}",
        hint="Run the same command again: it looks at what is there and goes on from it.",
        node=node,
    )
