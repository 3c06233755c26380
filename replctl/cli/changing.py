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

from replctl.cli.at_stake import at_stake
from replctl.cli.exits import run_command
from replctl.cli.next_step import next_step
from replctl.cli.options import Output, Tracing
from replctl.cli.outcome_json import error_outcome, outcome_document
from replctl.cli.outcomes import planned_outcome, refused_outcome
from replctl.cli.progress import Display
from replctl.cli.prompts import Answer, Expects, Question, confirm
from replctl.cli.render_error import labelled
from replctl.cli.render_outcome import outcome_renderable
from replctl.cli.render_plan import plan_renderable
from replctl.cli.signals import Interrupts
from replctl.cli.streams import open_console, print_json, show
from replctl.cli.telling import Telling, Told
from replctl.execution.pipeline import Intent, change, preview
from replctl.execution.session import Phase, Session
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
    tracing: Tracing
    old_password_file: Path | None = None
    """Where the admin's password until now stands, when the inventory has a new one."""


CarryOut = Callable[[Session, Intent, Callable[[Plan], None]], Plan | Refused | Outcome]


@dataclass(frozen=True, slots=True)
class Deed:
    """What a command does, in the words of its question; what has to be typed there; and who does it then."""

    words: str
    expects: Expects = Expects.YES
    carry_out: CarryOut = change


def run_change(
    command: str, options: ChangeOptions, intent: Callable[[Inventory], Intent], deed: Deed | str
) -> ExitCode:
    """Run it. ``intent`` may raise UsageError for names that the inventory lacks; ``deed`` is for the question."""

    doing = deed if isinstance(deed, Deed) else Deed(deed)
    cluster: list[str] = []  # its name, once the inventory could be read

    def body() -> ExitCode:
        inventory = load_inventory(options.inventory)
        cluster.append(inventory.cluster)
        wanted = intent(inventory)
        telling = Telling(options.tracing, options.output, SystemClock())
        display = telling.of_steps(inventory.nodes)
        with telling.open(display) as told:
            return _Run(options, inventory, telling, display, told).run(wanted, doing)

    return run_command(
        body, state_dir=options.inventory.parent / ".replctl", on_error=document_of(command, options, cluster)
    )


def document_of(command: str, options: ChangeOptions, cluster: Sequence[str]) -> Callable[[ReplctlError], None]:
    """What shows an error on stdout: with ``-o json`` it has its document as well. ``cluster`` holds the name."""

    def document(error: ReplctlError) -> None:
        if options.output is Output.JSON:
            print_json(outcome_document(error_outcome(command, "".join(cluster), error)))

    return document


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of one command."""

    options: ChangeOptions
    inventory: Inventory
    telling: Telling
    display: Display
    told: Told

    def run(self, wanted: Intent, deed: Deed) -> ExitCode:
        clock = SystemClock()
        started = clock.now()
        with ExitStack() as stack:
            interrupts = stack.enter_context(Interrupts())
            session = self._session(stack, clock, interrupts)
            if self.options.dry_run:
                return self._show_plan(preview(session, wanted))

            def agree(plan: Plan) -> None:
                _ask(self.options, plan, deed, self.telling.console)
                stack.enter_context(self.display)

            ended = deed.carry_out(session, wanted, agree)
        return self._show_outcome(_as_outcome(ended), (clock.now() - started) * 1000)

    def _session(self, stack: ExitStack, clock: SystemClock, interrupts: Interrupts) -> Session:
        inventory, told = self.inventory, self.told
        with told.phase(Phase.SECRETS) as awaited:
            passwords = resolve_passwords(inventory, self.options.old_password_file, awaited.says)
        templates = read_template_dir(inventory.templates)
        fleet = open_fleet(inventory, passwords, cancellation=interrupts, clock=clock, warn=told.warn)
        stack.enter_context(closing(fleet))
        command = shlex.join(["replctl", *sys.argv[1:]])
        return Session(inventory, passwords, templates, fleet, clock, interrupts, told, uuid.uuid4().hex, command, told)

    def _show_plan(self, planned: Plan | Refused) -> ExitCode:
        if isinstance(planned, Refused) or not any(planned.steps) or self.options.output is Output.JSON:
            return self._show_outcome(_as_outcome(planned), None)
        stdout = open_console(sys.stdout)
        show(stdout, plan_renderable(planned, width=stdout.width))
        command = shlex.join(["replctl", *(word for word in sys.argv[1:] if word != "--dry-run")])
        show(stdout, labelled([("next:", command, "bold cyan")]))
        return ExitCode.DONE

    def _show_outcome(self, outcome: Outcome, took_ms: float | None) -> ExitCode:
        """What was done on stdout, what was not on stderr; the JSON document always on stdout."""
        if self.options.output is Output.JSON:
            print_json(self.telling.timed(outcome_document(outcome)))
            return outcome.exit_code
        well = outcome.kind in (OutcomeKind.DONE, OutcomeKind.UNCHANGED, OutcomeKind.PLANNED)
        console = open_console(sys.stdout) if well else self.telling.console
        show(console, outcome_renderable(outcome, took_ms=took_ms, then=next_step(outcome, self.inventory)))
        return outcome.exit_code


def _ask(options: ChangeOptions, plan: Plan, deed: Deed, stderr: Console) -> None:
    """Nothing is asked where no node changes: the env file and its copies only say what the nodes are."""
    if options.output is Output.TABLE:
        show(stderr, plan_renderable(plan, width=stderr.width))
    if plan.nodes:
        answer = Answer.YES if options.yes else Answer.ASK
        notes = plan.notes if options.output is Output.JSON else ()  # the plan's text ends with them
        details = (*notes, *at_stake(plan))
        question = Question(plan.cluster, None, deed.words, details, deed.expects)
        confirm(question, answer, stdin=sys.stdin, console=stderr)


def _as_outcome(ended: Plan | Refused | Outcome) -> Outcome:
    match ended:
        case Refused():
            return refused_outcome(ended)
        case Plan():
            return planned_outcome(ended)
        case Outcome():
            return ended
