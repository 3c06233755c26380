"""The links to every node of an inventory: one SSH connection each, opened at first use and kept."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg.pq.abc import PGconn

from replctl.model.errors import ConnectionLostError, ReplctlError, SqlError, UnreachableError
from replctl.model.inventory import AppHost, Connection, Inventory, Node, SqlRoute
from replctl.model.secret import Passwords
from replctl.model.values import NodeName
from replctl.remote.dial import Dialer
from replctl.remote.local import LocalShells
from replctl.remote.ports import Cancellation, Clock, Database, Fleet, Runner
from replctl.remote.printable import one_line
from replctl.remote.psql import PsqlDatabase, open_psql
from replctl.remote.shell_runner import ShellRunner
from replctl.remote.sql import SqlDatabase, TimedConnection
from replctl.remote.sql_connect import Endpoint, Login, connect
from replctl.remote.sql_errors import translate
from replctl.remote.ssh import SshHost
from replctl.remote.ssh_config import SshConfig
from replctl.remote.tracing import Kind, traced
from replctl.remote.tunnel import Tunnel
from replctl.remote.waiting import NeverCancelled

KEPT_SESSIONS = 2
"""For a node, while nobody uses them: its connections are the application's."""
INVALID_LOGIN = "28P01"
"""PostgreSQL docs, appendix A."""
_IDENTITY: LiteralString = "select current_setting('data_directory') as data_directory, current_setting('port') as port"


@dataclass(eq=False, slots=True)
class Link:
    """Implements ports.NodeLink. ``ssh`` is None for a node on this machine."""

    node: Node
    inventory: Inventory
    passwords: Passwords
    shell_runner: ShellRunner
    ssh: SshHost | None
    _sessions: list[SqlDatabase] = field(default_factory=list[SqlDatabase])
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _idle: list[SqlDatabase] = field(default_factory=list[SqlDatabase])
    """Of ``_sessions``, those that the next block of session() may have."""

    @property
    def name(self) -> NodeName:
        return self.node.name

    @property
    def runner(self) -> Runner:
        """Connecting is bounded by connect_timeout and not interrupted: undo asks for runners too."""
        if self.ssh is not None:
            self.ssh.connect(NeverCancelled())
        return self.shell_runner

    @contextmanager
    def session(self, *, timeout: float = 10.0) -> Generator[Database]:
        database = self._take_idle() or self.database(timeout=timeout)
        try:
            yield database
        except BaseException:
            database.close()
            raise
        with self._turn:
            kept = len(self._idle) < KEPT_SESSIONS
            if kept:
                self._idle.append(database)
        if not kept:
            database.close()

    def _take_idle(self) -> SqlDatabase | None:
        """The server may have ended a session while nobody used it."""
        while True:
            with self._turn:
                if not self._idle:
                    return None
                database = self._idle.pop()
            if database.is_idle:
                return database
            database.close()

    def database(self, dbname: str = "postgres", *, options: str = "", timeout: float = 10.0) -> SqlDatabase:
        pgconn, on_close = self._connect_as_admin(dbname, options, timeout)
        database = SqlDatabase(self.name, TimedConnection(pgconn), lambda: self._closed(database, on_close))
        with self._turn:
            self._sessions.append(database)
        try:
            self._check_identity(database, timeout)
        except ReplctlError:
            database.close()
            raise
        return database

    def local_database(self, bin_dir: str, socket_dir: str, *, options: str = "") -> PsqlDatabase:
        port = self.node.postgres.port
        return open_psql(self.runner, self.name, bin_dir, socket_dir, port, options=options)

    def replication_login(self, host: str, port: int, *, timeout: float) -> str:
        replication = self.inventory.replication
        login = Login(replication.user, self.passwords.replication, None)
        shown = f"{host}:{port} (from {self.name})"
        with traced(self.name, Kind.SESSION, lambda: f"replication login at {host}:{port} as {login.user}"):
            if self.ssh is None:
                return _identify_system(connect(Endpoint(self.name, shown, host, port), login, timeout), self.name)
            with Tunnel(self.ssh.open_tcp(host, port, timeout), port, timeout) as tunnel:
                endpoint = Endpoint(self.name, shown, str(tunnel.folder), port)
                return _identify_system(connect(endpoint, login, timeout), self.name)

    def close(self) -> None:
        with self._turn:
            sessions = list(self._sessions)
        for session in sessions:
            session.close()
        self.shell_runner.close()

    def _connect_as_admin(self, dbname: str, options: str, timeout: float) -> tuple[PGconn, Callable[[], None]]:
        """While the admin's password is changed, a standby takes the old one until it has replayed the new one."""
        user, old = self.inventory.admin.user, self.passwords.old_admin
        try:
            return self._connect(Login(user, self.passwords.admin, dbname, options), timeout)
        except SqlError as error:
            if old is None or error.sqlstate != INVALID_LOGIN:
                raise
        return self._connect(Login(user, old, dbname, options), timeout)

    def _connect(self, login: Login, timeout: float) -> tuple[PGconn, Callable[[], None]]:
        with traced(self.name, Kind.SESSION, lambda: f"session as {login.user} in database {login.dbname}"):
            return self._open_session(login, timeout)

    def _open_session(self, login: Login, timeout: float) -> tuple[PGconn, Callable[[], None]]:
        port = self.node.postgres.port
        if self.ssh is None or self.node.postgres.connect is SqlRoute.DIRECT:
            host = self.node.host if self.ssh is not None or _is_loopback(self.node.host) else "127.0.0.1"
            return connect(Endpoint(self.name, f"{host}:{port}", host, port), login, timeout), _nothing
        tunnel = Tunnel(self.ssh.open_tcp("127.0.0.1", port, timeout), port, timeout)
        try:
            pgconn = connect(Endpoint(self.name, f"{self.name}:{port}", str(tunnel.folder), port), login, timeout)
        except ReplctlError:
            tunnel.close()
            raise
        tunnel.hide()
        return pgconn, tunnel.close

    def _closed(self, database: SqlDatabase, on_close: Callable[[], None]) -> None:
        on_close()
        with self._turn:
            if database in self._sessions:
                self._sessions.remove(database)

    def _check_identity(self, database: SqlDatabase, timeout: float) -> None:
        """All members of a cluster share its system identifier: the directory and port tell them apart."""
        if not database.is_superuser:
            raise SqlError(
                f"{self.inventory.admin.user} on {self.name} is no superuser",
                hint=f"ALTER ROLE {self.inventory.admin.user} SUPERUSER, or name a superuser as admin.user.",
                node=self.name,
                sqlstate="42501",
            )
        row = database.fetch(_IDENTITY, timeout=timeout)[0]
        wanted = self.node.postgres
        if int(row["port"]) == wanted.port and self._same_directory(row["data_directory"], wanted.data_dir):
            return
        raise UnreachableError(
            f"another PostgreSQL instance answers for {self.name}: its data directory is "
            f"{one_line(row['data_directory'])} and its port {row['port']}, not {wanted.data_dir} and {wanted.port}",
            hint=f"Mend postgres.data_dir or postgres.port of {self.name} in the inventory.",
            node=self.name,
            code="other-instance",
        )

    def _same_directory(self, found: str, wanted: str) -> bool:
        """The server keeps the path it was started with, which may lead through symbolic links."""
        if posixpath.normpath(found) == posixpath.normpath(wanted):
            return True
        argv = ("readlink", "-f", "--", found, wanted)
        try:
            answer = self.shell_runner.shielded().run(argv, timeout=self.node.ssh.connect_timeout, check=False)
        except ReplctlError:
            return False  # without SSH there is no way to know: not our instance until shown otherwise
        paths = answer.text.split("\n")
        return answer.status == 0 and paths[0] == paths[1]


