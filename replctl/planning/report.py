"""``status``: from facts to the report. Pure: what was observed goes in, what the operator reads comes out."""

from __future__ import annotations

from collections.abc import Iterable

from replctl.model.facts import ClusterFacts
from replctl.model.inventory import Inventory
from replctl.model.report import Finding, Health, NodeReport, NodeRole, Severity, StatusReport
from replctl.planning.candidates import assess_by_state
from replctl.planning.findings import findings_of
from replctl.planning.rows import EnvKnowledge, node_row, unlisted_of
from replctl.planning.states import states_of


def status_report(inventory: Inventory, facts: ClusterFacts, env_problem: str | None = None) -> StatusReport:
    """The report of one observation. ``facts`` hold every node of the inventory, and what the env file lists;
    ``env_problem`` says why that file could not be read, and then nothing is told of it."""
    env = EnvKnowledge.KNOWN if env_problem is None else EnvKnowledge.UNKNOWN
    states = states_of(inventory, facts)
    candidates = assess_by_state(inventory, facts, states)
    verdicts = {candidate.node: candidate for candidate in candidates}
    rows = tuple(
        node_row(inventory, facts, name, states[name], candidate=verdicts.get(name), env=env)
        for name in inventory.nodes
    )
    findings = findings_of(inventory, facts, candidates, env_problem)
    primary = facts.primary
    return StatusReport(
        cluster=inventory.cluster,
        health=health_of(rows, findings),
        primary=primary.node if primary else None,
        system_identifier=facts.system_identifier,
        timeline=primary.server.timeline if primary else None,
        nodes=rows,
        unlisted=unlisted_of(inventory, facts),
        findings=findings,
        wal_bytes_per_s=primary.wal_bytes_per_s if primary else None,
        last_drill=facts.last_drill,
    )


def health_of(rows: Iterable[NodeReport], findings: Iterable[Finding]) -> Health:
    """Critical if and only if not exactly one node that answers is a primary; info never counts."""
    if sum(row.role is NodeRole.PRIMARY for row in rows) != 1:
        return Health.CRITICAL
    bad = any(finding.severity is not Severity.INFO for finding in findings)
    return Health.DEGRADED if bad else Health.HEALTHY
