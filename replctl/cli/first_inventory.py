"""``inventory init``: asks for what a first inventory needs, and writes it with passwords of its own making."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TextIO

from rich.console import Console
from rich.text import Text

from replctl.cli.exits import run_command
from replctl.cli.options import DEFAULT_INVENTORY
from replctl.cli.prompts import Answer
from replctl.cli.signals import Interrupts, write_to_stderr
from replctl.cli.streams import open_console
from replctl.cli.text import escape
from replctl.inventory import parse_inventory
from replctl.inventory.first import PASSWORDS, SECRETS, Answers, first_inventory, problems_of
from replctl.model.errors import ExitCode, InventoryError, RefusedError, UsageError
from replctl.remote.local_files import write_private
from replctl.remote.secrets import resolve_passwords

_PASSWORD_BYTES = 24
"""32 characters of URL-safe base64."""
_AGAIN = "Correct the options, or leave them out: what they do not say is asked for."


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for one answer; ``field`` is its name in Answers."""

    field: str
    text: str

    def default(self, answers: Answers) -> str:
        return answers.directory if self.field == "data_dir" else str(getattr(answers, self.field))


BEFORE_NODES = (
    Question("cluster", "Name of the cluster"),
    Question("version", "Major version of PostgreSQL: 15, 16, 17 or 18"),
)
BEHIND_NODES = (
    Question("ssh_user", "SSH user, the same on every node"),
    Question("service", "What starts PostgreSQL: pg_ctl, pg_ctlcluster or systemd"),
    Question("data_dir", "Data directory, the same on every node"),
    Question("database", "The application's database"),
    Question("app_user", "The application's user in it"),
    Question("env_file", "Env file, from which the application learns where to read and write"),
)


def init_inventory(path: Path, given: Mapping[str, str], nodes: Sequence[str], answer: Answer) -> ExitCode:
    """``inventory init [FILE]``. ``given`` holds the answers that options have, by their names in Answers."""

    def body() -> ExitCode:
        if os.path.lexists(path):
            hint = "Change it with an editor, or name a file that is not there yet."
            raise InventoryError(f"{path}: is there already", hint=hint, code="exists")
        with Interrupts(_wait) as interrupts:
            answers = _answers(given, nodes, answer)
            with interrupts.changing():
                kept = _write(path, answers)
        sys.stdout.writelines(f"{line}\n" for line in _said(path, answers, kept))
        return ExitCode.DONE

    return run_command(body, state_dir=path.parent / ".replctl")


def _wait(_: str) -> None:
    write_to_stderr("the inventory is being written; please wait")


def _answers(given: Mapping[str, str], nodes: Sequence[str], answer: Answer) -> Answers:
    """What the options say, and for the rest what the operator says, or the defaults."""
    answers = _from_options(given, nodes)
    if answer is Answer.YES:
        if not answers.nodes:
            raise UsageError("no node is named", hint="Name each node with --node NAME=HOST.")
        return answers
    stdin, console = sys.stdin, open_console(sys.stderr)
    # Python has None for a descriptor that was closed before it started.
    if stdin is None or not stdin.isatty() or not console.file.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        raise RefusedError(
            "would ask what the cluster is like, and there is no terminal",
            code="no-terminal",
            hint="Pass --yes, with the nodes as --node NAME=HOST and what differs from the defaults.",
        )
    return Dialogue(stdin, console).answers(answers, given)


