"""Runs a changing command from its options to its exit code."""

from __future__ import annotations

import shlex
import sys
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from replctl.cli.exits import run_command
from replctl.cli.options import Output
from replctl.cli.outcome_json import error_outcome, outcome_document
from replctl.cli.outcomes import planned_outcome, refused_outcome
from replctl.cli.progress import QuietReporter, reporter_on
from replctl.cli.prompts import Answer, Question, confirm
from replctl.cli.render_outcome import outcome_renderable
from replctl.cli.render_plan import plan_renderable
from replctl.cli.signals import Interrupts
from replctl.cli.streams import open_console, print_json, show
from replctl.cli.verbose import log_to_stderr
from replctl.execution.pipeline import Intent, change, preview
from replctl.execution.session import Session
from replctl.model.errors import ExitCode, ReplctlError
from replctl.model.inventory import Inventory
from replctl.model.outcome import Outcome, OutcomeKind
from replctl.model.plan import Plan, Refused
from replctl.remote.links import open_fleet
from replctl.remote.local_files import load_inventory, read_template_dir
from replctl.remote.secrets import resolve_passwords
from replctl.remote.waiting import SystemClock


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """What every changing command takes."""

    inventory: Path
    dry_run: bool
    yes: bool
    output: Output
    verbose: bool
    old_password_file: Path | None = None
    """Where the admin's password until now stands, when the inventory has a new one."""


def run_change(command: str, options: ChangeOptions, intent: Callable[[Inventory], Intent], deed: str) -> ExitCode:
    """Run it. ``intent`` may raise UsageError for names that the inventory lacks; ``deed`` is for the question."""

    cluster: list[str] = []  # its name, once the inventory could be read

    def body() -> ExitCode:
        log_to_stderr(options.verbose)
        inventory = load_inventory(options.inventory)
        cluster.append(inventory.cluster)
        return _run(options, inventory, intent(inventory), deed)

    return run_command(
        body, state_dir=options.inventory.parent / ".replctl", on_error=document_of(command, options, cluster)
    )


def document_of(command: str, options: ChangeOptions, cluster: Sequence[str]) -> Callable[[ReplctlError], None]:
    """What shows an error on stdout: with ``-o json`` it has its document as well. ``cluster`` holds the name."""

    def document(error: ReplctlError) -> None:
        if options.output is Output.JSON:
            print_json(outcome_document(error_outcome(command, "".join(cluster), error)))

    return document


def _run(options: ChangeOptions, inventory: Inventory, wanted: Intent, deed: str) -> ExitCode:
    passwords, templates = (
        resolve_passwords(inventory, options.old_password_file),
        read_template_dir(inventory.templates),
    )
    stderr, clock = open_console(sys.stderr), SystemClock()
    quiet = options.output is Output.JSON
    reporter = QuietReporter(stderr) if quiet else reporter_on(stderr, clock, inventory.nodes)
    started = clock.now()
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        fleet = open_fleet(inventory, passwords, cancellation=interrupts, clock=clock, warn=reporter.warn)
        stack.enter_context(closing(fleet))
        command = shlex.join(["replctl", *sys.argv[1:]])
        session = Session(
            inventory, passwords, templates, fleet, clock, interrupts, reporter, uuid.uuid4().hex, command
        )
        if options.dry_run:
            return _show_plan(options, preview(session, wanted))

        def agree(plan: Plan) -> None:
            _ask(options, plan, deed, stderr)
            stack.enter_context(reporter)

        ended = change(session, wanted, agree)
    return _show_outcome(options, _as_outcome(ended), (clock.now() - started) * 1000)


def _ask(options: ChangeOptions, plan: Plan, deed: str, stderr: Console) -> None:
    """Nothing is asked where no node changes: the env file and its copies only say what the nodes are."""
    if options.output is Output.TABLE:
        show(stderr, plan_renderable(plan, width=stderr.width))
    if plan.nodes:
        answer = Answer.YES if options.yes else Answer.ASK
        shown = plan.notes if options.output is Output.JSON else ()  # the plan's text ends with them
        question = Question(plan.cluster, None, deed, shown)
        confirm(question, answer, stdin=sys.stdin, console=stderr)


def _show_plan(options: ChangeOptions, planned: Plan | Refused) -> ExitCode:
    if isinstance(planned, Refused) or not any(planned.steps) or options.output is Output.JSON:
        return _show_outcome(options, _as_outcome(planned), None)
    stdout = open_console(sys.stdout)
    show(stdout, plan_renderable(planned, width=stdout.width))
    return ExitCode.DONE


def _as_outcome(ended: Plan | Refused | Outcome) -> Outcome:
    match ended:
        case Refused():
            return refused_outcome(ended)
        case Plan():
            return planned_outcome(ended)
        case Outcome():
            return ended


def _show_outcome(options: ChangeOptions, outcome: Outcome, took_ms: float | None) -> ExitCode:
    """What was done on stdout, what was not on stderr; the JSON document always on stdout."""
    if options.output is Output.JSON:
        print_json(outcome_document(outcome))
        return outcome.exit_code
    well = outcome.kind in (OutcomeKind.DONE, OutcomeKind.UNCHANGED, OutcomeKind.PLANNED)
    show(open_console(sys.stdout if well else sys.stderr), outcome_renderable(outcome, took_ms=took_ms))
    return outcome.exit_code
