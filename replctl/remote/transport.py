"""Mends the one place where two threads of Paramiko can send the messages of a channel in the wrong order."""

from __future__ import annotations

import threading
from typing import Any, Protocol, cast

import paramiko
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EOF, MSG_CHANNEL_EXTENDED_DATA

_ONLY_WHILE_OPEN = (MSG_CHANNEL_DATA, MSG_CHANNEL_EXTENDED_DATA, MSG_CHANNEL_EOF)


class _Message(Protocol):
    def asbytes(self) -> bytes: ...


class _OrderedTransport:
    """A channel's transport, which sends no data and no EOF of that channel once it is closed.

    Paramiko makes such a message under the channel's lock and sends it after releasing it. When the channel is closed
    in between, its CLOSE goes out first. Then the late message meets a channel number that sshd has forgotten, and
    OpenSSH ends the whole connection ("packet referred to nonexistent channel"); or a number that sshd has given to
    another channel, and the words of one session end up in another.
    """

    def __init__(self, channel: paramiko.Channel, transport: paramiko.Transport) -> None:
        self._channel = channel
        self._transport = transport
        self._order = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send_user_message(self, message: _Message) -> None:
        with self._order:
            # ``closed`` is set before CLOSE is sent, and CLOSE is sent under this lock too.
            if message.asbytes()[0] in _ONLY_WHILE_OPEN and self._channel.closed:
                return
            cast("Any", self._transport)._send_user_message(message)


def keep_order(channel: paramiko.Channel) -> paramiko.Channel:
    """The same channel, whose data and EOF never follow its CLOSE."""
    channel.transport = cast("paramiko.Transport", _OrderedTransport(channel, channel.get_transport()))
    return channel
