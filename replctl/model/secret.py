"""Passwords as a type of their own, which no renderer, log or traceback can show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

REDACTED = "********"


class Secret:
    """A password. Not a str, so that no format string, join or JSON encoder shows it by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The password itself: only for what hands it to PostgreSQL, a 0600 file or a remote stdin."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({REDACTED})"

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is never pickled")


@dataclass(frozen=True, slots=True)
class EnvSecret:
    """The password stands in an environment variable of the operator's own session."""

    variable: str


@dataclass(frozen=True, slots=True)
class FileSecret:
    """The password stands in a file; one trailing newline is dropped and nothing else."""

    path: Path


@dataclass(frozen=True, slots=True)
class CommandSecret:
    """The password is what a program prints, run without a shell."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LiteralSecret:
    """The password stands in the inventory itself, which then no other user may read."""

    secret: Secret


SecretSource = EnvSecret | FileSecret | CommandSecret | LiteralSecret


@dataclass(frozen=True, slots=True)
class Passwords:
    """The resolved passwords of the three roles of a cluster."""

    admin: Secret
    replication: Secret
    app: Secret
    old_admin: Secret | None = None
    """What a server may still have that has not seen the admin's new one; for ``rotate-password`` alone."""
