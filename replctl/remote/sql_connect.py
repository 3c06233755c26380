"""Opening a session with libpq, step by step: within a deadline, and with the SQLSTATE of a refused login."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import conninfo, pq
from psycopg.pq.abc import PGconn

from replctl.model.errors import UnreachableError
from replctl.model.secret import Secret
from replctl.model.values import NodeName
from replctl.remote.background import within
from replctl.remote.printable import one_line
from replctl.remote.proxy import connect_tcp
from replctl.remote.sql_errors import ServerWords, server_words
from replctl.remote.waiting import NeverCancelled

_PEEK_BYTES = 1 << 14
_LEFT_OUT_OF_DEFAULTS = (
    "PGSERVICEFILE",
    "PGSYSCONFDIR",
    "PGLOCALEDIR",
    "PGREQUIRESSL",
    "PGTZ",
    "PGDATESTYLE",
    "PGGEQO",
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where libpq connects to. ``host`` is a name, an address or the folder of a Unix socket."""

    node: NodeName
    """Named in errors."""
    shown: str
    """The server's address as the operator knows it."""
    host: str
    port: int

    @property
    def is_tunnel(self) -> bool:
        return self.host.startswith("/")


@dataclass(frozen=True, slots=True)
class Login:
    user: str
    password: Secret
    dbname: str | None
    """None for a replication connection."""
    options: str = ""


def connect(endpoint: Endpoint, login: Login, timeout: float) -> PGconn:
    """A connection that is logged in. ``timeout`` in seconds.

    Raises SqlError with the server's SQLSTATE when the login is refused, else UnreachableError.
    """
    _scrub_environment()
    deadline = time.monotonic() + timeout
    try:
        return within(
            timeout + 0.3,  # libpq resolves names without a limit
            lambda: _connect(endpoint, login, deadline),
            cancellation=NeverCancelled(),
            discard=lambda late: late.finish(),
        )
    except TimeoutError:
        raise _no_answer(endpoint, timeout) from None


def _connect(endpoint: Endpoint, login: Login, deadline: float) -> PGconn:
    result = _attempt(endpoint, login, "disable" if endpoint.is_tunnel else "prefer", deadline)
    if not isinstance(result, _Failed):
        return result
    words = result.words
    if words is None and not endpoint.is_tunnel:
        if failure := _tcp_failure(endpoint, deadline):
            raise failure
        words = _words_without_tls(endpoint, login, result.libpq_says, deadline)
    if words is not None:
        raise words.error(endpoint.node, f"{endpoint.shown} does not let {login.user} in")
    raise UnreachableError(
        f"no SQL session at {endpoint.shown}: {one_line(result.libpq_says)}",
        hint=f"Check that PostgreSQL listens at {endpoint.shown}, and look at its log.",
        node=endpoint.node,
        code="connection-lost",
    )


@dataclass(frozen=True, slots=True)
class _Failed:
    libpq_says: str
    words: ServerWords | None


def _attempt(endpoint: Endpoint, login: Login, sslmode: str, deadline: float) -> PGconn | _Failed:
    """One run of libpq's own state machine. Raises TimeoutError."""
    text = conninfo.make_conninfo("", **_parameters(endpoint, login), sslmode=sslmode)
    connection = pq.PGconn.connect_start(text.encode())
    words: ServerWords | None = None
    try:
        while (step := connection.connect_poll()) != pq.PollingStatus.OK:
            if step == pq.PollingStatus.FAILED:
                says = connection.get_error_message()
                connection.finish()
                return _Failed(says, words)
            reading = step == pq.PollingStatus.READING
            _wait(connection.socket, select.POLLIN if reading else select.POLLOUT, deadline)
            words = (_peek(connection.socket) if reading else None) or words
    except BaseException:
        connection.finish()
        raise
    connection.nonblocking = 1
    return connection


def _words_without_tls(endpoint: Endpoint, login: Login, libpq_says: str, deadline: float) -> ServerWords | None:
    """TLS hides the SQLSTATE from us: have the server repeat its refusal without it. (SCRAM shows no password.)

    Another refusal than the first one, such as that of a server which wants TLS, is not the one that counts.
    """
    result = _attempt(endpoint, login, "disable", deadline)
    if not isinstance(result, _Failed):
        result.finish()
        return None
    return result.words if result.words and result.words.message in libpq_says else None


def _wait(descriptor: int, events: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, events)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


def _peek(descriptor: int) -> ServerWords | None:
    """Look at what libpq is about to read: it keeps the words of a refusal and drops the SQLSTATE."""
    with socket.socket(fileno=os.dup(descriptor)) as copy, contextlib.suppress(OSError):
        return server_words(copy.recv(_PEEK_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    return None


def _tcp_failure(endpoint: Endpoint, deadline: float) -> Exception | None:
    """libpq says in words alone why it could not connect: try once more, for the reason's type."""
    try:
        connect_tcp(endpoint.host, endpoint.port, max(0.5, deadline - time.monotonic())).close()
    except socket.gaierror:
        code, reason, hint = "unknown-host", "the name is not known", "Check its spelling, or use the address."
    except TimeoutError:
        return _no_answer(endpoint, None)
    except ConnectionRefusedError:
        code, reason = "connection-refused", "nothing listens there"
        hint = "Check that PostgreSQL runs, and its port and listen_addresses."
    except OSError as error:
        code, reason, hint = "unreachable", error.strerror or str(error), "Check the route to it."
    else:
        return None
    return UnreachableError(f"no SQL session at {endpoint.shown}: {reason}", hint=hint, node=endpoint.node, code=code)


def _no_answer(endpoint: Endpoint, seconds: float | None) -> UnreachableError:
    within_time = f" within {seconds:g} s" if seconds is not None else ""
    return UnreachableError(
        f"no answer from PostgreSQL at {endpoint.shown}{within_time}",
        hint="Check that the server is not overloaded and that no firewall drops the connection.",
        node=endpoint.node,
        code="timeout",
    )


def _parameters(endpoint: Endpoint, login: Login) -> Mapping[str, str | int]:
    """``require_auth``: a false server on the direct route must not be told the password itself."""
    return {
        "host": endpoint.host,
        "port": endpoint.port,
        "user": login.user,
        "password": login.password.reveal(),
        **({"replication": "true"} if login.dbname is None else {"dbname": login.dbname}),
        **({"options": login.options} if login.options else {}),
        **({"require_auth": "!password"} if pq.version() >= 160000 else {}),
        "application_name": "replctl",
        "client_encoding": "utf8",
        "gssencmode": "disable",
        "passfile": os.devnull,
        "tcp_user_timeout": 15_000,
    }


def _scrub_environment() -> None:
    """PGHOSTADDR beside a socket folder would bypass the tunnel, PGSERVICE and PGOPTIONS change the session."""
    known = {default.envvar.decode() for default in pq.Conninfo.get_defaults() if default.envvar}
    for name in known.union(_LEFT_OUT_OF_DEFAULTS):
        os.environ.pop(name, None)
