"""Text for the terminal: amounts in words, and text of remote origin made harmless."""

from __future__ import annotations

import re
import unicodedata

from rich.cells import cell_len

from replctl.planning.amounts import human_bytes, human_duration

__all__ = ["escape", "human_bytes", "human_duration", "shortened", "wrapped"]

SHOWN = 16_000
"""Characters of one text: a host or a server may say any amount. Nothing that replctl says itself is that long."""

# Controls (Cc) move the cursor and set the title; format characters (Cf) such as the bidi overrides reorder what is
# read; line separators (Zl, Zp) forge lines; lone surrogates (Cs) cannot be encoded.
_HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# A command between backquotes, with what hangs on it, or a word.
_UNBROKEN = re.compile(r"(?:`[^`]*`|[^\s`]|`)+")


def escape(text: str) -> str:
    """``text`` on one line, with every control and format character spelled out as Python spells it.

    Rich markup is another matter: what is escaped here goes into ``rich.text.Text``, which reads no markup.
    """
    text = shortened(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(character) for character in text)


def shortened(text: str) -> str:
    """The beginning of a text that is too long to be read."""
    if len(text) <= SHOWN:
        return text
    kept = text[: SHOWN - 50]  # with room for the remark, so that the result is not shortened again
    return f"{kept} ... ({len(text) - len(kept)} more characters)"


def _spelled(character: str) -> str:
    if unicodedata.category(character) not in _HARMFUL:
        return character
    return character.encode("unicode_escape").decode("ascii")


def wrapped(text: str, width: int) -> str:
    """``text`` in lines of at most ``width`` columns, broken between words and never inside a command between
    backquotes, so that it can be copied. A word or a command longer than a line stays whole."""
    lines: list[str] = []
    pieces: list[str] = _UNBROKEN.findall(text)
    for piece in pieces:
        if lines and cell_len(f"{lines[-1]} {piece}") <= width:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return "\n".join(lines)
