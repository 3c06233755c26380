"""``config diff`` and ``config apply`` behind the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from replctl.cli.changing import ChangeOptions, document_of, run_change
from replctl.cli.commands import known
from replctl.cli.options import Output
from replctl.cli.outcome_json import outcome_document
from replctl.cli.outcomes import refused_outcome
from replctl.cli.reading import Reading, read_cluster
from replctl.cli.render_config import differences_document, differences_renderable
from replctl.cli.render_error import labelled
from replctl.cli.render_outcome import outcome_renderable
from replctl.cli.streams import open_console, print_json, show
from replctl.execution import intents
from replctl.execution.pipeline import Intent
from replctl.execution.session import Phase
from replctl.model.errors import ExitCode, UsageError
from replctl.model.inventory import Inventory
from replctl.model.plan import Refusal, Refused
from replctl.observe import read_configurations
from replctl.planning.config_apply import Restarting
from replctl.planning.config_diff import NodeDifference, compare, look_at
from replctl.planning.situation import Situation
from replctl.remote.local_files import read_template_dir

DIFF = "config diff"


def config_diff(options: ChangeOptions, names: Sequence[str]) -> ExitCode:
    """``config diff [NODE...]``."""
    return read_cluster(
        options.inventory,
        options.tracing,
        lambda cluster: _show_differences(cluster, names, options.output),
        output=options.output,
        on_error=document_of(DIFF, options, ()),
    )


def _show_differences(reading: Reading, names: Sequence[str], output: Output) -> ExitCode:
    inventory = reading.inventory
    wanted = [known(inventory, name) for name in names]
    templates = read_template_dir(inventory.templates)
    seen = reading.facts()
    with reading.told.phase(Phase.INQUIRE) as awaited:
        awaited.says("files and settings")
        read = read_configurations(seen, wanted or tuple(inventory.nodes), reading.fleet, inventory)
    situation = Situation(inventory, replace(seen, configurations=read), templates)
    looked = look_at(situation, wanted)
    if looked.others and (wanted or not looked.nodes):
        return _refuse(reading, looked.others, output)
    for other in looked.others:
        reading.told.warn(f"{other.message}: it was not compared")
    found = [compare(situation, name) for name in looked.nodes]
    return _show(reading, found, output)


def _show(reading: Reading, found: Sequence[NodeDifference], output: Output) -> ExitCode:
    code = ExitCode.DIFFERENT if any(node.files or node.settings for node in found) else ExitCode.DONE
    if output is Output.JSON:
        print_json(reading.telling.timed(differences_document(reading.inventory.cluster, found, code)))
        return code
    console = open_console(sys.stdout)
    show(console, differences_renderable(found))
    if code is ExitCode.DIFFERENT:
        show(console, labelled([("next:", "replctl config apply", "bold cyan")]))
    return code


def _refuse(reading: Reading, refusals: tuple[Refusal, ...], output: Output) -> ExitCode:
    outcome = refused_outcome(Refused(DIFF, reading.inventory.cluster, refusals))
    if output is Output.JSON:
        print_json(reading.telling.timed(outcome_document(outcome)))
    else:
        show(open_console(sys.stderr), outcome_renderable(outcome))
    return outcome.exit_code


def restarts(*, replicas: bool, primary: bool, switchover: bool) -> frozenset[Restarting]:
    """What the flags allow."""
    flags = {Restarting.REPLICAS: replicas, Restarting.PRIMARY: primary, Restarting.SWITCHOVER: switchover}
    return frozenset(kind for kind, given in flags.items() if given)


def config_apply(options: ChangeOptions, names: Sequence[str], restarting: frozenset[Restarting]) -> ExitCode:
    """``config apply [NODE...]``."""

    def intent(inventory: Inventory) -> Intent:
        if restarting >= {Restarting.PRIMARY, Restarting.SWITCHOVER}:
            hint = "A switchover restarts the old primary as a replica."
            raise UsageError("--restart-primary and --switchover exclude each other", hint=hint)
        return intents.config_apply(inventory, [known(inventory, name) for name in names], restarting)

    where = ", ".join(names) if names else "every node"
    return run_change("config apply", options, intent, f"bring the configuration of {where} to what the inventory says")
