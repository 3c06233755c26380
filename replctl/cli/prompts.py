"""The one question that replctl asks: may this happen?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TextIO

from rich.console import Console
from rich.text import Text

from replctl.cli.text import escape
from replctl.model.errors import RefusedError
from replctl.model.values import NodeName

_YES = {"y", "yes"}


class Answer(Enum):
    """Who answers: the operator at the terminal, or ``--yes``."""

    ASK = "ask"
    YES = "yes"


class Expects(Enum):
    """What has to be typed for the deed to be done."""

    YES = "y"
    CLUSTER = "the cluster's name"
    """For what disturbs every user of the cluster: nobody types that into the wrong terminal."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is about to happen, to which cluster and node."""

    cluster: str
    node: NodeName | None
    deed: str
    """In a few words, as an order: ``promote db2``."""
    details: tuple[str, ...] = ()
    """Sentences: what it means for the cluster."""
    expects: Expects = Expects.YES


def confirm(question: Question, answer: Answer, *, stdin: TextIO | None, console: Console) -> None:
    """Return if the operator agrees; no is the default. ``console`` is on stderr, ``stdin`` None when it is closed.

    Raises RefusedError (code ``declined``), or (code ``no-terminal``) when nobody can be asked.
    """
    if answer is Answer.YES:
        return
    if stdin is None or not stdin.isatty() or not console.file.isatty():
        raise RefusedError(
            f"would ask whether to {question.deed} (cluster {question.cluster}), and there is no terminal",
            node=question.node,
            code="no-terminal",
            hint="Look at what --dry-run prints, then pass --yes.",
        )
    _show(question, console)
    wanted = _YES if question.expects is Expects.YES else {question.cluster}
    if _read(stdin) not in wanted:
        raise RefusedError(
            f"declined to {question.deed} (cluster {question.cluster}): nothing was changed",
            node=question.node,
            code="declined",
            hint=f"Run the same command again and answer {_wanted(question)}, or pass --yes.",
        )


def _wanted(question: Question) -> str:
    return "y" if question.expects is Expects.YES else f"with the cluster's name, {question.cluster}"


def _show(question: Question, console: Console) -> None:
    where = f"cluster {question.cluster}" + (f", node {question.node}" if question.node else "")
    for detail in question.details:
        console.print(Text(f"  {escape(detail)}"))
    asks = " [y/N] " if question.expects is Expects.YES else " Type the cluster's name: "
    console.print(Text.assemble((escape(where), "bold"), ": ", escape(question.deed), "?", asks), end="")
    console.file.flush()


def _read(stdin: TextIO) -> str:
    try:
        return stdin.readline().strip().lower()
    except (OSError, UnicodeDecodeError):  # the terminal is gone; what was typed is no text
        return ""
