"""The application's own settings. Those of its databases are the router's: ``DatabaseConfig.from_environ()``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

SIGNED_BY = "CHAT_TOKEN_KEY"
TOKENS = "CHAT_TOKENS"
SECURE_COOKIES = "CHAT_SECURE_COOKIES"
KEY_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class Settings:
    """``token_key`` signs what clients have seen, and is the same in every process of the application; None: clients
    may be shown less than they have written. ``secure_cookies``: for https alone."""

    token_key: bytes | None = field(repr=False)
    secure_cookies: bool

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Raises ValueError that names the variable."""
        values = os.environ if environ is None else environ
        is_signed = _flag(values, TOKENS)
        key = values.get(SIGNED_BY, "")
        if is_signed and len(key) < KEY_CHARACTERS:
            raise ValueError(
                f"{SIGNED_BY}: at least {KEY_CHARACTERS} characters, such as those of: openssl rand -hex 32"
            )
        return cls(key.encode() if is_signed else None, _flag(values, SECURE_COOKIES))


def _flag(values: Mapping[str, str], variable: str) -> bool:
    """On, unless it is off."""
    text = values.get(variable, "on")
    if text not in {"on", "off"}:
        raise ValueError(f"{variable}: {text!r} is neither on nor off")
    return text == "on"
