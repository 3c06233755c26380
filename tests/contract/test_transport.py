"""What comes too late on one channel must cost neither the connection nor another channel."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import paramiko
import pytest
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EOF

from replctl.remote.ssh import SshHost
from replctl.remote.waiting import NeverCancelled
from tests.contract.routes import OS_USER, closing, runner_over, ssh_host
from tests.contract.sshd import Sshd


def late(kind: int, channel: paramiko.Channel) -> paramiko.Message:
    """A message that was made while the channel was open, and that its thread has not sent yet."""
    message = paramiko.Message()
    message.add_byte(bytes([kind]))
    message.add_int(channel.remote_chanid)
    message.add_string(b"too late")
    return message


def closed_channel(host: SshHost, sshd: Sshd) -> paramiko.Channel:
    channel = host.open_tcp("127.0.0.1", sshd.port, 5)
    channel.recv(1)
    channel.close()
    return channel


@pytest.mark.parametrize("kind", [MSG_CHANNEL_EOF, MSG_CHANNEL_DATA])
def test_a_message_after_close_is_dropped(sshd: Sshd, kind: int) -> None:
    host = ssh_host(sshd, OS_USER)
    with closing(runner_over(host)) as runner:
        wire = host.connect(NeverCancelled())
        channel = closed_channel(host, sshd)
        channel.transport._send_user_message(late(kind, channel))
        assert runner.run(["echo", "alive"], timeout=10).stdout == b"alive\n"
        assert host.connect(NeverCancelled()) is wire


@pytest.fixture
def echo_port() -> Iterator[int]:
    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while text := self.request.recv(100):
                self.request.sendall(text)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_nor_does_it_reach_the_next_channel_of_that_number(sshd: Sshd, echo_port: int) -> None:
    host = ssh_host(sshd, OS_USER)
    with closing(runner_over(host)):
        old = closed_channel(host, sshd)
        new = host.open_tcp("127.0.0.1", echo_port, 5)
        while new.remote_chanid != old.remote_chanid:  # sshd has forgotten the old one only after its own CLOSE
            new.close()
            new = host.open_tcp("127.0.0.1", echo_port, 5)
        old.transport._send_user_message(late(MSG_CHANNEL_DATA, old))
        new.settimeout(5)
        new.sendall(b"mine")
        assert new.recv(4) == b"mine"
        new.close()
