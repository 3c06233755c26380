"""SQL through psql on the host, as the OS user at the local socket: for a server that knows no password of ours yet.

One psql a session, fed by its stdin: nothing of a statement stands in a process list. Every answer is one line of JSON.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import cast

from psycopg import sql

from replctl.model.errors import ConnectionLostError, ReplctlError, SqlError, WaitTimeoutError
from replctl.model.values import NodeName
from replctl.remote.ports import Process, Query, Row, Runner
from replctl.remote.printable import one_line
from replctl.remote.sql import shown
from replctl.remote.sql_errors import hint_for
from replctl.remote.tracing import Kind, traced

_SUCCESS = "00000"
_GRACE_SECONDS = 2.0
_END_SECONDS = 5.0


def open_psql(
    runner: Runner, node: NodeName, bin_dir: str, socket_dir: str, port: int, *, dbname: str = "postgres", options: str
) -> PsqlDatabase:
    """A session as the OS user's role. ``options`` are libpq's.

    Raises SqlError when the server does not let that user in, ConnectionLostError when psql cannot be run.
    """
    process = runner.spawn(
        (
            "env",
            f"PGOPTIONS={options}",
            # What we write is UTF-8. Without a terminal psql takes the database's own encoding for granted.
            "PGCLIENTENCODING=UTF8",
            f"{bin_dir}/psql",
            "--no-psqlrc",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--no-password",
            "--set=VERBOSITY=terse",
            f"--host={socket_dir}",
            f"--port={port}",
            f"--dbname={dbname}",
        )
    )
    database = PsqlDatabase(node, process)
    try:
        database.fetch("select 1 as one")
    except (ReplctlError, EOFError):
        database.close()
        raise
    return database


class PsqlDatabase:
    """Implements ports.Database. One thread uses it."""

    def __init__(self, node: NodeName, process: Process) -> None:
        self.node = node
        self._process = process
        self._usable = True
        self._limit_ms: int | None = None

    def fetch(
        self, query: Query, params: Sequence[object] | Mapping[str, object] = (), *, timeout: float = 10.0
    ) -> list[Row]:
        asked = _bound(query, params).strip().removesuffix(";")
        with traced(self.node, Kind.STATEMENT, lambda: shown(query)):
            lines = self._run(
                f"select coalesce(jsonb_agg(to_jsonb(answer)), '[]') from (\n{asked}\n) as answer", timeout
            )
        found: object = json.loads("\n".join(lines) or "[]")
        return cast("list[Row]", found)

    def execute(
        self, query: Query, params: Sequence[object] | Mapping[str, object] = (), *, timeout: float = 10.0
    ) -> None:
        with traced(self.node, Kind.STATEMENT, lambda: shown(query)):
            self._run(_bound(query, params), timeout)

    @contextmanager
    def _block(self) -> Generator[None]:
        self.execute("begin")
        try:
            yield
        except BaseException:
            if self._usable:
                self.execute("rollback")
            raise
        self.execute("commit")

    def transaction(self) -> AbstractContextManager[None]:
        return self._block()

    @property
    def usable(self) -> bool:
        return self._usable

    def close(self) -> None:
        if self._usable:
            self._usable = False
            self._process.close_stdin()
            with suppress(ReplctlError):
                self._process.wait(_END_SECONDS)
                return
        self._process.kill()

    def _run(self, text: str, timeout: float) -> list[str]:
        """The lines that a statement printed."""
        limit_ms = max(1, round(timeout * 1000))
        if limit_ms != self._limit_ms:
            self._limit_ms = limit_ms
            with traced(self.node, Kind.STATEMENT, lambda: "set statement_timeout = ..."):
                self._send(f"set statement_timeout = {limit_ms}", timeout)
        return self._send(text, timeout)

    def _send(self, text: str, timeout: float) -> list[str]:
        mark = secrets.token_hex(16)
        # A statement that a quote or a comment left open would swallow the echo: it never comes, and nothing is done.
        self._process.write(f"{text}\n;\n\\echo {mark} :SQLSTATE :LAST_ERROR_MESSAGE\n".encode())
        lines: list[str] = []
        while True:
            line = self._read(timeout + _GRACE_SECONDS)
            if line.startswith(mark):
                state, _, message = line[len(mark) + 1 :].partition(" ")
                if state != _SUCCESS:
                    raise self._refused(state, message)
                return lines
            lines.append(line)

    def _read(self, seconds: float) -> str:
        try:
            line = self._process.read_line(seconds)
        except EOFError:
            self._usable = False
            raise self._ended() from None
        except ConnectionLostError:
            self._usable = False
            raise
        if line is None:
            self._usable = False
            self._process.kill()
            raise ConnectionLostError(
                f"psql on {self.node} does not answer",
                hint="Run the same command again: it looks at what is there and goes on from it.",
                node=self.node,
            )
        return line.decode("utf-8", "replace")

    def _refused(self, state: str, message: str) -> SqlError:
        return SqlError(
            f"{self.node}: {one_line(message)}", hint=hint_for(state, self.node), node=self.node, sqlstate=state
        )

    def _ended(self) -> ReplctlError:
        """psql ends by itself when it is not let in, or its session broke."""
        try:
            words = one_line(self._process.wait(_END_SECONDS).error_text)
        except WaitTimeoutError:
            words = "it ended"
        return SqlError(
            f"{self.node}: no session through the local socket: {words}",
            hint=f"See that postgres.port of {self.node} is the server's, and that it has a socket there. `local all "
            "all peer` in pg_hba.conf and a superuser of the OS user's name let replctl in; so does an admin role with "
            "the inventory's password, from 127.0.0.1.",
            node=self.node,
            sqlstate=None,
        )


def _bound(query: Query, params: Sequence[object] | Mapping[str, object]) -> str:
    """A statement with its parameters as literals."""
    text = query if isinstance(query, str) else query.as_string()
    if not params:
        return text
    if isinstance(params, Mapping):
        return text % {name: sql.Literal(value).as_string() for name, value in params.items()}
    return text % tuple(sql.Literal(value).as_string() for value in params)
