"""The local end of a forwarded connection: a Unix socket that libpq can connect to.

A Unix socket in a 0700 folder is the operator's alone; a TCP port on 127.0.0.1 would be open to every local user.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import paramiko

_CHUNK_BYTES = 1 << 16
_PATH_BYTES = 100
"""A Unix socket's path has 108 bytes on Linux, 104 elsewhere."""


class Stream(Protocol):
    """A connected socket, or an SSH channel, which has the same methods."""

    def recv(self, nbytes: int, /) -> bytes: ...
    def sendall(self, text: bytes, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...
    def close(self) -> None: ...


class Tunnel:
    """Serves one connection at ``folder``/.s.PGSQL.``port`` and joins it to ``stream``."""

    def __init__(self, stream: Stream, port: int, timeout: float) -> None:
        """Waits ``timeout`` seconds for the connection, in a thread of its own. Owns ``stream`` from now on."""
        self._stream = stream
        self.folder = _private_folder(f".s.PGSQL.{port}")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.settimeout(timeout)
        self._listener.bind(str(self.folder / f".s.PGSQL.{port}"))
        self._listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def hide(self) -> None:
        """Take the folder away once the connection stands, so that nothing can be left behind."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        self.hide()
        # Wakes a thread that still waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        end_stream(self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        try:
            with self._listener:
                local, _ = self._listener.accept()
        except OSError:
            end_stream(self._stream)
            return
        local.settimeout(None)
        with local:
            back = threading.Thread(target=_copy, args=(self._stream, local), daemon=True)
            back.start()
            _copy(local, self._stream)
            back.join()
        self._stream.close()


def _copy(source: Stream, sink: Stream) -> None:
    """One direction. When either side ends, both do: PostgreSQL's protocol knows no half-open session."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        while chunk := source.recv(_CHUNK_BYTES):
            sink.sendall(chunk)
    end_stream(sink)
    end_stream(source)


def end_stream(stream: Stream) -> None:
    """What was sent before still arrives; a blocked recv returns, in whichever thread."""
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        if isinstance(stream, paramiko.Channel):
            stream.close()
        else:
            stream.shutdown(socket.SHUT_RDWR)


def _private_folder(name: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="replctl-"))
    if len(str(folder / name).encode()) > _PATH_BYTES:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="replctl-", dir="/tmp"))
    return folder
