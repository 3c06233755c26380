"""Shells and forwarded connections over one SSH connection a node. Nothing else calls exec_command."""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import paramiko

from replctl.model.errors import ConnectionLostError, UnreachableError
from replctl.model.values import NodeName
from replctl.remote.background import within
from replctl.remote.dial import Dialer, Wire
from replctl.remote.ports import Cancellation
from replctl.remote.script import LOGIN_COMMAND
from replctl.remote.ssh_config import SshServer
from replctl.remote.tracing import Kind, traced
from replctl.remote.transport import keep_order
from replctl.remote.waiting import NeverCancelled, Waiting

_CHUNK_BYTES = 1 << 15
_TURN_BYTES = 1 << 20
_RETRY_SECONDS = 2.0
_SESSION_WAIT_SECONDS = 5.0
_SESSION_POLL_SECONDS = 0.05
_OPEN_SECONDS = 10.0
_CONNECT_FAILED = 2
"""SSH_OPEN_CONNECT_FAILED (RFC 4254, section 5.1): the forwarding is allowed, the far end did not answer."""


class ChannelPipes:
    """Implements process.Pipes over a session channel."""

    def __init__(self, node: NodeName, channel: paramiko.Channel, on_close: Callable[[], None]) -> None:
        self._node = node
        self._channel = channel
        self._on_close = on_close
        self._pending = bytearray()
        self._closing = False
        self._closed = False
        channel.settimeout(0.0)

    def queue(self, text: bytes) -> None:
        self._pending += text

    def close_stdin(self) -> None:
        self._closing = True

    @property
    def unsent(self) -> int:
        return len(self._pending)

    @property
    def ended(self) -> bool:
        channel = self._channel
        ended = bool(channel.eof_received) or channel.closed
        return ended and not channel.recv_ready() and not channel.recv_stderr_ready()

    def exchange(self, seconds: float) -> tuple[bytes, bytes]:
        self._send()
        channel = self._channel
        if self.ended:
            channel.status_event.wait(seconds)
        elif not channel.recv_ready() and not channel.recv_stderr_ready():
            self._wait(seconds)
        return _drain(channel.recv_ready, channel.recv), _drain(channel.recv_stderr_ready, channel.recv_stderr)

    def status(self) -> int | None:
        """Paramiko knows no exit-signal: -1 is what a channel has that was closed without a status. One that the
        connection's end closed looks the same, so that the connection is asked, once its thread had time to end."""
        channel = self._channel
        if not channel.exit_status_ready():
            return None
        if channel.exit_status == -1 and not self._closed:
            transport = channel.get_transport()
            transport.join(0.05)
            if not transport.is_active():
                raise _lost(self._node)
        return channel.exit_status

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._channel.close()
            self._on_close()

    def _wait(self, seconds: float) -> None:
        """The channel's descriptor tells of arrivals; of room to send it does not, hence the short wait."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.poll(1000 * (min(seconds, 0.005) if self._pending else seconds))

    def _send(self) -> None:
        channel = self._channel
        sent = 0
        with contextlib.suppress(OSError, paramiko.SSHException):  # its end shows when the streams end
            while self._pending and sent < _TURN_BYTES and channel.send_ready():
                count = channel.send(bytes(self._pending[:_CHUNK_BYTES]))
                if count == 0:
                    return
                del self._pending[:count]
                sent += count
            if self._closing and not self._pending:
                self._closing = False
                channel.shutdown_write()


def _drain(ready: Callable[[], bool], receive: Callable[[int], bytes]) -> bytes:
    parts: list[bytes] = []
    taken = 0
    while taken < _TURN_BYTES and ready():
        parts.append(receive(_CHUNK_BYTES))
        taken += len(parts[-1])
    return b"".join(parts)


@dataclass(eq=False, slots=True)
class SshHost:
    """One node's kept connection, opened at first use and again after it broke. Implements shell_runner.Shells."""

    settings: SshServer
    dialer: Dialer
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _wire: Wire | None = None
    _failure: UnreachableError | None = None
    _retry_at: float = 0.0

    @property
    def node(self) -> NodeName:
        return self.settings.name

    @property
    def account(self) -> str:
        return self.settings.ssh.user or "the SSH user"

    def connect(self, cancellation: Cancellation) -> Wire:
        """The live connection. A failure stands for two seconds, so that probes in one round share one attempt."""
        with self._turn:
            if self._wire is not None and self._wire.transport.is_active():
                return self._wire
            self._drop()
            if self._failure is not None and self.dialer.clock.now() < self._retry_at:
                raise self._failure
            try:
                with traced(self.node, Kind.SSH, lambda: f"SSH to {self.settings.ssh_host}"):
                    self._wire = self.dialer.dial(self.settings, cancellation)
            except UnreachableError as error:
                self._failure, self._retry_at = error, self.dialer.clock.now() + _RETRY_SECONDS
                raise
            return self._wire

    def open(self, timeout: float, cancellation: Cancellation) -> ChannelPipes:
        wire = self.connect(cancellation)
        timeout = min(timeout, _OPEN_SECONDS)
        wait = Waiting(self.dialer.clock, cancellation, min(timeout, _SESSION_WAIT_SECONDS), _SESSION_POLL_SECONDS)
        channel = wait.until(lambda: _session(self.node, wire, timeout))
        if channel is None:
            raise self._no_session()
        return self._execute(channel, timeout, channel.close)

    def open_urgent(self, timeout: float) -> ChannelPipes:
        """When MaxSessions leaves no room, what occupies it is ended over a connection of its own."""
        wire = self.connect(NeverCancelled())
        if channel := _session(self.node, wire, timeout):
            return self._execute(channel, timeout, channel.close)
        spare = self.dialer.dial(self.settings, NeverCancelled())
        channel = _session(self.node, spare, timeout)
        if channel is None:
            spare.close()
            raise self._no_session()
        return self._execute(channel, timeout, spare.close)

    def open_tcp(self, host: str, port: int, timeout: float) -> paramiko.Channel:
        """A connection from the node's sshd to ``host:port``. Raises UnreachableError, ConnectionLostError."""
        wire = self.connect(NeverCancelled())
        wait = Waiting(self.dialer.clock, NeverCancelled(), timeout, _SESSION_POLL_SECONDS)
        try:
            channel = wait.until(lambda: _channel(self.node, wire, "direct-tcpip", (host, port), timeout))
        except paramiko.ChannelException as error:
            raise self._not_forwarded(host, port, error.code) from error
        if channel is None:
            raise _silent(self.node)
        return channel

    def close(self) -> None:
        with self._turn:
            self._drop()

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None

    def _execute(self, channel: paramiko.Channel, timeout: float, on_close: Callable[[], None]) -> ChannelPipes:
        """Paramiko waits for sshd's answer without a limit."""
        try:
            within(
                timeout,
                lambda: channel.exec_command(LOGIN_COMMAND),
                cancellation=NeverCancelled(),
                discard=lambda _: on_close(),
            )
        except TimeoutError:
            on_close()
            raise _silent(self.node) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            on_close()
            raise _lost(self.node) from error
        return ChannelPipes(self.node, channel, on_close)

    def _no_session(self) -> UnreachableError:
        return UnreachableError(
            f"sshd on {self.node} does not open another session",
            hint=f"Raise MaxSessions in sshd_config on {self.node}: replctl needs up to 10 at a time, the default.",
            node=self.node,
            code="max-sessions",
        )

    def _not_forwarded(self, host: str, port: int, code: int) -> UnreachableError:
        if code == _CONNECT_FAILED:
            return UnreachableError(
                f"nothing listens at {host}:{port} as seen from {self.node}, or it cannot be reached from there",
                hint=f"Check that PostgreSQL runs at {host}:{port} and that no firewall is in between.",
                node=self.node,
                code="connection-refused",
            )
        return UnreachableError(
            f"sshd on {self.node} does not forward a connection to {host}:{port}",
            hint=f"Set AllowTcpForwarding to yes or local in sshd_config on {self.node}, or set "
            "`postgres.connect: direct` in the inventory to reach the server at the node's own address.",
            node=self.node,
            code="forwarding-forbidden",
        )


