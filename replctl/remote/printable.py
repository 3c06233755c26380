"""Words of hosts and servers, made fit for one line of a terminal: they are untrusted."""

from __future__ import annotations

import unicodedata


def one_line(text: str, limit: int = 500) -> str:
    """``text`` without control characters: white space becomes one blank, the rest is escaped; at most ``limit``
    characters, the last ones, since the reason for a failure stands at the end."""
    flat = " ".join(text.split())
    shown = "".join(_shown(character) for character in flat)
    return shown if len(shown) <= limit else "... " + shown[-limit:]


def _shown(character: str) -> str:
    """Cc and Cf hold escape sequences and the marks that turn the direction of writing."""
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co"}:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character
