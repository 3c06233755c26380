"""Waiting for a moment: the router's only sleeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sqlalchemy.util import await_only

Pause = Callable[[float], None]
"""Waits so many seconds."""

POLL_SECONDS = 0.002


def pause(seconds: float) -> None:
    """Holds up this thread."""
    time.sleep(seconds)


def pause_task(seconds: float) -> None:
    """Holds up the asyncio task in whose session this is called, and nothing else of its loop."""
    await_only(asyncio.sleep(seconds))


def wait_until(holds: Callable[[], bool], seconds: float, pause: Pause) -> bool:
    """Whether it held within so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= deadline:
            return False
        pause(POLL_SECONDS)
    return True
