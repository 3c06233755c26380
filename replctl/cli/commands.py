"""The commands behind the command line: names are checked against the inventory, flags against this version."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from replctl.cli import reading
from replctl.cli.changing import ChangeOptions, Deed, document_of, run_change
from replctl.cli.prompts import Expects
from replctl.execution import drill as drills
from replctl.execution import intents
from replctl.execution.pipeline import Intent
from replctl.model.actions import RoleKind
from replctl.model.errors import ExitCode, UsageError
from replctl.model.inventory import Inventory
from replctl.model.values import NodeName
from replctl.planning.adopt import Adoption
from replctl.planning.consent import Consent
from replctl.planning.remove_replica import Directory
from replctl.postgres.transfer import transfer

__all__ = ["ChangeOptions"]


def known(inventory: Inventory, name: str) -> NodeName:
    """A node's name as the inventory has it. Raises UsageError."""
    for node in inventory.nodes:
        if node == name:
            return node
    raise UsageError(
        f"{inventory.path}: has no node {name}",
        hint=f"Its nodes are {', '.join(inventory.nodes)}.",
        code="unknown-node",
    )


def adoption(*, adopt: bool, restart: bool) -> Adoption | None:
    """What the two flags say together; None for a restart without anything to adopt."""
    if not adopt:
        return None if restart else Adoption.REFUSED
    return Adoption.WITH_RESTART if restart else Adoption.WITHOUT_RESTART


def init_primary(options: ChangeOptions, node: str, wanted: Adoption | None) -> ExitCode:
    """``init-primary NODE``."""

    def intent(inventory: Inventory) -> Intent:
        if wanted is None:
            raise UsageError("--restart is a part of --adopt", hint=f"`replctl restart {node}` restarts a node.")
        return intents.init_primary(known(inventory, node), wanted)

    return run_change("init-primary", options, intent, f"make {node} the primary")


@dataclass(frozen=True)
class Copying:
    """How ``add-replica`` is told to copy: each as it was said."""

    source: str | None = None
    max_rate: str | None = None
    compress: str | None = None


def add_replica(options: ChangeOptions, names: Sequence[str], every: bool, copying: Copying) -> ExitCode:  # noqa: FBT001
    """``add-replica NODE... | --all [--from NODE] [--max-rate RATE] [--compress METHOD]``."""

    def intent(inventory: Inventory) -> Intent:
        if bool(names) == every:
            raise UsageError("name the nodes, or say --all", hint="For example: replctl add-replica db2 db3.")
        wanted = [known(inventory, name) for name in dict.fromkeys(names)]
        origin = known(inventory, copying.source) if copying.source else None
        sent = transfer(copying.max_rate, copying.compress)
        return intents.add_every_replica(origin, sent) if every else intents.add_replica(wanted, origin, sent)

    deed = "add every other node as a replica" if every else f"add {', '.join(names)} as replica"
    return run_change("add-replica", options, intent, deed)


def promote(options: ChangeOptions, node: str | None, failover: bool, consents: Set[Consent]) -> ExitCode:  # noqa: FBT001
    """``promote NODE``; without a node, the candidates."""
    if node is None and not failover:
        return reading.read_cluster(
            options.inventory,
            options.tracing,
            lambda cluster: reading.show_candidates(cluster, options.output),
            output=options.output,
            on_error=document_of("promote", options, ()),
        )

    def intent(inventory: Inventory) -> Intent:
        if node is None:
            raise UsageError("--failover needs a NODE", hint="`replctl promote` lists the candidates, best first.")
        if consents and not failover:
            hint = "A switchover loses nothing and needs no such statement; a dead primary is replaced by --failover."
            raise UsageError(f"{' and '.join(sorted(consents))} belongs to --failover", hint=hint)
        name = known(inventory, node)
        return intents.failover(inventory, name, consents) if failover else intents.promote(name)

    deed = f"fail over to {node}, without the old primary" if failover else f"promote {node}"
    return run_change("promote", options, intent, deed)


def drill(options: ChangeOptions, node: str | None) -> ExitCode:
    """``drill [NODE]``."""

    def intent(inventory: Inventory) -> Intent:
        return drills.drill_intent(inventory, None if node is None else known(inventory, node))

    words = f"practise a failover{'' if node is None else f' to {node}'}, and go back"
    return run_change("drill", options, intent, Deed(words, Expects.CLUSTER, drills.drill))


def rejoin(options: ChangeOptions, node: str, consents: Set[Consent]) -> ExitCode:
    """``rejoin NODE``."""
    return run_change(
        "rejoin",
        options,
        lambda inventory: intents.rejoin(known(inventory, node), consents),
        f"bring {node} back as a replica",
    )


def remove_replica(options: ChangeOptions, node: str, keep_data: bool) -> ExitCode:  # noqa: FBT001
    """``remove-replica NODE [--keep-data]``."""
    directory = Directory.KEPT if keep_data else Directory.SET_ASIDE

    def intent(inventory: Inventory) -> Intent:
        return intents.remove_replica(known(inventory, node), directory)

    return run_change("remove-replica", options, intent, f"remove {node}")


def restart(options: ChangeOptions, node: str | None, rolling: bool) -> ExitCode:  # noqa: FBT001
    """``restart NODE | --rolling``."""

    def intent(inventory: Inventory) -> Intent:
        if (node is None) != rolling:
            raise UsageError("name one node, or say --rolling", hint="For example: replctl restart db2.")
        return intents.restart_every_node(inventory) if node is None else intents.restart(known(inventory, node))

    deed = "restart every node, one after the other" if node is None else f"restart {node}"
    return run_change("restart", options, intent, deed)


def rotate_password(options: ChangeOptions, role: str) -> ExitCode:
    """``rotate-password ROLE``."""

    def intent(inventory: Inventory) -> Intent:
        if role not in set(RoleKind):
            raise UsageError(f"there is no role {role}", hint=f"The roles are {', '.join(RoleKind)}.")
        if options.old_password_file is not None and role != RoleKind.ADMIN:
            hint = (
                "The admin changes the others' passwords: put the new one where the inventory says, and leave it out."
            )
            raise UsageError("--old-password-file is the admin's", hint=hint)
        return intents.rotate_password(inventory, RoleKind(role))

    return run_change("rotate-password", options, intent, f"change the {role} password to what the inventory says")


def env(options: ChangeOptions, check: bool, write: bool, region: str | None) -> ExitCode:  # noqa: FBT001
    """``env [--check | --write | --for-region REGION]``."""

    def one_of_them() -> None:
        if check + write + (region is not None) > 1:
            raise UsageError("--check, --write and --for-region exclude each other", hint="Say one of them.")

    def intent(_: Inventory) -> Intent:
        one_of_them()
        return intents.write_env()

    def show(cluster: reading.Reading) -> ExitCode:
        one_of_them()
        return reading.check_env(cluster) if check else reading.print_env(cluster, region)

    if write:
        return run_change("env", options, intent, "write the env file")
    return reading.read_cluster(options.inventory, options.tracing, show)
