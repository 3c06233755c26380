"""Byte streams to a server's SSH port: TCP, or a ProxyCommand's process."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from replctl.remote.ssh_config import Target

# Bytes that nobody has acknowledged for so long end the connection: Paramiko's keepalives expect no answer.
_UNACKNOWLEDGED_MS = 15_000


def connect_tcp(host: str, port: int, seconds: float) -> socket.socket:
    """The first address of ``host`` that answers. Raises OSError: TimeoutError, gaierror, ConnectionRefusedError."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(max(0.001, seconds / len(addresses)))
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure or OSError(f"no address for {host}")


def tune(connection: socket.socket) -> None:
    """Without TCP_NODELAY a remote command takes 45 ms instead of 3: SSH sends in small pieces, which Nagle delays."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if user_timeout := getattr(socket, "TCP_USER_TIMEOUT", None):
        connection.setsockopt(socket.IPPROTO_TCP, user_timeout, _UNACKNOWLEDGED_MS)


class ProxyProcess:
    """A process whose stdin and stdout lead to the server."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.socket, theirs = socket.socketpair()
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        with theirs:
            # A session of its own: Ctrl-C at the terminal must not cut the connection that undo needs.
            self._child = subprocess.Popen(
                argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._words, start_new_session=True
            )

    @property
    def words(self) -> str:
        """What it printed on stderr."""
        if self._words.closed:
            return ""
        self._words.seek(0)
        return self._words.read(4096).decode("utf-8", "replace")

    def close(self) -> None:
        self.socket.close()
        self._child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(1)
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self._words.close()


def proxy_command(target: Target, command: str) -> tuple[str, ...]:
    """The operator's ProxyCommand with its tokens filled in, run by a shell as ssh does."""
    tokens = {"%": "%", "h": target.host, "p": str(target.port), "r": target.user, "n": target.name}
    return ("/bin/sh", "-c", "exec " + re.sub(r"%([%hprn])", lambda found: tokens[found[1]], command))


def jump_command(target: Target, jumps: str, config: Path | None) -> tuple[str, ...]:
    """OpenSSH's own ``-W`` through the last jump host, so that its configuration and host keys hold there too."""
    *earlier, last = jumps.split(",")
    return (
        "ssh",
        *(("-F", str(config)) if config else ()),
        *(("-J", ",".join(earlier)) if earlier else ()),
        *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(target.connect_timeout))}"),
        *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
        *("-W", f"[{target.host}]:{target.port}", "--", _jump_uri(last)),
    )


def _jump_uri(jump: str) -> str:
    """``user@host:port`` is a destination only in the form of a URI."""
    return jump if jump.startswith("ssh://") else f"ssh://{jump}"
