"""Opening an SSH connection: bytes, host key, login, within one deadline."""

from __future__ import annotations

import logging
import shlex
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import paramiko

from replctl.model.errors import UnreachableError
from replctl.remote.background import within
from replctl.remote.known_hosts import HostKey, KnownHosts, Verdict
from replctl.remote.ports import Cancellation, Clock
from replctl.remote.printable import one_line
from replctl.remote.proxy import ProxyProcess, connect_tcp, jump_command, proxy_command, tune
from replctl.remote.ssh_config import SshConfig, SshServer, Target
from replctl.remote.ssh_login import log_in
from replctl.remote.tunnel import end_stream

KEEPALIVE_SECONDS = 5
ATTENTION_SECONDS = 1.0
"""Paramiko's thread wakes up so often without a message, for its keepalives. Its own ten times a second cost a fifth of
what a screen that is watched took."""

# Paramiko logs what it also raises; without a handler Python would print it between our own lines.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(eq=False, slots=True)
class Wire:
    """An SSH connection that is logged in, with what carries it."""

    transport: paramiko.Transport
    below: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    """Closes what the connection runs through: a proxy's process, the connection to a jump host."""

    def close(self) -> None:
        """Its thread is woken first: a socket that is closed alone leaves it waiting for ATTENTION_SECONDS."""
        end_stream(self.transport.sock)
        self.transport.close()
        for close in self.below:
            close()


@dataclass(frozen=True, slots=True)
class Dialer:
    """Opens connections for one run."""

    config: SshConfig
    clock: Clock

    def dial(self, node: SshServer, cancellation: Cancellation) -> Wire:
        """Raises UnreachableError within the node's connect_timeout, and what the cancellation raises."""
        seconds = node.ssh.connect_timeout
        deadline = self.clock.now() + seconds
        try:
            return within(
                seconds + 0.3,  # the stages keep the deadline themselves and say more when they miss it
                lambda: self._dial(self.config.target(node), deadline),
                cancellation=cancellation,
                discard=Wire.close,
            )
        except TimeoutError:
            raise UnreachableError(
                f"{node.name} ({node.ssh_host}) cannot be reached over SSH within {seconds:g} s",
                hint="Check name resolution, the SSH agent and the network on the way to it.",
                node=node.name,
                code="timeout",
            ) from None

    def _dial(self, target: Target, deadline: float) -> Wire:
        stage = _Stage(target, f"no connection to {target.address}")
        below: list[Callable[[], None]] = []
        proxy: ProxyProcess | None = None
        try:
            stream = self._stream(target, deadline, below)
            if isinstance(stream, ProxyProcess):
                proxy, stream = stream, stream.socket
            return self._log_in(target, stream, below, deadline, stage)
        except UnreachableError:
            _close(below)
            raise
        except (OSError, EOFError, paramiko.SSHException) as error:
            words = proxy.words if proxy else ""
            _close(below)
            raise stage.failure(error, words, deadline - self.clock.now()) from error

    def _stream(
        self, target: Target, deadline: float, below: list[Callable[[], None]]
    ) -> socket.socket | paramiko.Channel | ProxyProcess:
        left = max(0.001, deadline - self.clock.now())
        if target.proxy_command or (target.proxy_jump and shutil.which("ssh")):
            process = ProxyProcess(
                proxy_command(target, target.proxy_command)
                if target.proxy_command
                else jump_command(target, target.proxy_jump or "", self.config.file)
            )
            below.append(process.close)
            return process
        if target.proxy_jump:
            return self._through_jump(target, target.proxy_jump, deadline, below)
        connection = connect_tcp(target.host, target.port, left)
        below.append(connection.close)
        tune(connection)
        return connection

    def _through_jump(
        self, target: Target, jumps: str, deadline: float, below: list[Callable[[], None]]
    ) -> paramiko.Channel:
        *earlier, last = jumps.split(",")
        jump = replace(self.config.jump(target, last), **({"proxy_jump": ",".join(earlier)} if earlier else {}))
        wire = self._dial(jump, deadline)
        below.append(wire.close)
        left = max(0.001, deadline - self.clock.now())
        return wire.transport.open_channel("direct-tcpip", (target.host, target.port), ("127.0.0.1", 0), timeout=left)

    def _log_in(
        self,
        target: Target,
        stream: socket.socket | paramiko.Channel,
        below: list[Callable[[], None]],
        deadline: float,
        stage: _Stage,
    ) -> Wire:
        known = KnownHosts.read(target.known_hosts, target.known_name)
        transport = paramiko.Transport(stream)
        below.insert(0, transport.close)
        options = transport.get_security_options()
        options.key_types = known.prefer(options.key_types)
        left = max(0.001, deadline - self.clock.now())
        transport.banner_timeout = transport.handshake_timeout = left
        stage.waits_for = f"no SSH greeting from {target.address}"
        transport.start_client(timeout=left)
        _check_host_key(transport, target, known)
        stage.waits_for = f"no end of the login at {target.address}"
        transport.auth_timeout = max(0.001, deadline - self.clock.now())
        log_in(transport, target, lambda: self.clock.now() >= deadline)
        transport.set_keepalive(KEEPALIVE_SECONDS)
        stream.settimeout(ATTENTION_SECONDS)
        return Wire(transport, below[1:])


