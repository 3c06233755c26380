"""The clients of demo_app.py: each with its own connection and cookies, as browsers have them, and what they saw.

A client does one thing after the other, so that it knows at each moment what it was shown and what was acknowledged.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx

AUTHORS, READERS = 6, 3
THINKS_SECONDS = 0.005
"""Between two turns of a client."""
ANSWER_SECONDS = 30.0
UNAVAILABLE = 503


class Kind(StrEnum):
    READ = "read"
    WRITE = "write"


class Outcome(StrEnum):
    """``REFUSED``: not now, by status 503. ``BROKEN``: anything else that is no answer."""

    ANSWERED = "answered"
    REFUSED = "refused"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Call:
    """A request, with the moments (monotonic seconds) at which it began and ended."""

    client: str
    kind: Kind
    begin: float
    end: float
    outcome: Outcome
    told: str
    """What came in place of an answer."""


@dataclass(slots=True)
class Seen:
    """What all clients saw."""

    calls: list[Call] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    """Each time that a client was shown less than it had written or seen before."""
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Of each author, the number of its last message that was acknowledged; they begin at 1."""

    def of(self, kind: Kind, outcome: Outcome | None = None) -> list[Call]:
        return [call for call in self.calls if call.kind is kind and outcome in {None, call.outcome}]


class Client:
    """One client. ``turn`` is what it does again and again."""

    def __init__(self, name: str, http: httpx.AsyncClient, room: str, seen: Seen) -> None:
        self.name = name
        self.room = f"/rooms/{room}"
        self._http = http
        self._seen = seen
        self._newest = 0

    async def turn(self) -> None:
        raise NotImplementedError

    async def call(self, kind: Kind, path: str, document: dict[str, Any] | None = None) -> Any:
        """What was answered; None when nothing was."""
        begin, answer, outcome, told = time.monotonic(), None, Outcome.BROKEN, ""
        try:
            response = await self._http.request("POST" if document else "GET", path, json=document)
            if response.is_success:
                answer, outcome = response.json(), Outcome.ANSWERED
            else:
                outcome = Outcome.REFUSED if response.status_code == UNAVAILABLE else Outcome.BROKEN
                told = f"{response.status_code} {response.text[:200]}"
        except httpx.TransportError as error:
            told = repr(error)
        self._seen.calls.append(Call(self.name, kind, begin, time.monotonic(), outcome, told))
        return answer

    def shown(self, number: int, at_least: int) -> None:
        """It was shown everything up to ``number``."""
        if number < max(at_least, self._newest):
            self._seen.violations.append(f"{self.name} was shown {number} after {max(at_least, self._newest)}")
        self._newest = max(self._newest, number)


class Author(Client):
    """Writes numbered messages, one that was not acknowledged once more; and reads after each how far it is."""

    async def turn(self) -> None:
        acknowledged = self._seen.acknowledged.setdefault(self.name, 0)
        message = {"author": self.name, "number": acknowledged + 1, "text": "hello"}
        if await self.call(Kind.WRITE, f"{self.room}/messages", message) is not None:
            self._seen.acknowledged[self.name] = acknowledged = acknowledged + 1
        answer = await self.call(Kind.READ, f"{self.room}/authors/{self.name}")
        if answer is not None:
            self.shown(answer["last_number"], acknowledged)


class Reader(Client):
    """Reads the latest messages of all."""

    async def turn(self) -> None:
        answer = await self.call(Kind.READ, f"{self.room}/messages?limit=20")
        if answer is not None:
            self.shown(max((message["id"] for message in answer), default=0), 0)


class Crowd:
    """All clients at work in one room, from entering the context until leaving it."""

    def __init__(self, url: str) -> None:
        self.room = uuid4().hex
        self.seen = Seen()
        self._https: list[httpx.AsyncClient] = []
        self._clients: list[Client] = []
        self._goes_on = True
        for number, kind in enumerate([Author] * AUTHORS + [Reader] * READERS, 1):
            # No proxies and no certificates: it is this machine.
            http = httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS, trust_env=False, verify=False)
            self._https.append(http)
            self._clients.append(kind(f"{kind.__name__.lower()}-{number}", http, self.room, self.seen))

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(self._work(client)) for client in self._clients]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Every client ends its turn."""
        self._goes_on = False
        await asyncio.gather(*self._tasks)
        for http in self._https:
            await http.aclose()

    async def _work(self, client: Client) -> None:
        while self._goes_on:
            await client.turn()
            await asyncio.sleep(THINKS_SECONDS)


def longest_gap(calls: Iterable[Call]) -> tuple[float, float]:
    """The longest time between the ends of two of these calls: its begin and its end (monotonic seconds)."""
    ends = sorted(call.end for call in calls)
    return max(pairwise(ends), key=lambda pair: pair[1] - pair[0], default=(0.0, 0.0))


def longest_wait(calls: Sequence[Call]) -> float:
    """The longest time (seconds) that any one client was without one of these calls."""
    clients = {call.client for call in calls}
    gaps = [longest_gap(call for call in calls if call.client == client) for client in clients]
    return max((end - begin for begin, end in gaps), default=0.0)
