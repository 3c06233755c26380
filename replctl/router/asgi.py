"""Tokens that travel with the client: what it has written and seen it sees again, whichever replica answers.

For any ASGI application; ``replctl.router.fastapi``'s dependencies read and fill what the middleware lays out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from replctl.router.errors import ConfigurationError, InvalidTokenError
from replctl.router.tokens import Token

_SCOPE_KEY = "replctl.router.tokens"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
MIN_KEY_BYTES = 16


class Guarantee(StrEnum):
    """What a client is promised."""

    READ_YOUR_WRITES = "read_your_writes"
    """It sees what it has written. Reads cost nothing more."""
    MONOTONIC_READS = "monotonic_reads"
    """It sees that, and never goes back behind what it has read. A request that reads asks its server one question
    more: how far it is."""


@dataclass(frozen=True, slots=True)
class ClientTokens:
    """How tokens travel. Raises ConfigurationError.

    All processes that serve a client need the same ``key``. ``cookie`` and ``header`` are names; None: not that way.
    ``max_age`` in seconds: a client that was away for longer begins anew. Browsers keep a ``secure`` cookie from
    https alone, and from localhost.
    """

    key: bytes = field(repr=False)
    cookie: str | None = "db_token"
    header: str | None = "x-db-token"
    max_age: int = 3600
    secure: bool = True
    guarantee: Guarantee = Guarantee.MONOTONIC_READS

    def __post_init__(self) -> None:
        if len(self.key) < MIN_KEY_BYTES:
            raise ConfigurationError("key", f"has fewer than {MIN_KEY_BYTES} bytes")
        for variable, name in (("cookie", self.cookie), ("header", self.header)):
            if name is not None and not _NAME.fullmatch(name):
                raise ConfigurationError(variable, f"{name!r} is no name")

    def read(self, connection: HTTPConnection) -> Token | None:
        """The client's. One that is damaged, forged or of another key counts as none."""
        header = self._decoded(connection.headers.get(self.header) if self.header else None)
        cookie = self._decoded(connection.cookies.get(self.cookie) if self.cookie else None)
        return header.latest(cookie) if header is not None else cookie

    def write(self, token: Token, headers: MutableHeaders) -> None:
        """Puts it on the response."""
        text = token.encode(self.key)
        if self.header is not None:
            headers[self.header] = text
        if self.cookie is not None:
            secure = "; Secure" if self.secure else ""
            attributes = f"Max-Age={self.max_age}; Path=/; HttpOnly; SameSite=Lax{secure}"
            headers.append("set-cookie", f"{self.cookie}={text}; {attributes}")

    def _decoded(self, text: str | None) -> Token | None:
        try:
            return Token.decode(text, self.key) if text else None
        except InvalidTokenError:
            return None


@dataclass(slots=True)
class RequestTokens:
    """Of one request: what its client had seen when it came, and what it has seen in it."""

    guarantee: Guarantee
    before: Token | None
    taken: Token | None = None

    def add(self, token: Token) -> None:
        """The newest one counts."""
        self.taken = token.latest(self.taken)

    @property
    def newest(self) -> Token | None:
        """For the client to keep; None when the request took none. A token of another cluster gives way to this
        one's."""
        return self.taken.latest(self.before) if self.taken is not None else None


def request_tokens(connection: HTTPConnection) -> RequestTokens | None:
    """For units of work that take their sessions from the manager; None without the middleware."""
    return connection.scope.get(_SCOPE_KEY)


class ReadYourWrites:
    """``app.add_middleware(ReadYourWrites, tokens=ClientTokens(key))``.

    Reads the client's token, and puts the newest one on the response when that begins: a write is committed by then.
    """

    def __init__(self, app: ASGIApp, tokens: ClientTokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        of_request = RequestTokens(self._tokens.guarantee, self._tokens.read(HTTPConnection(scope)))
        scope[_SCOPE_KEY] = of_request

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and of_request.newest is not None:
                message.setdefault("headers", [])
                self._tokens.write(of_request.newest, MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, answer)
