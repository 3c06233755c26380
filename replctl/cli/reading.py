"""Runs the commands that change nothing: status, env, history, promote's list of candidates."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from replctl.cli.exits import run_command
from replctl.cli.options import Output, StatusOutput, Tracing
from replctl.cli.outcome_json import outcome_document
from replctl.cli.outcomes import candidates_outcome
from replctl.cli.render_candidates import candidates_renderable
from replctl.cli.render_history import history_document, history_renderable
from replctl.cli.render_status import print_status
from replctl.cli.signals import Interrupts
from replctl.cli.status_json import status_document
from replctl.cli.status_prometheus import status_metrics
from replctl.cli.streams import open_console, print_json, print_json_line, show
from replctl.cli.telling import Telling, Told
from replctl.cli.text import escape
from replctl.envfile import EnvValues, differences, managed_values, masked
from replctl.execution.journal import read_journal, runs_of
from replctl.execution.notes import read_debts, read_drill
from replctl.execution.session import Phase
from replctl.model.errors import (
    ExitCode,
    InterruptedByOperator,
    InventoryError,
    RefusedError,
    ReplctlError,
    UnreachableError,
    UsageError,
)
from replctl.model.facts import ClusterFacts
from replctl.model.inventory import Inventory
from replctl.model.report import Health, StatusReport
from replctl.model.secret import Passwords, Secret
from replctl.model.values import NodeName
from replctl.observe import observe, observe_env
from replctl.observe_again import Observer
from replctl.planning.candidates import assess_candidates
from replctl.planning.report import status_report
from replctl.planning.situation import Situation, needs_primary
from replctl.planning.topology import proven_replicas
from replctl.remote.app_files import read_app_file
from replctl.remote.fan_out import fan_out
from replctl.remote.links import open_fleet
from replctl.remote.local_files import load_inventory, read_optional_text, read_template_dir
from replctl.remote.ports import Fleet
from replctl.remote.secrets import resolve_passwords
from replctl.remote.waiting import SystemClock, Waiting

WATCH_SECONDS = 1.0
APP_HOST_MARGIN = 5.0
"""Seconds on top of connect_timeout for reading one small file."""
EXITS = {
    Health.HEALTHY: ExitCode.DONE,
    Health.DEGRADED: ExitCode.DEGRADED,
    Health.CRITICAL: ExitCode.CRITICAL,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a command that only looks works with."""

    inventory: Inventory
    passwords: Passwords
    fleet: Fleet
    interrupts: Interrupts
    telling: Telling
    told: Told

    def facts(self) -> ClusterFacts:
        """One observation. Raises InventoryError for the env file."""
        env = observe_env(self.inventory, self.passwords)
        return replace(self.observed(), env=env)

    def report(self) -> StatusReport:
        """One observation as status tells it."""
        return self.report_of(self.observed())

    def report_of(self, facts: ClusterFacts) -> StatusReport:
        """The report of what was observed; an env file that cannot be read is a finding like any other."""
        return status_report(self.inventory, *self.with_env(facts))

    def with_env(self, facts: ClusterFacts) -> tuple[ClusterFacts, str | None]:
        """The same with what the env file lists, or why it could not be read."""
        try:
            return replace(facts, env=observe_env(self.inventory, self.passwords)), None
        except InventoryError as error:
            return facts, error.message

    def observed(self) -> ClusterFacts:
        """One observation, without the env file."""
        with self.told.phase(Phase.OBSERVE, self.inventory.nodes) as awaited:
            seen = observe(self.fleet, self.inventory, self.passwords, awaited.answered)
        return self.with_notes(seen)

    def with_notes(self, facts: ClusterFacts) -> ClusterFacts:
        """The same, with what earlier runs noted on this machine."""
        state_dir, identifier = self.inventory.state_dir, facts.system_identifier
        return replace(facts, debts=read_debts(state_dir, identifier), last_drill=read_drill(state_dir, identifier))


def read_cluster(
    path: Path,
    tracing: Tracing,
    body: Callable[[Reading], ExitCode],
    *,
    output: StrEnum = Output.TABLE,
    on_error: Callable[[ReplctlError], None] | None = None,
) -> ExitCode:
    """Run ``body`` on the cluster of an inventory, with nothing locked and nothing changed."""

    def run() -> ExitCode:
        inventory, clock = load_inventory(path), SystemClock()
        telling = Telling(tracing, output, clock)
        with telling.open(telling.of_looks()) as told, Interrupts() as interrupts, ExitStack() as stack:
            with told.phase(Phase.SECRETS) as awaited:
                passwords = resolve_passwords(inventory, says=awaited.says)
            fleet = open_fleet(inventory, passwords, cancellation=interrupts, clock=clock, warn=told.warn)
            stack.enter_context(closing(fleet))
            return body(Reading(inventory, passwords, fleet, interrupts, telling, told))

    return run_command(run, state_dir=path.parent / ".replctl", on_error=on_error)


def show_status(reading: Reading, output: StatusOutput) -> ExitCode:
    """The table or the document once."""
    report = reading.report()
    match output:
        case StatusOutput.TABLE:
            print_status(report, open_console(sys.stdout))
        case StatusOutput.JSON:
            print_json(reading.telling.timed(status_document(report)))
        case StatusOutput.PROMETHEUS:
            sys.stdout.write(status_metrics(report))
    return EXITS[report.health]