def _from_options(given: Mapping[str, str], nodes: Sequence[str]) -> Answers:
    answers = replace(Answers(), **given)
    for node in nodes:
        try:
            answers = answers.with_node(node)
        except ValueError as error:
            raise UsageError(f"--node {escape(node)}: {error}", hint="For example: --node db1=10.0.0.11.") from None
    if problems := problems_of(answers):
        raise UsageError("\n".join(problems), hint=_AGAIN)
    return answers


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The questions on a terminal. Raises RefusedError (code ``declined``) when the operator ends the input."""

    stdin: TextIO
    console: Console

    def answers(self, answers: Answers, given: Mapping[str, str]) -> Answers:
        """All that is not ``given``, asked for in its order; what cannot be is asked for again, with the reason."""
        self._say("Enter takes the answer between brackets; Ctrl-C ends this, and writes nothing.", "dim")
        for question in BEFORE_NODES:
            answers = answers if question.field in given else self._ask(question, answers)
        answers = answers if answers.nodes else self._nodes(answers)
        for question in BEHIND_NODES:
            answers = answers if question.field in given else self._ask(question, answers)
        return answers

    def _ask(self, question: Question, answers: Answers) -> Answers:
        default = question.default(answers)
        while True:
            said = self._line(f"{question.text} [{default}]: ") or default
            changed = replace(answers, **{question.field: said})
            if not (problems := problems_of(changed)):
                return changed
            self._refuse(problems)

    def _nodes(self, answers: Answers) -> Answers:
        self._say("The nodes, each by a HOST that the others and the application connect to, or NAME HOST.", "dim")
        while True:
            said = self._line(self._node_prompt(answers))
            if not said and answers.nodes:
                return answers
            answers = self._with_node(answers, said)

    def _with_node(self, answers: Answers, said: str) -> Answers:
        try:
            changed = answers.with_node(said)
        except ValueError as error:
            self._refuse([str(error)])
            return answers
        problems = problems_of(changed)
        self._refuse(problems)
        return answers if problems else changed

    def _node_prompt(self, answers: Answers) -> str:
        end = ", or Enter if that is all" if answers.nodes else ""
        return f"Node {len(answers.nodes) + 1}{end} [NAME: {answers.next_name}]: "

    def _line(self, prompt: str) -> str:
        self.console.print(Text(escape(prompt)), end="")
        self.console.file.flush()
        try:
            said = self.stdin.readline()
        except UnicodeDecodeError:
            return "\N{REPLACEMENT CHARACTER}"
        except OSError:  # the terminal is gone
            said = ""
        if not said:
            hint = "Run the same command again, or pass --yes and the answers as options."
            raise RefusedError("the answers ended: nothing was written", hint=hint, code="declined")
        return said.strip()

    def _refuse(self, problems: Sequence[str]) -> None:
        for problem in problems:
            self._say(f"  {problem}", "yellow")

    def _say(self, text: str, style: str) -> None:
        self.console.print(Text(escape(text), style))


def _write(path: Path, answers: Answers) -> tuple[str, ...]:
    """The passwords first, the inventory last; what this run made is removed when one of them cannot be written.

    Returns the names of the passwords that were there. Raises InventoryError, SecretError.
    """
    text = first_inventory(answers)
    inventory = parse_inventory(text, path)
    try:
        with ExitStack() as undo:
            kept = _write_passwords(path.parent / SECRETS, undo)
            resolve_passwords(inventory)
            write_private(path, text)
            undo.pop_all()
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        where = error.filename or path
        hint = "Name a file in a folder that this user can write to."
        raise InventoryError(f"{where}: cannot be written: {reason}", hint=hint) from None
    return kept


def _write_passwords(folder: Path, undo: ExitStack) -> tuple[str, ...]:
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700)
        undo.callback(missing.rmdir)
    kept = tuple(name for name in PASSWORDS if os.path.lexists(folder / name))
    for name in PASSWORDS:
        if name not in kept:
            write_private(folder / name, secrets.token_urlsafe(_PASSWORD_BYTES) + "\n")
            undo.callback((folder / name).unlink)
    return kept


def _said(path: Path, answers: Answers, kept: Sequence[str]) -> Iterator[str]:
    new = [name for name in PASSWORDS if name not in kept]
    yield f"{escape(str(path))}: cluster {answers.cluster}, {len(answers.nodes)} nodes: {', '.join(answers.names)}"
    if new:
        yield f"{escape(str(path.parent / SECRETS))}: new passwords: {', '.join(new)}"
    if kept:
        yield f"{escape(str(path.parent / SECRETS))}: passwords that were there: {', '.join(kept)}"
    default = Path(os.environ.get("REPLCTL_INVENTORY") or DEFAULT_INVENTORY)
    option = "" if path == default else f" -i {quote(str(path))}"
    yield "Next:"
    yield f"  replctl inventory check{option}"
    yield f"  replctl init-primary {answers.names[0]} --dry-run{option}"
