"""What probes of a small cluster say, for tests of what follows from it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from replctl.router.circuit import Circuit
from replctl.router.hosts import Connecting, Host, Use
from replctl.router.lag import Staleness
from replctl.router.probe import Observation
from replctl.router.snapshot import Cluster, Seen
from replctl.router.urls import parse_url

CLUSTER = Cluster(system_identifier=7, timeline=3)
UP = Circuit().answered()
PRIMARY = Observation(
    asked=0.0,
    in_recovery=False,
    system_identifier=7,
    timeline=3,
    timeline_is_exact=True,
    lsn=1000,
    has_receiver=False,
    paused=False,
    read_only=False,
)
REPLICA = replace(PRIMARY, in_recovery=True, has_receiver=True, read_only=True)


def primary(**changes: Any) -> Observation:
    return replace(PRIMARY, asked=time.monotonic(), **changes)


def replica(**changes: Any) -> Observation:
    return replace(REPLICA, asked=time.monotonic(), **changes)


def seen(observation: Observation | None, circuit: Circuit = UP, staleness: float | None = 0.0) -> Seen:
    known = Staleness(staleness) if staleness is not None else None
    return Seen(circuit, observation, known, None, time.monotonic() + 60.0)


def host(number: int, use: Use = Use.READ) -> Host:
    """One that nobody connects to: nothing listens on a port as low."""
    url = parse_url(f"postgresql://app:pw@127.0.0.1:{number}/appdb", "url")
    return Host(url, use, Connecting(), lambda *_: None)
