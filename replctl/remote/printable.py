"""Words of hosts and servers, made fit for one line of a terminal: they are untrusted."""

from __future__ import annotations


def one_line(text: str, limit: int = 500) -> str:
    """``text`` without control characters: white space becomes one blank, the rest is escaped; at most ``limit``
    characters, the last ones, since the reason for a failure stands at the end."""
    flat = " ".join(text.split())
    shown = "".join(_shown(character) for character in flat)
    return shown if len(shown) <= limit else "... " + shown[-limit:]


def _shown(character: str) -> str:
    """Not printable are, among others, escape sequences and the marks that turn the direction of writing."""
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
