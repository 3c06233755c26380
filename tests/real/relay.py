"""Bad lines to all hosts: with a long way, or standing still now and then."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.real.hosts import QUICK, Lan, Operator
from tests.real.hosts.disk import host_key
from tests.relay import Relay

SEED = 20
SSH_PORT = 22


@dataclass(frozen=True)
class Line:
    """``delay`` is for each direction; every ``between`` seconds, about, nothing passes for ``stall``. Seconds."""

    delay: float = 0.0
    stall: float = 0.0
    between: tuple[float, float] = (1.0, 3.0)


@contextmanager
def over(line: Line, operator: Operator, lan: Lan, parameters: Mapping[str, Any] = QUICK) -> Iterator[None]:
    """The operator reaches every host over such a line alone; the hosts reach each other as ever."""
    with ExitStack() as ends:
        relays = {host.name: ends.enter_context(Relay(SSH_PORT, host.address, line.delay)) for host in lan}
        ports = {name: relay.port for name, relay in relays.items()}
        known = "".join(f"[127.0.0.1]:{ports[host.name]} {host_key(host.disk)}\n" for host in lan)
        operator.write_private("known_hosts", known)
        nodes = {name: {"ssh_host": "127.0.0.1", "ssh": {"port": port}} for name, port in ports.items()}
        operator.write_inventory(parameters=parameters, extra={"nodes": nodes, "ssh": {"connect_timeout": 60}})
        if line.stall:
            for number, relay in enumerate(relays.values()):
                ends.enter_context(_stalling(relay, line, random.Random(SEED + number)))
        yield


@contextmanager
def _stalling(relay: Relay, line: Line, chance: random.Random) -> Iterator[None]:
    over = threading.Event()

    def work() -> None:
        while not over.wait(chance.uniform(*line.between)):
            with relay.stalled():
                over.wait(line.stall)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
