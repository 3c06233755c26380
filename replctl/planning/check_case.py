"""What the checks of one node work with, and how a line of theirs is made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from replctl.model.checkup import Cause, Check, CheckStatus, Checkup, ServerCheckup
from replctl.model.facts import NodeFacts, Primary, Replica
from replctl.model.host import HostFacts
from replctl.model.inventory import Node
from replctl.model.report import Finding, NodeReport, Severity, StatusReport
from replctl.model.values import NodeName
from replctl.planning.on_node import by_psql
from replctl.planning.situation import Situation

_COMMAND = re.compile(r"(?:Run )?`((?:replctl|ssh|sudo) [^`]*)`")
_BY_SQL = re.compile(r"Run `(?:SELECT|ALTER SYSTEM) ")
_STATEMENT = re.compile(r"`((?:SELECT|ALTER SYSTEM) [^`]*);`")
RISKS = frozenset(
    {
        "delayed",
        "outside-unit",
        "service-differs",
        "slot-filling",
        "slot-inactive",
        "slot-stale",
        "slot-unlisted",
        "walsender-duplicate",
        "walsender-missing",
    }
)
"""Findings of ``status`` that are warnings; what else it warns of is broken already."""


@dataclass(frozen=True, slots=True)
class Case:
    """One node, and the whole that it is seen in."""

    situation: Situation
    checkup: Checkup
    status: StatusReport
    name: NodeName

    @property
    def node(self) -> Node:
        return self.situation.node(self.name)

    @property
    def seen(self) -> NodeFacts:
        return self.situation.facts.nodes[self.name]

    @property
    def host(self) -> HostFacts | None:
        return self.situation.host_of(self.name)

    @property
    def running(self) -> Primary | Replica | None:
        return self.seen if isinstance(self.seen, Primary | Replica) else None

    @property
    def extra(self) -> ServerCheckup | None:
        return self.checkup.servers.get(self.name)

    @property
    def row(self) -> NodeReport:
        return self.status.rows[self.name]

    def findings(self, *codes: str) -> tuple[Finding, ...]:
        return tuple(one for one in self.status.findings_by_node.get(self.name, ()) if one.code in codes)

    def ok(self, check: str, detail: str = "") -> Check:
        return Check(check, self.name, CheckStatus.OK, detail)

    def failed(self, check: str, detail: str, fix: str, cause: Cause | None = None) -> Check:
        return made(check, self.name, CheckStatus.FAILED, detail, fix, cause)

    def warning(self, check: str, detail: str, fix: str, cause: Cause | None = None) -> Check:
        return made(check, self.name, CheckStatus.WARNING, detail, fix, cause)

    def told(self, check: str, codes: tuple[str, ...], ok: str = "") -> Iterator[Check]:
        """What ``status`` says of this, or that it is well."""
        found = [self.of_finding(check, one) for one in self.findings(*codes)]
        yield from found or [self.ok(check, ok)]

    def of_finding(self, check: str, found: Finding, cause: Cause | None = None) -> Check:
        """A finding as a line. SQL that mends it is made a command that can be copied."""
        fix = found.hint
        if _BY_SQL.match(fix):
            fix = by_psql(self.node, self.host, self.situation.inventory.admin, *_STATEMENT.findall(fix))
        return of_finding(check, self.name, found, fix, cause)


def of_finding(check: str, node: NodeName | None, found: Finding, fix: str, cause: Cause | None = None) -> Check:
    """A finding of ``status`` as a line of ``check``; what is worth knowing and not wrong is well."""
    if found.severity is Severity.INFO:
        return Check(check, node, CheckStatus.OK, found.message)
    status = CheckStatus.WARNING if found.code in RISKS else CheckStatus.FAILED
    return made(check, node, status, found.message, fix, cause)


def made(  # noqa: PLR0917 - the columns of one line
    check: str, node: NodeName | None, status: CheckStatus, detail: str, fix: str, cause: Cause | None = None
) -> Check:
    """With the first command of the fix, if it begins with one, to be copied."""
    found = _COMMAND.match(fix)
    bare = fix.startswith(("replctl ", "ssh ", "sudo "))
    return Check(check, node, status, detail, fix, fix if bare else found.group(1) if found else None, cause)
