"""Database URLs as the env file has them: taken apart, checked, and never shown with their passwords."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from replctl.router.errors import ConfigurationError

DEFAULT_PORT = 5432
_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
_COMMA_AND_URL = re.compile(r",(?=\s*[A-Za-z][\w+.-]*://)")


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """Where a server is and how to log in. Its text holds no password."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    options: tuple[tuple[str, str], ...] = ()
    """libpq's parameters from the URL's query, such as sslmode."""
    text: str = field(default="", repr=False, compare=False)
    """The URL as it was written, with its password."""

    @property
    def id(self) -> str:
        """``host:port/db``: what names the host in logs, metrics and JSON."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.database}"

    def __str__(self) -> str:
        return self.id

    @property
    def connect_args(self) -> dict[str, str | int]:
        """libpq's parameters, the password among them."""
        login = {"user": self.user, "password": self.password} if self.password else {"user": self.user}
        return {"host": self.host, "port": self.port, "dbname": self.database, **login, **dict(self.options)}


def parse_url(text: str, variable: str) -> DatabaseUrl:
    """One URL. Raises ConfigurationError that names the variable, and shows nothing of the URL."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigurationError(variable, f"its host or port cannot be read; {_ENCODE}") from None
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(variable, "is no URL that begins with postgresql://")
    database = unquote(parts.path.removeprefix("/"))
    if not host or not parts.username:
        raise ConfigurationError(variable, f"has no {'user' if host else 'host'}; {_ENCODE}")
    if not database or "/" in database or parts.fragment:
        raise ConfigurationError(variable, f"does not end with one database; {_ENCODE}")
    return DatabaseUrl(
        # urlsplit lowers the host's case; an IPv6 address comes without its brackets.
        host=unquote(host),
        port=port or DEFAULT_PORT,
        database=database,
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
        options=tuple(parse_qsl(parts.query)),
        text=text.strip(),
    )


_ENCODE = "characters such as , / @ : # ? and % in a user or password are written percent-encoded"


def parse_urls(text: str, variable: str) -> tuple[DatabaseUrl, ...]:
    """URLs with commas between them; none in an empty text. Raises ConfigurationError that tells which one is bad."""
    pieces = text.split(",") if text.strip() else []
    if pieces and len(pieces) != len(_COMMA_AND_URL.split(text)):
        raise ConfigurationError(variable, "has a comma that no URL follows: one in a password is written %2C")
    return parse_url_list(pieces, variable)


def parse_url_list(texts: Iterable[str], variable: str) -> tuple[DatabaseUrl, ...]:
    """One URL after the other. Raises ConfigurationError that tells which one is bad."""
    urls = tuple(parse_url(text, f"{variable}, URL {number}") for number, text in enumerate(texts, 1))
    for number, url in enumerate(urls):
        if url.id in {other.id for other in urls[:number]}:
            raise ConfigurationError(variable, f"{url.id} stands there twice")
    return urls
