"""Typer as this program uses it: help without Rich, and values without pydantic, whose imports take longer than most
commands do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Columns, on a terminal that has them."""
_HEADING = re.compile(r"^(?:Usage:|[A-Z][A-Za-z ]*:$)", re.MULTILINE)


class _Values:
    """Takes the values of parameters: a default has its type already, and text, paths and the words of an enum get
    theirs without pydantic. The rest goes Typer's way."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        wanted = param.type_descriptor.annotation
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if wanted == list[str] and isinstance(value, list | tuple):
            return [*cast("Sequence[str]", value)]
        if isinstance(wanted, type):
            if isinstance(value, wanted):
                return value
            if wanted is Path or (issubclass(wanted, Enum) and value in [member.value for member in wanted]):
                return wanted(value)
        return param.__class__.get_runtime_param(param).coerce(value, param=param, ctx=ctx)


def _with_values(params: list[Any]) -> list[Any]:
    """The parameters, asking ``_Values`` for their values. A Typer that has another name for what is asked does all by
    itself again, and takes longer."""
    for param in params:
        param.get_runtime_param = _Values
    return params


def _with_headings(text: str) -> str:
    return _HEADING.sub(lambda heading: typer.style(heading[0], bold=True), text)


class Command(TyperCommand):
    """One command."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_values(super().get_params(ctx))

    def get_help(self, ctx: Any) -> str:
        return _with_headings(super().get_help(ctx))


class Group(TyperGroup):
    """Commands, which the help shows in their panels."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _with_values(super().get_params(ctx))

    def get_help(self, ctx: Any) -> str:
        return _with_headings(super().get_help(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx))
            raise typer.Exit(2)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        del ctx
        panels: dict[str, list[tuple[str, str]]] = {}
        shown = {name: command for name, command in self.commands.items() if not command.hidden}
        width = max(map(len, shown))
        for name, command in shown.items():
            panel: str = getattr(command, "rich_help_panel", None) or "Commands"
            says = " ".join((command.help or "").partition("\n\n")[0].split())
            panels.setdefault(panel, []).append((f"{name:<{width}}", says))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


class CommandLine(typer.Typer):
    """A group of commands that are all of these kinds."""

    def __init__(self, *, help: str) -> None:  # noqa: A002 - Typer's name for it
        super().__init__(
            cls=Group, help=help, context_settings=CONTEXT, rich_markup_mode=None, pretty_exceptions_enable=False
        )

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **settings: Any
    ) -> Callable[[Any], Any]:
        return super().command(name, cls=cls, **settings)
