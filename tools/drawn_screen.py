"""What a terminal showed, as a picture: Rich's SVG export, for tools/pictures and for the gallery of the tests."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.text import Text

# Whoever looks at a picture loads nothing from elsewhere; the letters' places are part of the picture.
FONT_FACE = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
FONTS = ("Fira Code, monospace", "DejaVu Sans Mono, Menlo, Consolas, monospace")
# Without it some programs that draw SVG drop the blanks that a text begins with.
BLANKS = ("<svg ", '<svg xml:space="preserve" ')


def lines_of(screen: str, columns: int) -> list[Text]:
    """The lines of a screen of ``columns``, with their colours: what is longer goes on below, as a terminal does it."""
    shown: list[Text] = []
    for line in Text.from_ansi(screen).split(allow_blank=True):
        line.rstrip()
        shown += [line[begin : begin + columns] for begin in range(0, max(1, len(line)), columns)]
    return shown


def svg_of(screen: str, command: str, columns: int, name: str) -> str:
    """``screen`` below the prompt with its command; ``name`` tells the picture from others on one page."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "green"), (command, "bold")))
    for line in lines_of(screen, columns):
        console.print(line, no_wrap=True)
    console.print()
    picture = console.export_svg(title=command, unique_id=f"replctl-{name}")
    picture = FONT_FACE.sub("", picture).replace(*FONTS).replace(*BLANKS)
    return "\n".join(line.rstrip() for line in picture.splitlines()) + "\n"