@dataclass(frozen=True, slots=True)
class Links:
    """Implements ports.Fleet."""

    links: dict[NodeName, Link]
    app_hosts: dict[str, Runner]
    """By their label."""

    def __getitem__(self, name: NodeName) -> Link:
        return self.links[name]

    def __iter__(self) -> Iterator[NodeName]:
        return iter(self.links)

    def on_app_host(self, host: AppHost) -> Runner:
        return self.app_hosts[host.label]

    def close(self) -> None:
        for link in self.links.values():
            link.close()
        for runner in self.app_hosts.values():
            runner.close()


def open_fleet(
    inventory: Inventory,
    passwords: Passwords,
    *,
    cancellation: Cancellation,
    clock: Clock,
    warn: Callable[[str], None],
    ssh_config: Path | None = None,
) -> Fleet:
    """Links to every node; nothing is contacted yet. ``warn`` is told, from any thread, what the SSH configuration
    says and we cannot honour. ``ssh_config`` replaces OpenSSH's usual files."""
    dialer = Dialer(SshConfig(warn, ssh_config), clock)

    def link(node: Node) -> Link:
        ssh = SshHost(node, dialer) if node.connection is Connection.SSH else None
        shells = ssh or LocalShells(node.name)
        return Link(node, inventory, passwords, ShellRunner(shells, node.postgres.os_user, clock, cancellation), ssh)

    def on(host: AppHost) -> Runner:
        return ShellRunner(SshHost(host, dialer), host.ssh.user or "", clock, cancellation).as_login_user()

    app_hosts = {host.label: on(host) for host in inventory.app.publish}
    return Links({name: link(node) for name, node in inventory.nodes.items()}, app_hosts)


def _identify_system(pgconn: PGconn, node: NodeName) -> str:
    """A walsender knows the simple protocol alone, which is what psycopg uses for a query without parameters."""
    connection = TimedConnection(pgconn)
    try:
        with traced(node, Kind.STATEMENT, lambda: "IDENTIFY_SYSTEM"), psycopg.ClientCursor(connection) as cursor:
            row = cursor.execute("IDENTIFY_SYSTEM").fetchone()
    except psycopg.Error as error:
        raise translate(error, node, connection) from error
    except TimeoutError as error:
        raise ConnectionLostError(
            f"no answer to IDENTIFY_SYSTEM, asked from {node}", hint="Run the same command again.", node=node
        ) from error
    finally:
        connection.close()
    assert row is not None
    return str(row["systemid"])


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _nothing() -> None:
    return
