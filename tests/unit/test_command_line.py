"""Help without Rich, and values that are taken as Typer takes them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pytest
import typer

from replctl.__main__ import app, main
from replctl.cli.app import EVERYDAY, RECORDS, SETUP
from replctl.cli.command_line import CommandLine
from tests.unit.command_lines import commands


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def probe(
    name: Annotated[str | None, typer.Argument()] = None,
    others: Annotated[list[str] | None, typer.Argument()] = None,
    *,
    path: Annotated[Path, typer.Option(envvar="PROBE_PATH")] = Path("usual"),
    maybe: Annotated[Path | None, typer.Option()] = None,
    colour: Colour = Colour.RED,
    most: Annotated[int | None, typer.Option(min=2)] = None,
    seconds: Annotated[float, typer.Option(min=0.0)] = 5.0,
    each: Annotated[list[str] | None, typer.Option()] = None,
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> dict[str, object]:
    return dict(locals())


def taken(kind: type[typer.Typer], words: str) -> str:
    """The values that a command is called with, or what is said instead."""
    line = CommandLine(help="Probes.") if kind is CommandLine else typer.Typer()
    line.command("probe")(probe)
    line.command("other")(lambda: None)
    try:
        return repr(line(["probe", *words.split()], prog_name="line", standalone_mode=False))
    except typer.TyperException as mistake:
        return mistake.format_message()


@pytest.mark.parametrize(
    "words",
    [
        "",
        "one",
        "one two three",
        "--path here --maybe there",
        "--path - --maybe ~/x",
        "--colour blue",
        "--colour green",
        "--colour Blue",
        "--most 2 --seconds 7",
        "--most 1",
        "--most x",
        "--seconds -1",
        "--seconds x",
        "--each a --each b --loud",
        "--louder",
        "--path",
        "-- -x",
    ],
)
def test_values_are_what_typer_makes_of_them(words: str) -> None:
    assert taken(CommandLine, words) == taken(typer.Typer, words)


def test_so_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBE_PATH", "elsewhere")
    assert "elsewhere" in taken(CommandLine, "")
    assert taken(CommandLine, "") == taken(typer.Typer, "")


def said(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["replctl", *words])
    code = main()
    out, err = capsys.readouterr()
    assert err == ""
    return code, out


def test_help_has_every_command_in_its_panel(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out = said(["--help"], capsys, monkeypatch)
    assert code == 0
    assert all(f"\n  {name} " in out for name in commands())
    places = [out.index(f"\n\n{panel}:\n") for panel in (SETUP, EVERYDAY, RECORDS)]
    assert places == sorted(places)
    assert out.index("  init-primary ") < places[1] < out.index("  status ") < places[2] < out.index("  lab ")


def test_without_a_command_help_is_a_mistake(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, help_text = said(["--help"], capsys, monkeypatch)
    assert said([], capsys, monkeypatch) == (2, help_text)


@pytest.mark.parametrize(("columns", "longest"), [(60, 60), (80, 80), (200, 100)])
def test_help_fits(
    columns: int, longest: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out = said(["promote", "--help"], capsys, monkeypatch)
    assert longest - 20 < max(map(len, out.splitlines())) <= longest
    assert "--old-primary-fenced" in out


def test_every_command_is_of_this_kind() -> None:
    root = typer.main.get_command(app)
    groups = [root, *(each for each in root.commands.values() if hasattr(each, "commands"))]
    kinds = {type(each).__module__ for group in groups for each in (group, *group.commands.values())}
    assert kinds == {"replctl.cli.command_line"}
