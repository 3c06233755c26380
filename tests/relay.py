"""A bad line: a TCP relay on loopback that can be cut, can stall, and can delay what passes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Any


class Relay:
    """Listens from entering its context on; its ``port`` leads to that of ``address``. ``delay`` is in seconds, and for
    each direction."""

    def __init__(self, port: int, address: str = "127.0.0.1", delay: float = 0.0) -> None:
        self._target = (address, port)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()
        self._delay = delay
        self._is_cut = False
        self.port = 0

    def __enter__(self) -> Relay:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Connections are reset, new ones too: the host is there, and its server is not."""
        self._do(self._cut)
        try:
            yield
        finally:
            self._is_cut = False

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Nothing passes and nobody is told: a cable is pulled. What was sent meanwhile arrives afterwards."""
        self._do(self._moving.clear)
        try:
            yield
        finally:
            self._do(self._moving.set)

    @contextmanager
    def slow(self, delay: float) -> Iterator[None]:
        """The delay is this one meanwhile."""
        before, self._delay = self._delay, delay
        try:
            yield
        finally:
            self._delay = before

    def _do(self, act: Callable[[], Any]) -> None:
        done: Future[None] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(act()))
        done.result(10)

    def _cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    async def _run(self) -> None:
        self._loop, self._over, self._moving = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._moving.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer))
                both.create_task(self._pump(far_reader, writer))
        except (ExceptionGroup, asyncio.CancelledError):  # an end is gone
            pass
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What comes while a piece is still under way is under way beside it."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        delivery = asyncio.create_task(self._deliver(under_way, writer))
        try:
            piece = b"-"
            while piece:
                piece = await reader.read(65536)
                under_way.put_nowait((self._loop.time() + self._delay, piece))
            await delivery
        finally:
            delivery.cancel()

    async def _deliver(self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, piece = await under_way.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._moving.wait()
            if not piece:
                writer.transport.abort() if writer.is_closing() else writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()
