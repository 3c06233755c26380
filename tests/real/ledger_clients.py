"""Many clients of the app's database in one process: each commits its own numbered rows, one after the other.

A program of its own, so that the clients keep no test waiting. Its first line on stdin is the order, as JSON; the end
of stdin ends it. On stdout it tells the number of acknowledged rows again and again, and at last what each client saw.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import asdict, dataclass, field

import psycopg

TOLD_SECONDS = 0.05
RETRY_SECONDS = 0.05
"""On average: clients that all come back at the same moment would take the processors from what they wait for."""
WORDS = "x" * 500
"""So that rows make WAL, and segments pass."""


@dataclass(frozen=True)
class Order:
    """What to do. ``pause`` is how long a client thinks between two rows, in seconds."""

    conninfo: str
    table: str
    clients: int
    pause: float


@dataclass
class Client:
    """Rows 1, 2, ... were sent; those whose outcome is unknown are never sent again, the others were acknowledged."""

    number: int
    sent: int = 0
    acknowledged: int = 0
    unknown: list[int] = field(default_factory=list)
    connections: int = 0

    async def work(self, order: Order, stop: asyncio.Event) -> None:
        """Until told to stop: into whichever node accepts writes."""
        while not stop.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(order.conninfo, autocommit=True) as connection:
                    self.connections += 1
                    await self._insert(connection, order, stop)
            except psycopg.Error:
                await asyncio.sleep(random.uniform(0.2, 1.8) * RETRY_SECONDS)

    async def _insert(self, connection: psycopg.AsyncConnection, order: Order, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.sent += 1
            try:
                await connection.execute(
                    f"insert into {order.table} values (%s, %s, %s)", [self.number, self.sent, WORDS]
                )
            except psycopg.Error:
                self.unknown.append(self.sent)
                raise
            self.acknowledged += 1
            await asyncio.sleep(order.pause)


async def run(order: Order) -> list[Client]:
    stop = asyncio.Event()
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: stop.set())
    clients = [Client(number) for number in range(1, order.clients + 1)]
    working = [asyncio.create_task(client.work(order, stop)) for client in clients]
    while not stop.is_set():
        print(sum(client.acknowledged for client in clients), flush=True)
        await asyncio.wait(working, timeout=TOLD_SECONDS)
        for task in working:
            if task.done():
                task.result()
    await asyncio.gather(*working)
    return clients


if __name__ == "__main__":
    seen = asyncio.run(run(Order(**json.loads(sys.stdin.readline()))))
    print(json.dumps([asdict(client) for client in seen]))