@dataclass(slots=True)
class _Stage:
    """How far the connection has come, for the message when it comes no further."""

    target: Target
    waits_for: str

    def failure(self, error: Exception, proxy_words: str, left: float) -> UnreachableError:
        code, reason = _reason(error, left)
        words = f"; the proxy says: {one_line(proxy_words)}" if proxy_words.strip() else ""
        return UnreachableError(
            f"{self.target.node}: {self.waits_for}: {reason}{words}",
            hint=_HINTS.get(code, "Try `ssh -v` to the same address and see what it stops at.").format(
                host=self.target.host, port=self.target.port
            ),
            node=self.target.node,
            code=code,
        )


_HINTS = {
    "timeout": "Check that the host is up and that no firewall drops port {port}.",
    "connection-refused": "Check that sshd runs on {host} and that ssh.port is right.",
    "unknown-host": "Check the spelling of {host}, or use its address.",
}


def _reason(error: Exception, left: float) -> tuple[str, str]:
    """Socket errors carry their reason as a type; Paramiko's carry it as text, which is quoted and not judged."""
    match error:
        case socket.gaierror():
            return "unknown-host", error.strerror or "the name is not known"
        case ConnectionRefusedError():
            return "connection-refused", "connection refused"
        case TimeoutError():
            return "timeout", "timed out"
        case _ if left <= 0:
            return "timeout", "timed out"
        case OSError():
            return "unreachable", error.strerror or str(error)
        case EOFError():
            return "unreachable", "the server closed the connection"
        case _:
            return "unreachable", one_line(str(error))


def _close(closers: list[Callable[[], None]]) -> None:
    for close in closers:
        close()


def _check_host_key(transport: paramiko.Transport, target: Target, known: KnownHosts) -> None:
    """Before any authentication: a server that is not the one we know must not learn even a user name.

    Raises UnreachableError with the code ``host-key``.
    """
    shown = transport.get_remote_server_key()
    key = HostKey(shown.get_name(), shown.asbytes())
    verdict = known.judge(key)
    if verdict is Verdict.KNOWN:
        return
    file = shlex.quote(str(target.known_hosts[0])) if target.known_hosts else "~/.ssh/known_hosts"
    where = f"{key.type} {key.fingerprint} at {target.address}"
    compare = (
        f"On {target.node} itself, run `ssh-keygen -lf /etc/ssh/ssh_host_{_file_type(key.type)}_key.pub` and compare "
        "the fingerprint. "
    )
    add = f"`echo '{target.known_name} {key.line}' >> {file}`"
    message, hint = {
        Verdict.UNKNOWN: (
            f"the host key of {target.node} is not known: {where}",
            compare + f"If it is the same, add the key: {add}",
        ),
        Verdict.CHANGED: (
            f"the host key of {target.node} has changed: {where}, where known_hosts has "
            + ", ".join(f"{old.type} {old.fingerprint}" for old in known.trusted),
            "Someone may be listening in. " + compare + "If it is the same and you know why it changed, replace "
            f"the key: `ssh-keygen -R '{target.known_name}' -f {file}`, then {add}",
        ),
        Verdict.REVOKED: (
            f"the host key of {target.node} is marked @revoked: {where}",
            f"Give the host a new key, and find out who answers at {target.address}.",
        ),
    }[verdict]
    raise UnreachableError(message, hint=hint, node=target.node, code="host-key")


def _file_type(key_type: str) -> str:
    """As ssh-keygen names the host's files."""
    return "ecdsa" if key_type.startswith("ecdsa") else key_type.removeprefix("ssh-")
