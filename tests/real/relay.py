"""A bad line to a host: a TCP relay on loopback that delays what passes, and stands still now and then."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType

from tests.real.hosts import Lan, Operator
from tests.real.hosts.disk import host_key

SEED = 20


@dataclass(frozen=True)
class Line:
    """``delay`` is for each direction; every ``between`` seconds, about, nothing passes for ``stall``. Seconds."""

    delay: float = 0.0
    stall: float = 0.0
    between: tuple[float, float] = (1.0, 3.0)


class Relay:
    """Listens from entering its context on; ``port`` leads to the sshd of ``address``."""

    def __init__(self, address: str, line: Line) -> None:
        self._address = address
        self._line = line
        self._moving = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.port = 0

    def __enter__(self) -> Relay:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._moving.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        stalls = asyncio.create_task(self._stall())
        self._ready.set()
        await self._over.wait()
        stalls.cancel()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _stall(self) -> None:
        chance = random.Random(SEED)
        while self._line.stall:
            await asyncio.sleep(chance.uniform(*self._line.between))
            self._moving.clear()
            await asyncio.sleep(self._line.stall)
            self._moving.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._address, 22)
        except OSError:
            writer.close()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer))
                both.create_task(self._pump(far_reader, writer))
        except (ExceptionGroup, asyncio.CancelledError):  # one end is gone
            pass
        finally:
            writer.close()
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(under_way, writer))
        try:
            while piece := await reader.read(65536):
                under_way.put_nowait((self._loop.time() + self._line.delay, piece))
            under_way.put_nowait((self._loop.time() + self._line.delay, b""))
            await delivery
        finally:
            delivery.cancel()

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, piece = await under_way.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._moving.wait()
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()


@contextmanager
def over(line: Line, operator: Operator, lan: Lan) -> Iterator[None]:
    """The operator reaches every host over such a line alone; the hosts reach each other as ever."""
    with ExitStack() as relays:
        ports = {host.name: relays.enter_context(Relay(host.address, line)).port for host in lan}
        known = "".join(f"[127.0.0.1]:{ports[host.name]} {host_key(host.disk)}\n" for host in lan)
        operator.write_private("known_hosts", known)
        nodes = {name: {"ssh_host": "127.0.0.1", "ssh": {"port": port}} for name, port in ports.items()}
        operator.write_inventory(extra={"nodes": nodes, "ssh": {"connect_timeout": 60}})
        yield
