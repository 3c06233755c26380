"""What plans say to a node's service manager, and what it must be able to do."""

from __future__ import annotations

import re

from replctl.model.actions import (
    Action,
    Autostart,
    RemoveConfig,
    RemoveStaging,
    ReviveOldPrimary,
    SetAutostart,
    StartPostgres,
    StartWithConfig,
)
from replctl.model.host import HostFacts
from replctl.model.inventory import Node, ServiceManager
from replctl.model.plan import Plan, Refusal, Step
from replctl.model.values import NodeName
from replctl.planning.situation import Situation, step
from replctl.postgres.layout import Layout, layout_of


def layout(situation: Situation, name: NodeName) -> Layout | None:
    """How the node's server is laid out; None when SSH did not answer."""
    host = situation.host_of(name)
    return None if host is None else layout_of(situation.node(name), host)


def undo_of_config(situation: Situation, name: NodeName) -> Action:
    """How the files of a new cluster go again: with the staging directory that they are in, or by themselves."""
    found = layout(situation, name)
    return RemoveConfig() if found is not None and found.is_split else RemoveStaging()


def starts_with_host(situation: Situation, name: NodeName) -> tuple[Step, ...]:
    """A member of the cluster comes back by itself after a reboot, where a service is to start it."""
    found = layout(situation, name)
    if found is None or found.autostart is not False:
        return ()
    why = f"{name} has to come back by itself when its host does"
    return (step("autostart", name, SetAutostart(Autostart.ON), why, undo=SetAutostart(Autostart.OFF)),)


def stays_down(situation: Situation, name: NodeName) -> tuple[Step, ...]:
    """A node that is out of the cluster is not started by its host."""
    found = layout(situation, name)
    if found is None or not found.autostart:
        return ()
    why = f"nothing but the operator starts {name} from now on"
    return (step("no-autostart", name, SetAutostart(Autostart.OFF), why, undo=SetAutostart(Autostart.ON)),)


def check_starts(situation: Situation, plan: Plan) -> list[Refusal]:
    """Whether what is to be started can be: a server that the plan stops first would stay down."""
    starts = (ReviveOldPrimary, StartPostgres, StartWithConfig)
    names = dict.fromkeys(one.node for one in plan.steps if one.node is not None and isinstance(one.action, starts))
    hosts = ((name, situation.host_of(name)) for name in names)
    return [r for name, host in hosts if host is not None for r in check_service(situation.node(name), host)]


def check_service(node: Node, host: HostFacts) -> list[Refusal]:
    """Whether what the inventory names can start this node's server."""
    match node.postgres.service:
        case ServiceManager.PG_CTL:
            return []
        case ServiceManager.PG_CTLCLUSTER if not host.has_pg_ctlcluster:
            return [
                Refusal(
                    "service",
                    node.name,
                    f"{node.name}: there is no pg_ctlcluster on the host",
                    "Install postgresql-common, or set postgres.service to pg_ctl or systemd.",
                )
            ]
        case ServiceManager.SYSTEMD if not host.has_pg_ctlcluster and (host.unit is None or not host.unit.enabled):
            unit = host.unit.name if host.unit else node.postgres.unit or "postgresql-VERSION"
            return [
                Refusal(
                    "service",
                    node.name,
                    f"{node.name}: there is no systemd unit {unit} on the host",
                    "Name it with postgres.unit, or set postgres.service to pg_ctl.",
                )
            ]
        case _:
            return [*_check_path(node, host), *_check_unit(node, host), *_check_leave(node, host)]


def _check_path(node: Node, host: HostFacts) -> list[Refusal]:
    """postgresql-common has VERSION and NAME in its paths and units."""
    path = node.postgres.data_dir
    known = any(cluster.data_dir == path for cluster in host.debian_clusters)
    if known or not host.has_pg_ctlcluster or re.fullmatch(rf".*/{host.major}/[A-Za-z0-9_.-]+", path):
        return []
    return [
        Refusal(
            "service",
            node.name,
            f"{node.name}: postgresql-common cannot start a cluster in {path}: the path must end in {host.major}/NAME",
            f"Use a data_dir such as /var/lib/postgresql/{host.major}/main, or set postgres.service to pg_ctl.",
        )
    ]


def _check_unit(node: Node, host: HostFacts) -> list[Refusal]:
    """postgresql-common names a unit after its cluster, and systemd shows one whether there is a cluster or not."""
    cluster = layout_of(node, host).debian
    if cluster is None or host.unit is None or not host.unit.name.startswith("postgresql@"):
        return []
    own = f"postgresql@{cluster.version}-{cluster.name}"
    if host.unit.name == own:
        return []
    return [
        Refusal(
            "service",
            node.name,
            f"{node.name}: the unit {host.unit.name} starts another cluster than the one in {cluster.data_dir}",
            f"Take postgres.unit out of the inventory, or set it to {own}.",
        )
    ]


def _check_leave(node: Node, host: HostFacts) -> list[Refusal]:
    if host.unit is None or host.may_start_unit is not False:
        return []
    line = f"NOPASSWD: /usr/bin/systemctl start {host.unit.name}.service"
    return [
        Refusal(
            "service",
            node.name,
            f"{node.name}: sudo does not let the SSH user start {host.unit.name}",
            f"Give the SSH user this line in sudoers there: `{line}`; docs/services.md has all of them.",
        )
    ]
