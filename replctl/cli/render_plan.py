"""A plan as the operator reads it, before saying yes and with ``--dry-run``."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_lowercase

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from replctl.cli.step_words import action_words, step_word
from replctl.cli.text import escape, wrapped
from replctl.model.plan import Plan, Stage, Step

HERE = "here"
WIDE = 110
"""Columns from which a step's undo has a column of its own."""


def plan_renderable(plan: Plan, *, width: int) -> RenderableType:
    """The steps, numbered in the order in which they run; one number twice means: at the same time."""
    head = Text.assemble((plan.command, "bold"), f", cluster {plan.cluster}: ", _size(plan))
    parts: list[RenderableType] = [head]
    if any(plan.steps):
        parts += [Text(), _table(plan, width), *_legend(plan)]
    if plan.notes or plan.unfinished:
        parts.append(Text())
    parts += [_noted("note", note, width) for note in plan.notes]
    parts += [_noted("left to do afterwards", deed, width) for deed in plan.unfinished]
    return Group(*parts)


def _size(plan: Plan) -> str:
    count = sum(1 for _ in plan.steps)
    return "nothing to do" if not count else f"{count} step{'s' if count > 1 else ''}"


def _noted(label: str, text: str, width: int) -> Text:
    first, *rest = text.split("\n")
    head = wrapped(f"{label}: {escape(first)}", width).removeprefix(f"{label}:")
    return Text.assemble((f"{label}:", "yellow"), head, *(f"\n  {escape(line)}" for line in rest))


def _legend(plan: Plan) -> Iterator[Text]:
    yield Text()
    if any(len(stage.lanes) > 1 for stage in plan.stages):
        yield Text("Lanes a, b, ... run beside each other, one node each.", "dim")
    no_return = any(step.point_of_no_return for step in plan.steps)
    if no_return:
        yield Text.assemble(("! point of no return", "bold"), ": from there on its lane goes only forward.")
    if any(step.undo for step in plan.steps):
        yield Text(f"If a step fails{' before that' if no_return else ''}, what was done is taken back.", "dim")


def _table(plan: Plan, width: int) -> Table:
    wide = width >= WIDE
    columns = [Column("#", no_wrap=True), Column("NODE", no_wrap=True), Column("STEP", overflow="fold")]
    columns.append(Column("WHY", overflow="fold", ratio=2 if width < 1000 else None))
    if wide:
        columns.append(Column("UNDO", overflow="fold"))
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
    for number, step, heading in _numbered(plan):
        if heading:
            table.add_row(*_heading(heading))
        table.add_row(*_row(number, step, wide=wide))
    return table


def _heading(words: str) -> list[Text]:
    """A part of the plan begins, in the column that has room for a sentence."""
    return [Text(), Text(), Text(), Text(escape(words), "bold")]


def _row(number: str, step: Step, *, wide: bool) -> list[Text]:
    style = "bold" if step.point_of_no_return else ""
    why = Text(escape(step.why), style)
    if not wide and step.undo is not None:
        why.append(f"\nundo: {escape(action_words(step.undo))}", "dim")
    cells = [
        Text(f"{number}!" if step.point_of_no_return else number, "bold red" if step.point_of_no_return else "dim"),
        Text(step.node or HERE, "bold cyan"),
        Text(escape(step_word(step.id, step.node)), style),
        why,
    ]
    return [*cells, Text(escape(action_words(step.undo)) if step.undo else "-", "dim")] if wide else cells


def _numbered(plan: Plan) -> Iterator[tuple[str, Step, str]]:
    """Each step with its number, and with the heading that stands above it."""
    first = 1
    for stage in plan.stages:
        heading = stage.heading
        for number, step in _stage(stage, first):
            yield number, step, heading
            heading = ""
        first += max((len(lane) for lane in stage.lanes), default=0)


def _stage(stage: Stage, first: int) -> Iterator[tuple[str, Step]]:
    for index, lane in enumerate(stage.lanes):
        mark = "" if len(stage.lanes) == 1 else _letters(index)
        for offset, step in enumerate(lane):
            yield f"{first + offset}{mark}", step


def _letters(index: int) -> str:
    """a to z, then aa, ab, ..."""
    more, letter = divmod(index, len(ascii_lowercase))
    return (_letters(more - 1) if more else "") + ascii_lowercase[letter]
