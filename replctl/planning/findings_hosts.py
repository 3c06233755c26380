"""Findings about what stands on a host: configuration that waits, leftovers of earlier runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from replctl.model.facts import NodeFacts, Primary, Replica, ServerFacts, Unreachable
from replctl.model.host import Aside, HostFacts, Staging
from replctl.model.inventory import Node, ServiceManager
from replctl.model.report import Finding, Severity
from replctl.model.values import NodeName
from replctl.planning.amounts import human_bytes
from replctl.postgres.paths import staging_dir


def host_findings(node: Node, found: NodeFacts) -> Iterator[Finding]:
    """Leftovers, and configuration that is not in force."""
    if isinstance(found, Primary | Replica):
        yield from _configuration(found.node, found.server)
    if not isinstance(found, Unreachable) and found.host is not None:
        yield from _service(node, found.host)
        yield from _leftovers(node, found.host)


def _configuration(name: NodeName, server: ServerFacts) -> Iterator[Finding]:
    pending = sorted(setting for setting, row in server.settings.items() if row.pending_restart)
    if pending:
        message = f"{name} needs a restart before these settings take effect: {', '.join(pending)}"
        hint = f"Run `replctl restart {name}` when it suits, or `replctl restart --rolling` for every node."
        yield Finding(Severity.INFO, "pending-restart", name, message, hint)
    if server.hba_errors:
        message = f"{name} ignores its pg_hba.conf, which has errors: {'; '.join(server.hba_errors)}"
        hint = (
            f"`replctl config apply {name}` writes the file anew; or mend these lines there, and run "
            f"`SELECT pg_reload_conf();` on {name}. Until then the rules loaded before stay in force, and the server "
            "would not start again."
        )
        yield Finding(Severity.WARNING, "hba-error", name, message, hint)


def _service(node: Node, host: HostFacts) -> Iterator[Finding]:
    """A server in the session of whoever started it ends with the host before its standbys have its last record."""
    name, unit = node.name, host.unit_of_postmaster
    if host.postmaster is None:
        return
    if node.postgres.service is ServiceManager.SYSTEMD and host.unit is not None and unit != host.unit.name:
        message = f"{name} runs outside of its unit {host.unit.name}: systemd knows nothing of it"
        hint = f"`replctl restart {name}` stops it and has systemd start it."
        yield Finding(Severity.WARNING, "outside-unit", name, message, hint)
    elif node.postgres.service is ServiceManager.PG_CTL and unit is not None and unit.startswith("postgresql"):
        message = f"{name} is run by the systemd unit {unit}, and the inventory has pg_ctl"
        hint = "Set postgres.service to systemd: a stop by another hand counts as a failure of the unit."
        yield Finding(Severity.WARNING, "service-differs", name, message, hint)


def _leftovers(node: Node, host: HostFacts) -> Iterator[Finding]:
    if host.staging is not None:
        yield _staging(node, host.staging)
    for aside in host.asides:
        yield _aside(node.name, aside)


def _staging(node: Node, staging: Staging) -> Finding:
    name, path = node.name, staging_dir(node)
    if staging.run is not None:
        message = f"{name} has a staging directory, {path}: a run is under way or was cut short"
        hint = "If no run is under way, run the interrupted command again: it goes on from there or clears it away."
    else:
        message = f"{name} has a directory where replctl stages, {path}, without the marker that makes it ours"
        hint = f"Look at it on {name} and move it away; replctl leaves it alone."
    return Finding(Severity.INFO, "staging", name, message, hint)


def _aside(name: NodeName, aside: Aside) -> Finding:
    size = "size unknown" if aside.size_bytes is None else human_bytes(aside.size_bytes)
    message = f"{name} keeps {aside.path} ({size}), moved aside by an earlier run"
    hint = f"When nothing in it is needed any more, run on {name}: `rm -rf -- {shlex.quote(aside.path)}`."
    return Finding(Severity.INFO, "aside", name, message, hint)
