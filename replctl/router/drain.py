"""Lets go of hosts that are not used any more: who is at work there may finish, up to a deadline."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from replctl.router.hosts import Host
from replctl.router.waiting import pause, wait_until

CUT_SECONDS = 1.0
"""For units of work to notice that they were cut off."""


def drain(hosts: Iterable[Host], seconds: float) -> threading.Thread:
    """Closes their connections in the background, at the latest after so many seconds."""
    thread = threading.Thread(target=_drain, args=(tuple(hosts), seconds), name="replctl-router drain", daemon=True)
    thread.start()
    return thread


def _drain(hosts: tuple[Host, ...], seconds: float) -> None:
    def unused() -> bool:
        return not any(host.in_use for host in hosts)

    if not wait_until(unused, seconds, _slowly):
        for host in hosts:
            host.abort()
        wait_until(unused, CUT_SECONDS, _slowly)
    for host in hosts:
        host.leave()


def _slowly(seconds: float) -> None:
    pause(10 * seconds)
