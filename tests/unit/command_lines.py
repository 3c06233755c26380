"""Command lines as people are told them, and whether replctl understands them. Nothing is run."""

from __future__ import annotations

from collections.abc import Iterator

import typer
from typer.core import TyperGroup

from replctl.__main__ import app

PRINTS = (["--help"], ["--install-completion"], ["--show-completion"])
"""Typer's own, which act when they are parsed: one writes to the shell's start file."""
COMMAND = typer.main.get_command(app)


def parse(words: list[str], command=COMMAND, parent=None) -> None:
    """Parse what stands behind ``replctl`` down to its last command, whose function is not called."""
    if not isinstance(command, TyperGroup):
        command.make_context("replctl", words, parent)
    elif words and words not in PRINTS:  # a group alone prints its help
        context = command.make_context("replctl", words, parent)
        rest = [*context._protected_args, *context.args]
        parse(rest[1:], command.resolve_command(context, rest)[1], context)


def commands() -> Iterator[str]:
    """The commands and groups that --help shows."""
    yield from (name for name, command in COMMAND.commands.items() if not command.hidden)
