"""Everything under the status table: what is not as it should be, and what mends it."""

from __future__ import annotations

from collections.abc import Iterator

from replctl.model.facts import ClusterFacts, NoInstance, Silent, Stopped, Unreachable
from replctl.model.inventory import Inventory
from replctl.model.report import Finding, Severity
from replctl.model.values import NodeName
from replctl.planning.candidates import Candidate, Verdict
from replctl.planning.findings_env import env_findings
from replctl.planning.findings_hosts import host_findings
from replctl.planning.findings_nodes import latest_timeline, node_findings, nothing_yet
from replctl.planning.findings_primaries import fence_debts, identity_unknown, multiple_primaries
from replctl.planning.findings_wal import wal_findings

_ORDER = (Severity.CRITICAL, Severity.WARNING, Severity.INFO)


def findings_of(
    inventory: Inventory, facts: ClusterFacts, candidates: tuple[Candidate, ...], env_problem: str | None
) -> tuple[Finding, ...]:
    """Worst first; within one severity the cluster's own, then node by node in the inventory's order."""
    places = {name: place for place, name in enumerate(inventory.nodes)}
    found = [
        *_cluster_findings(inventory, facts, candidates),
        *(finding for name in inventory.nodes for finding in node_findings(inventory, facts, name)),
        *wal_findings(inventory, facts),
        *env_findings(inventory, facts, env_problem),
        *(finding for name, node in inventory.nodes.items() for finding in host_findings(node, facts.nodes[name])),
    ]

    def rank(finding: Finding) -> tuple[int, int]:
        return _ORDER.index(finding.severity), -1 if finding.node is None else places[finding.node]

    return tuple(sorted(found, key=rank))


def _cluster_findings(
    inventory: Inventory, facts: ClusterFacts, candidates: tuple[Candidate, ...]
) -> Iterator[Finding]:
    if not facts.primaries:
        yield Finding(
            Severity.CRITICAL,
            "no-primary",
            None,
            "no node that answers runs as primary: the timeline and how far any replica is behind are unknown",
            _way_to_a_primary(inventory, facts, candidates),
        )
    if len(facts.primaries) > 1:
        yield multiple_primaries(facts)
    yield from fence_debts(facts)
    if facts.system_identifier is None and any(
        not isinstance(n, NoInstance | Unreachable) for n in facts.nodes.values()
    ):
        yield identity_unknown(facts)


def _way_to_a_primary(inventory: Inventory, facts: ClusterFacts, candidates: tuple[Candidate, ...]) -> str:
    nodes = facts.nodes.values()
    if nothing_yet(facts):
        return f"Run `replctl init-primary {next(iter(inventory.nodes))}`."
    ready = next((candidate.node for candidate in candidates if candidate.verdict is Verdict.YES), None)
    clean = [node for node in nodes if isinstance(node, Stopped) and node.control.cleanly_shut_down_primary]
    if ready is not None:
        return (
            f"{clean[0].node} was stopped cleanly and {ready} has all of its WAL: run `replctl promote {ready}` to go "
            f"on with {ready}, or `replctl promote {clean[0].node}` to start {clean[0].node} again."
        )
    latest = latest_timeline(facts)
    primaries = (n for n in nodes if isinstance(n, Stopped) and not n.host.standby_signal)
    stopped = next((node.node for node in primaries if node.control.timeline == latest), None)
    if stopped is not None:
        return (
            f"Run `replctl init-primary {stopped}` to start {stopped} again, which loses nothing. If it cannot be "
            "started, `replctl promote` lists who could go on without it."
        )
    return _mend_or_fail_over(_silent_primary(facts), [n.node for n in nodes if isinstance(n, Unreachable)])


def _silent_primary(facts: ClusterFacts) -> NodeName | None:
    running = (n for n in facts.nodes.values() if isinstance(n, Silent) and n.control.state == "in production")
    return next((node.node for node in running), None)


def _mend_or_fail_over(silent: NodeName | None, unreachable: list[NodeName]) -> str:
    if silent is not None:
        return f"Mend the access to {silent} first: a server runs there that may well be the primary."
    if unreachable:
        names = " or ".join(unreachable)
        return f"Mend the access to {names} if the primary is there; else run `replctl promote` to see the candidates."
    return "Run `replctl promote` to see which replica can take over, and what that would lose."
