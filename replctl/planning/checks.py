"""``check``: every check of every node, from what was observed. Pure, as all of planning is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from replctl.model.checkup import Check, CheckReport, CheckStatus, Checkup
from replctl.model.report import Health, StatusReport
from replctl.planning import checks_hosts, checks_links, checks_settings
from replctl.planning.ancestry import superseded
from replctl.planning.check_case import Case, of_finding
from replctl.planning.situation import Situation

NODE_CHECKS: tuple[Callable[[Case], Iterator[Check]], ...] = (
    checks_hosts.reached,
    checks_hosts.service,
    checks_settings.startable,
    checks_hosts.instance,
    checks_hosts.version,
    checks_hosts.collation,
    checks_links.replication,
    checks_links.replay,
    checks_links.slots,
    checks_links.logins,
    checks_links.passfile,
    checks_settings.roles,
    checks_settings.settings,
    checks_settings.restart,
    checks_settings.ordered_settings,
    checks_settings.recovery_settings,
    checks_settings.archiving,
    checks_settings.synchronous,
    checks_hosts.disk,
    checks_hosts.clock,
    checks_hosts.comes_back,
    checks_hosts.leftovers,
)
"""In the order in which an operator asks: is it there, does it replicate, would it take over, what is left."""
_OF_CLUSTER = {
    "primary": ("no-primary", "multiple-primaries"),
    "identity": ("identity-unknown",),
    "fencing": ("fence-debt",),
}
ENV_FILE = "env-file"


def check_report(situation: Situation, checkup: Checkup, status: StatusReport) -> CheckReport:
    """The cluster's own checks first, then node by node in the inventory's order, and at last what the application is
    told: it follows from the others."""
    cases = [Case(situation, checkup, status, name) for name in situation.inventory.nodes]
    checks = (
        *_of_cluster(situation, status),
        *(line for case in cases for line in _of_node(case)),
    )
    checks = (*checks, *_env_file(status, checks))
    return CheckReport(status.cluster, _health(status, checks), checks)


def _of_node(case: Case) -> Iterator[Check]:
    """Nothing is told to be well beside what is wrong with it: two checks may look at one thing in two ways."""
    lines = [line for check in NODE_CHECKS for line in check(case)]
    wrong = {line.name for line in lines if line.status is not CheckStatus.OK}
    yield from (line for line in lines if line.status is not CheckStatus.OK or line.name not in wrong)


def _of_cluster(situation: Situation, status: StatusReport) -> Iterator[Check]:
    well = {"primary": f"{status.primary}" if status.primary else "", "identity": status.system_identifier or ""}
    for name, codes in _OF_CLUSTER.items():
        found = [one for one in status.findings if one.code in codes]
        for one in found:
            line = of_finding(name, None, one, one.hint)
            yield _one_of_two(situation, line) if one.code == "multiple-primaries" else line
        if not found:
            yield Check(name, None, CheckStatus.OK, well.get(name, ""))


def _one_of_two(situation: Situation, line: Check) -> Check:
    """Where the histories tell which of the two was promoted last, one command brings the other one back."""
    old = superseded(situation.facts)
    if len(old) != 1:
        return line
    command = f"replctl rejoin {old[0].node} --discard-diverged"
    return replace(line, detail=f"{line.detail}. {line.fix}", fix=command, command=command)


def _env_file(status: StatusReport, checks: tuple[Check, ...]) -> Iterator[Check]:
    """Beside a node that fails, the file is right to wait: writing it now would only leave that node out."""
    broken = {one.node for one in checks if one.status is CheckStatus.FAILED}
    found = [one for one in status.findings if one.code in ("env-drift", "env-unreadable")]
    for one in found:
        if one.node in broken:
            fix = f"Mend {one.node} first; `replctl env --write` leaves it out meanwhile."
            yield Check(ENV_FILE, None, CheckStatus.WARNING, one.message, fix)
        else:
            yield of_finding(ENV_FILE, None, one, one.hint)
    if not found:
        yield Check(ENV_FILE, None, CheckStatus.OK, "lists the primary and every proven replica")


def _health(status: StatusReport, checks: tuple[Check, ...]) -> Health:
    if status.health is Health.CRITICAL:
        return Health.CRITICAL
    return Health.HEALTHY if all(one.status is CheckStatus.OK for one in checks) else Health.DEGRADED
