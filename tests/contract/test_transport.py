"""What comes too late on one channel must not cost the connection and all the others."""

from __future__ import annotations

import paramiko
import pytest
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EOF

from replctl.remote.waiting import NeverCancelled
from tests.contract.routes import OS_USER, closing, runner_over, ssh_host
from tests.contract.sshd import Sshd

CLOSED_CHANNEL = 7
"""A channel number that sshd does not know (any more)."""


@pytest.mark.parametrize("kind", [MSG_CHANNEL_EOF, MSG_CHANNEL_DATA])
def test_a_message_after_close_is_dropped(sshd: Sshd, kind: int) -> None:
    late = paramiko.Message()
    late.add_byte(bytes([kind]))
    late.add_int(CLOSED_CHANNEL)
    late.add_string(b"too late")
    host = ssh_host(sshd, OS_USER)
    with closing(runner_over(host)) as runner:
        transport = host.connect(NeverCancelled()).transport
        transport._send_user_message(late)
        assert runner.run(["echo", "alive"], timeout=10).stdout == b"alive\n"
        assert host.connect(NeverCancelled()).transport is transport