def watch_status(reading: Reading, output: StatusOutput) -> ExitCode:
    """Again and again on the kept connections, until the operator ends it. Raises UsageError."""
    if output is StatusOutput.PROMETHEUS:
        raise UsageError("--watch does not go with -o prometheus", hint="Have cron write the samples of one look.")
    if reading.telling.timing:
        raise UsageError("--watch does not go with --timings", hint="Time one look: `replctl status --timings`.")
    from replctl.cli.watch import watch  # noqa: PLC0415 - a screen, which no other command has

    clock, console = SystemClock(), open_console(sys.stdout)
    observer = Observer(reading.fleet, reading.inventory, reading.passwords, clock)

    def look(patience: float) -> tuple[ClusterFacts, StatusReport]:
        facts = reading.with_notes(observer.look(patience))
        return facts, reading.report_of(facts)

    with suppress(InterruptedByOperator):
        if output is StatusOutput.TABLE and console.is_terminal:
            return EXITS[watch(look, console, clock).health]
        for _ in Waiting(clock, reading.interrupts, math.inf, WATCH_SECONDS).attempts():
            _, report = look(WATCH_SECONDS / 2)
            if output is StatusOutput.JSON:
                print_json_line(status_document(report))
            else:
                print_status(report, console)
    return ExitCode.INTERRUPTED


def show_candidates(reading: Reading, output: Output) -> ExitCode:
    """``promote`` without a node: who could take over, best first. Nothing is promoted, so it is a refusal."""
    candidates = assess_candidates(reading.inventory, reading.facts())
    if output is Output.JSON:
        document = outcome_document(candidates_outcome(reading.inventory.cluster, candidates))
        print_json(reading.telling.timed(document))
    else:
        show(open_console(sys.stderr), candidates_renderable(candidates))
    return ExitCode.REFUSED


def print_env(reading: Reading, region: str | None = None) -> ExitCode:
    """The env file as it would be written now, for an application in ``region``, with the passwords masked. Raises
    UsageError for a region that no node has."""
    known = dict.fromkeys(node.region for node in reading.inventory.nodes.values() if node.region)
    if region is not None and region not in known:
        hint = f"Their regions are {', '.join(known)}." if known else "Give the nodes a region in the inventory."
        raise UsageError(f"{reading.inventory.path}: no node is in {region}", hint=hint, code="unknown-region")
    for key, value in _env_values(reading)(region).items():
        text = value.reveal() if isinstance(value, Secret) else value
        sys.stdout.write(f"{key}={masked(text)}\n")
    return ExitCode.DONE


def check_env(reading: Reading) -> ExitCode:
    """Compare the file, and its copies on hosts of the application, with what would be written now."""
    path, values_in = reading.inventory.app.env_file, _env_values(reading)
    files = {
        str(path): differences(read_optional_text(path), values_in(None)),
        **_on_app_hosts(reading, values_in),
    }
    for name, found in files.items():
        for difference in found:
            sys.stdout.write(f"{escape(difference)}\n")
        verdict = "differs from the cluster. Fix: replctl env --write" if found else "says what the cluster is"
        sys.stdout.write(f"{escape(name)}: {verdict}\n")
    return ExitCode.DIFFERENT if any(files.values()) else ExitCode.DONE


def _on_app_hosts(reading: Reading, values_in: Callable[[str | None], EnvValues]) -> dict[str, list[str]]:
    """How each copy that can be read differs. Of the others nobody can say, which is a warning."""
    hosts = {NodeName(host.label): host for host in reading.inventory.app.publish}

    def look(name: NodeName) -> list[str]:
        host = hosts[name]
        file = read_app_file(reading.fleet.on_app_host(host), host)
        return [
            *differences(file.text.reveal() if file.text else None, values_in(host.region)),
            *([f"it is open to other users (mode {file.mode:o})"] if file.is_open else []),
            *(["the reload command has still to run"] if file.reload_due and host.reload else []),
        ]

    deadline = max((host.ssh.connect_timeout for host in hosts.values()), default=0.0) + APP_HOST_MARGIN
    with reading.told.phase(Phase.INQUIRE) as awaited:
        awaited.says("the copies of the env file")
        answers = fan_out(hosts, look, deadline=deadline)
    for name, answer in answers.items():
        if isinstance(answer, ReplctlError):
            reading.told.warn(f"{name} was not compared: {answer.message}")
    return {name: answer for name, answer in answers.items() if not isinstance(answer, ReplctlError)}


def _env_values(reading: Reading) -> Callable[[str | None], EnvValues]:
    """What is written for an application in a region, by one look at the cluster."""
    facts = reading.facts()
    if facts.primary is None:
        situation = Situation(reading.inventory, facts, read_template_dir(reading.inventory.templates))
        refusal = needs_primary(situation, "env")[0]
        kind = UnreachableError if refusal.exit_code is ExitCode.UNREACHABLE else RefusedError
        raise kind(refusal.message, hint=refusal.hint, node=refusal.node, code=refusal.code)
    replicas = proven_replicas(reading.inventory, facts)
    return partial(managed_values, reading.inventory, reading.passwords, facts.primary.node, replicas)


def show_history(path: Path, output: Output) -> ExitCode:
    """The journal of this cluster, newest last. Contacts nothing."""

    def run() -> ExitCode:
        inventory = load_inventory(path)
        runs = runs_of(read_journal(inventory.state_dir, inventory.cluster, inventory.system_identifier))
        if output is Output.JSON:
            print_json(history_document(runs))
        else:
            show(open_console(sys.stdout), history_renderable(runs))
        return ExitCode.DONE

    return run_command(run, state_dir=path.parent / ".replctl")
