"""Paramiko's transport, mended where two of its threads can send messages of one channel in the wrong order."""

from __future__ import annotations

import threading
from typing import Any, Protocol, cast

import paramiko
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_CHANNEL_EXTENDED_DATA

_ONLY_WHILE_OPEN = (MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA, MSG_CHANNEL_EOF)


class _Message(Protocol):
    def asbytes(self) -> bytes: ...


class OrderedTransport(paramiko.Transport):
    """Never sends data or EOF on a channel after its CLOSE.

    A channel's data and EOF are made under its lock and sent after it. When the far end closes the channel in
    between, Paramiko's own thread answers with CLOSE first, and OpenSSH ends the whole connection over the late
    message ("packet referred to nonexistent channel"): every command and every SQL session with it.
    """

    def __init__(self, sock: Any, **options: Any) -> None:
        self._order = threading.Lock()
        super().__init__(sock, **options)

    def _send_user_message(self, data: _Message) -> None:
        with self._order:
            text = data.asbytes()
            if text[0] in _ONLY_WHILE_OPEN and not self._is_open(int.from_bytes(text[1:5], "big")):
                return
            super()._send_user_message(data)  # type: ignore[misc]

    def _is_open(self, remote_id: int) -> bool:
        channels = cast("list[paramiko.Channel]", self._channels.values())  # type: ignore[attr-defined]
        return any(channel.remote_chanid == remote_id and not channel.closed for channel in channels)