def _session(node: NodeName, wire: Wire, timeout: float) -> paramiko.Channel | None:
    """A session channel; None when sshd has none left for now."""
    try:
        return _channel(node, wire, "session", None, timeout)
    except paramiko.ChannelException:
        return None


def _channel(
    node: NodeName, wire: Wire, kind: str, address: tuple[str, int] | None, timeout: float
) -> paramiko.Channel | None:
    """None when the reason for a refusal was lost: Paramiko keeps one a connection, and another thread took it.

    Raises ChannelException with the reason, UnreachableError when sshd does not answer, ConnectionLostError.
    """
    started = time.monotonic()
    try:
        return keep_order(wire.transport.open_channel(kind, address, ("127.0.0.1", 0), timeout=timeout))
    except paramiko.ChannelException:
        raise
    except (paramiko.SSHException, EOFError, OSError) as error:
        if wire.transport.is_active() and time.monotonic() - started < timeout:
            return None
        raise _broken(node, wire) from error


def _broken(node: NodeName, wire: Wire) -> UnreachableError | ConnectionLostError:
    return _silent(node) if wire.transport.is_active() else _lost(node)


def _silent(node: NodeName) -> UnreachableError:
    return UnreachableError(
        f"sshd on {node} accepted the connection and has stopped answering",
        hint=f"Look at the load of {node} and at the network, then run the same command again.",
        node=node,
        code="timeout",
    )


def _lost(node: NodeName) -> ConnectionLostError:
    return ConnectionLostError(
        f"the SSH connection to {node} broke",
        hint="Run the same command again: it looks at what is there and goes on from it.",
        node=node,
    )
