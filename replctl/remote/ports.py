"""The ports: what execution and observation need of a host, a server and the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol

from psycopg import sql

from replctl.model.inventory import AppHost
from replctl.model.secret import Secret
from replctl.model.values import NodeName

Query = LiteralString | sql.SQL | sql.Composed
Row = Mapping[str, Any]

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
"""More than this on one stream of one command is an error: remote output is untrusted."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a remote command ended. ``status`` is -1 when a signal ended it."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")

    @property
    def error_text(self) -> str:
        return self.stderr.decode("utf-8", "replace")


class Cancellation(Protocol):
    """Asked at least every 100 ms by everything that waits."""

    def raise_if_cancelled(self) -> None:
        """Raises InterruptedByOperator once the operator interrupted the run."""
        ...


class Process(Protocol):
    """A command that goes on while we do other things: its stdin stays open until close_stdin()."""

    def write(self, text: bytes) -> None:
        """Write to its stdin. Raises ConnectionLostError when it is gone."""
        ...

    def close_stdin(self) -> None: ...

    def read_line(self, timeout: float) -> bytes | None:
        """The next line of stdout without its newline (LF or CR).

        None when ``timeout`` seconds pass without one. Raises ConnectionLostError when the channel broke,
        EOFError once stdout has ended.
        """
        ...

    def wait(self, timeout: float) -> CommandResult:
        """Wait for its end; stdout holds what read_line has not taken.

        Raises WaitTimeoutError after ``timeout`` seconds, leaving the process as it is.
        """
        ...

    def kill(self) -> None:
        """SIGTERM, then SIGKILL after one second, to its whole process group; returns once it is gone or
        the host stopped answering. Never raises."""
        ...


class Runner(Protocol):
    """Runs commands on one node as the PostgreSQL OS user, each in a process group of its own, under LC_ALL=C,
    in the directory ``/``, with a PATH that includes the system's usual directories."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Secret = b"",
        timeout: float,
        check: bool = True,
    ) -> CommandResult:
        """Run to its end. ``timeout`` in seconds.

        With ``check`` a status other than 0 raises CommandFailedError (whose message names the program and
        whose stderr is capped). Raises WaitTimeoutError after ending the whole remote process group,
        ConnectionLostError when the connection broke (outcome unknown), InterruptedByOperator likewise after
        ending the group, and UnreachableError with a hint when the OS user cannot be assumed (sudo asks).
        """
        ...

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start a command whose stdin we keep."""
        ...

    def get_ready(self, argv: Sequence[str]) -> None:
        """Have the command wait on the host for its go, which a run() of the same words gives. It is not carried out
        when that never comes. Raises UnreachableError, ConnectionLostError, WaitTimeoutError."""
        ...

    def shielded(self) -> Runner:
        """The same runner, deaf to the operator's interrupts: for undo."""
        ...

    def as_login_user(self) -> Runner:
        """The same host, as the user that SSH logged in as: who may use systemctl is decided by that user's sudo."""
        ...

    def close(self) -> None: ...


class Database(Protocol):
    """One SQL session, in autocommit mode, whose identity was checked when it was opened."""

    def fetch(
        self, query: Query, params: Sequence[object] | Mapping[str, object] = (), *, timeout: float = 10.0
    ) -> list[Row]:
        """Rows of one statement. ``timeout`` in seconds.

        Raises SqlError, or ConnectionLostError when the session broke.
        """
        ...

    def execute(
        self, query: Query, params: Sequence[object] | Mapping[str, object] = (), *, timeout: float = 10.0
    ) -> None:
        """Run one statement for its effect. Raises like fetch."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction around the statements inside: committed at the end, rolled back on an exception."""
        ...

    @property
    def usable(self) -> bool:
        """False once the session is known to be closed or broken."""
        ...

    def close(self) -> None: ...


class Clock(Protocol):
    """Time for waiting: seconds that also count while the machine is suspended."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class NodeLink(Protocol):
    """One node's kept connection: opened on first use, shared by threads, closed once."""

    @property
    def name(self) -> NodeName: ...

    @property
    def runner(self) -> Runner:
        """Raises UnreachableError when the node cannot be contacted."""
        ...

    def database(self, dbname: str = "postgres", *, options: str = "", timeout: float = 10.0) -> Database:
        """A new SQL session as the admin role, by the node's route (tunnel or direct). ``options`` are libpq's
        (``-c name=value``). Raises UnreachableError; SqlError carries the sqlstate of a refused login
        (28P01 wrong password, 57P03 starting up or shutting down)."""
        ...

    def local_database(self, bin_dir: str, socket_dir: str, *, options: str = "") -> Database:
        """A new SQL session through psql on the host, as the OS user at its socket. Raises like database()."""
        ...

    def session(self, *, timeout: float = 10.0) -> AbstractContextManager[Database]:
        """A session like database()'s for the length of a block: one that an earlier block left open, or a new one.
        The block changes nothing about the session that would outlast it. Raises like database()."""
        ...

    def replication_login(self, host: str, port: int, *, timeout: float) -> str:
        """Log in at ``host:port`` as the replication role with the inventory's password, from this node's own
        address, and return the system identifier that IDENTIFY_SYSTEM answers.

        Raises SqlError with the server's own words when the login is refused, UnreachableError when this node
        cannot reach ``host:port`` or does not let us forward a connection.
        """
        ...

    def close(self) -> None: ...


class Fleet(Protocol):
    """The links to every node of an inventory, made when the command starts and closed when it ends."""

    def __getitem__(self, name: NodeName) -> NodeLink: ...

    def __iter__(self) -> Iterator[NodeName]: ...

    def on_app_host(self, host: AppHost) -> Runner:
        """Commands on a host of the application, as its SSH user; connects with the first of them, which raises
        UnreachableError."""
        ...

    def close(self) -> None: ...


Progress = Callable[[str], None]
"""Told what a long step waits for, in a few words."""
