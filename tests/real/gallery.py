"""The screens that tests look at, as text and as pictures: written where REPLCTL_GALLERY names a folder, else nowhere.

Each is what a terminal of 80 and of 160 columns shows while a state, a finding or a breakage stands on real hosts.
"""

from __future__ import annotations

import html
import os
import re
from pathlib import Path

from replctl.model.report import NodeState
from tests.real.hosts import Operator
from tools.drawn_screen import lines_of, svg_of

FOLDER = "REPLCTL_GALLERY"
WIDTHS = (80, 160)
ROWS = 60
INDEX = "index.html"
TOKENS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\n|\r|[^\x1b\n\r]+")
CURSOR_UP = re.compile(r"\x1b\[(\d+)A")
CLEAR_LINE = "\x1b[2K"
WELL = (NodeState.READ_WRITE, NodeState.STREAMING)
"""Every other state has a finding of its name."""


def shown_on(operator: Operator, *names: str, case: str = "") -> None:
    """Both screens of ``status`` say each of the names, which are states and findings, and become their pictures:
    one more of them where a name has several cases."""
    for width, screen in _screens(operator, "status").items():
        words = "\n".join(line.plain for line in lines_of(screen, width))
        for name in names:
            assert (name if name in WELL else f"[{name}]") in words, f"no {name} in\n{words}"
            _keep(screen, "status", width, f"{name}-{case}" if case else name)


def pictured(operator: Operator, *names: str, case: str = "") -> None:
    """The same where pictures are wanted; otherwise the test has seen enough, and nothing runs."""
    if os.environ.get(FOLDER):
        shown_on(operator, *names, case=case)


def breakage_pictured(operator: Operator, name: str) -> None:
    """What ``check`` and ``status`` show of a breakage, where pictures are wanted."""
    if os.environ.get(FOLDER):
        for command in ("check", "status"):
            for width, screen in _screens(operator, command).items():
                _keep(screen, command, width, f"{command}-{name}")


def _screens(operator: Operator, command: str) -> dict[int, str]:
    screens: dict[int, str] = {}
    for width in WIDTHS:
        terminal = operator.pty(*command.split(), rows=ROWS, columns=width)
        terminal.end()
        screens[width] = what_stays(terminal.seen)
    return screens


def what_stays(seen: str) -> str:
    """The lines that are there in the end, with their colours: without those that were taken away meanwhile."""
    lines, row = [""], 0
    for token in TOKENS.findall(seen):
        if token == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif token == CLEAR_LINE:
            lines[row] = ""
        elif moved := CURSOR_UP.fullmatch(token):
            row -= int(moved[1])
        elif not token.startswith(("\x1b", "\r")) or token.endswith("m"):
            lines[row] += token
    return "\n".join(lines).rstrip("\n")


def _keep(screen: str, command: str, width: int, name: str) -> None:
    if place := os.environ.get(FOLDER):
        folder = Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        picture = f"{name}-{width}"
        (folder / f"{picture}.svg").write_text(svg_of(screen, f"replctl {command}", width, picture), encoding="utf-8")
        words = "".join(f"{line.plain}\n" for line in lines_of(screen, width))
        (folder / f"{picture}.txt").write_text(words, encoding="utf-8")
        write_index(folder)


def write_index(folder: Path) -> None:
    """One page with every picture of the folder; renamed in, since several workers write it."""
    parts = [
        f'<h2 id="{name}">{name}</h2>\n<p><a href="{name}.txt">text</a></p>\n<img src="{name}.svg" alt="{name}">'
        for name in sorted(html.escape(path.stem) for path in folder.glob("*.svg"))
    ]
    text = "\n".join(["<!doctype html>", '<meta charset="utf-8">', "<title>screens of replctl</title>", *parts, ""])
    new = folder / f".{INDEX}.{os.getpid()}"
    new.write_text(text, encoding="utf-8")
    new.rename(folder / INDEX)
