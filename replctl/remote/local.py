"""Shells on the operator's own machine, for nodes with ``connection: local``."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import subprocess
from dataclasses import dataclass, field
from typing import IO

from replctl.model.errors import UnreachableError
from replctl.model.values import NodeName
from replctl.remote.ports import Cancellation
from replctl.remote.script import LOADER

_READ_BYTES = 1 << 16


class LocalPipes:
    """Implements process.Pipes over a child process."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self._child = child
        self._stdin: IO[bytes] = child.stdin
        self._outputs: tuple[IO[bytes], IO[bytes]] = (child.stdout, child.stderr)
        for stream in (self._stdin, *self._outputs):
            os.set_blocking(stream.fileno(), False)
        self._pending = bytearray()
        self._closing = False

    def queue(self, text: bytes) -> None:
        self._pending += text

    def close_stdin(self) -> None:
        self._closing = True

    @property
    def unsent(self) -> int:
        return len(self._pending)

    @property
    def ended(self) -> bool:
        return all(stream.closed for stream in self._outputs)

    def exchange(self, seconds: float) -> tuple[bytes, bytes]:
        if self.ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(seconds)
            return b"", b""
        self._send()
        self._wait(seconds)
        self._send()
        stdout, stderr = self._outputs
        return _receive(stdout), _receive(stderr)

    def status(self) -> int | None:
        status = self._child.poll()
        return status if status is None or status >= 0 else -1

    def close(self) -> None:
        for stream in (self._stdin, *self._outputs):
            with contextlib.suppress(OSError):
                stream.close()
        # A shell that is still there did not become the command, or its group could not be ended.
        with contextlib.suppress(PermissionError, subprocess.TimeoutExpired):
            if self._child.poll() is None:
                self._child.kill()
            self._child.wait(1)

    def _wait(self, seconds: float) -> None:
        poll = select.poll()
        for stream in self._outputs:
            if not stream.closed:
                poll.register(stream, select.POLLIN)
        if self._pending and not self._stdin.closed:
            poll.register(self._stdin, select.POLLOUT)
        poll.poll(seconds * 1000)

    def _send(self) -> None:
        if self._stdin.closed:
            return
        try:
            sent = os.write(self._stdin.fileno(), self._pending[:_READ_BYTES]) if self._pending else 0
        except BlockingIOError:
            return
        except BrokenPipeError:
            sent, self._closing = len(self._pending), True  # the command takes no more: only its end counts
        del self._pending[:sent]
        if self._closing and not self._pending:
            self._stdin.close()


def _receive(stream: IO[bytes]) -> bytes:
    if stream.closed:
        return b""
    try:
        chunk = os.read(stream.fileno(), _READ_BYTES)
    except BlockingIOError:
        return b""
    if not chunk:
        stream.close()
    return chunk


def _login_environment() -> dict[str, str]:
    """What sshd would give: the operator's own environment may hold the inventory's secrets."""
    user = pwd.getpwuid(os.geteuid())
    kept = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
    return {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, **kept}


@dataclass(frozen=True, slots=True)
class LocalShells:
    """Implements shell_runner.Shells."""

    node: NodeName
    account: str = field(default_factory=lambda: pwd.getpwuid(os.geteuid()).pw_name)

    def open(self, timeout: float, cancellation: Cancellation) -> LocalPipes:
        del timeout, cancellation  # a local shell starts or fails at once
        return self._start()

    def open_urgent(self, timeout: float) -> LocalPipes:
        del timeout
        return self._start()

    def close(self) -> None:
        """Nothing is kept between two shells."""

    def _start(self) -> LocalPipes:
        try:
            child = subprocess.Popen(
                ("/bin/sh", "-c", LOADER),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                env=_login_environment(),
                cwd="/",
            )
        except OSError as error:
            raise UnreachableError(
                f"no shell can be started for {self.node} on this machine: {error.strerror}",
                hint="Free memory or processes on this machine, then run the same command again.",
                node=self.node,
            ) from error
        return LocalPipes(child)
