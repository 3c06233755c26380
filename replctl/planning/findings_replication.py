"""Findings about a running replica's link to its upstream and about its replay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from replctl.model.facts import ClusterFacts, Replica, ServerFacts
from replctl.model.inventory import Inventory
from replctl.model.report import Finding, NodeState, Severity
from replctl.planning.amounts import human_bytes, human_duration
from replctl.planning.hints import bring_back, clone_anew
from replctl.planning.rows import Lag, lag_of
from replctl.planning.states import low_settings, replica_state
from replctl.planning.topology import Upstream, live_receiver, server_of, upstream_of, walsender_of

_NOT_RECEIVING = (NodeState.DIVERGED, NodeState.SLOT_LOST, NodeState.NOT_RECEIVING, NodeState.ARCHIVE)
"""States whose own finding says why there is no walreceiver."""


@dataclass(frozen=True, slots=True)
class _Case:
    inventory: Inventory
    facts: ClusterFacts
    replica: Replica

    @property
    def upstream(self) -> Upstream | None:
        return upstream_of(self.inventory, self.facts, self.replica)

    @property
    def sender(self) -> ServerFacts | None:
        """The upstream as SQL shows it, where it is a node that answers."""
        return server_of(self.facts, self.upstream.node) if self.upstream else None

    @property
    def lag(self) -> Lag:
        return lag_of(self.inventory, self.facts, self.replica)

    def warn(self, code: NodeState, message: str, hint: str) -> Finding:
        return Finding(Severity.WARNING, code.value, self.replica.node, message, hint)


def replication_findings(inventory: Inventory, facts: ClusterFacts, replica: Replica) -> Iterator[Finding]:
    """What keeps a replica from streaming and replaying, and why a figure of it is unknown."""
    case, state = _Case(inventory, facts, replica), replica_state(inventory, facts, replica)
    if state in _BY_STATE:
        yield _BY_STATE[state](case)
    if state not in _NOT_RECEIVING and not live_receiver(replica):
        yield _not_receiving(case)
    yield from _walsender_missing(case)
    yield from _figures_unknown(case)


def _diverged(case: _Case) -> Finding:
    name, primary = case.replica.node, case.facts.primary
    assert primary is not None
    here, there = case.replica.server.timeline, primary.server.timeline
    if here > there:
        message = (
            f"{name} is on timeline {here}, later than the primary's {there}: either {name} has WAL that "
            f"{primary.node} never had, or {primary.node} is an old primary that came back"
        )
        hint = f"Find out which node was promoted last. If it was {primary.node}: {bring_back(name)}"
        return Finding(Severity.CRITICAL, "diverged", name, message, hint)
    message = (
        f"{name} is on timeline {here} with WAL up to {case.replica.received}, past the primary's {primary.current} on "
        f"timeline {there}: it has WAL that {primary.node} never had"
    )
    return case.warn(NodeState.DIVERGED, message, bring_back(name).capitalize())


def _slot_lost(case: _Case) -> Finding:
    name = case.replica.node
    message = (
        f"{name} cannot go on: its slot {case.inventory.nodes[name].slot} is lost, the WAL that it needs is removed"
    )
    return case.warn(NodeState.SLOT_LOST, message, clone_anew(name).capitalize())


def _wrong_upstream(case: _Case) -> Finding:
    name, primary, upstream = case.replica.node, case.facts.primary, case.upstream
    assert primary is not None
    assert upstream is not None
    verb = "streams" if live_receiver(case.replica) else "is configured to stream"
    message = f"{name} {verb} from {upstream.text}, not from the primary {primary.node}"
    hint = f"Run `replctl add-replica {name}` to have it stream from {primary.node}."
    return case.warn(NodeState.WRONG_UPSTREAM, message, hint)


def _archive(case: _Case) -> Finding:
    name = case.replica.node
    message = f"{name} does not stream: it takes its WAL from the archive by restore_command"
    return case.warn(NodeState.ARCHIVE, message, _link_hint(case))


def _not_receiving(case: _Case) -> Finding:
    name, receiver, upstream = case.replica.node, case.replica.receiver, case.upstream
    message = f"{name} receives no WAL: " + (f"its walreceiver is {receiver.status}" if receiver else "no walreceiver")
    message += f", upstream {upstream.text}" if upstream else ", and no primary_conninfo is set"
    server = case.sender
    if server is not None and walsender_of(case.inventory, server, case.replica) is not None:
        message += ", which still lists a walsender for it"
    return case.warn(NodeState.NOT_RECEIVING, message, _link_hint(case))


def _link_hint(case: _Case) -> str:
    if case.facts.primary is None:
        return f"See to the primary first; then the server log of {case.replica.node} says why it cannot stream."
    return (
        f"See the server log of {case.replica.node} for the reason, then run `replctl add-replica {case.replica.node}`."
    )


def _parameter_paused(case: _Case) -> Finding:
    name = case.replica.node
    low = low_settings(case.facts, case.replica)
    each = ", ".join(f"{setting} is {own}, the primary's {wanted}" for setting, (own, wanted) in low.items())
    least = ", ".join(f"{setting}: {wanted}" for setting, (_, wanted) in low.items())
    hint = (
        f"Have at least {least} under postgres.parameters in the inventory; then run "
        f"`replctl config apply {name} --restart`."
    )
    return case.warn(NodeState.PARAMETER_PAUSED, f"{name} has paused its replay: {each}", hint)


def _paused(case: _Case) -> Finding:
    name = case.replica.node
    # The word of pg_get_wal_replay_pause_state() until the startup process has come to a place where it can pause.
    asked = "; it is about to pause" if case.replica.paused == "pause requested" else ""
    message = (
        f"{name} has its replay paused: its reads grow stale, and the lag that PostgreSQL measures stands still{asked}"
    )
    hint = f"Run `SELECT pg_wal_replay_resume();` on {name}."
    return case.warn(NodeState.PAUSED, message, hint)


def _delayed(case: _Case) -> Finding:
    name, delay = case.replica.node, float(case.replica.server.setting("recovery_min_apply_delay"))
    message = f"{name} delays its replay by {human_duration(delay)}: its reads are stale by as much"
    hint = f"Run `ALTER SYSTEM RESET recovery_min_apply_delay;` and `SELECT pg_reload_conf();` on {name}."
    return case.warn(NodeState.DELAYED, message, hint)


def _catchup(case: _Case) -> Finding:
    name, behind = case.replica.node, case.lag.unreceived_bytes
    left = "" if behind is None else f", {human_bytes(behind)} behind"
    hint = "Wait, and watch it with `replctl status --watch`."
    return Finding(Severity.INFO, "catchup", name, f"{name} is catching up{left}", hint)


_BY_STATE = {
    NodeState.DIVERGED: _diverged,
    NodeState.SLOT_LOST: _slot_lost,
    NodeState.WRONG_UPSTREAM: _wrong_upstream,
    NodeState.ARCHIVE: _archive,
    NodeState.NOT_RECEIVING: _not_receiving,
    NodeState.PARAMETER_PAUSED: _parameter_paused,
    NodeState.PAUSED: _paused,
    NodeState.DELAYED: _delayed,
    NodeState.CATCHUP: _catchup,
}


def _walsender_missing(case: _Case) -> Iterator[Finding]:
    upstream = case.upstream
    if upstream is None or live_receiver(case.replica) is None:
        return
    server = case.sender
    if server is not None and walsender_of(case.inventory, server, case.replica) is None:
        yield Finding(
            Severity.WARNING,
            "walsender-missing",
            case.replica.node,
            f"{case.replica.node} says that it streams from {upstream.text}, which lists no walsender for it",
            f"Look again in a minute; if it stays, run `replctl add-replica {case.replica.node}`, which sets "
            "its application_name and its slot.",
        )


def _figures_unknown(case: _Case) -> Iterator[Finding]:
    """Without one primary the cluster's own finding says why nothing is known."""
    lag = case.lag
    if case.facts.primary is None or None not in (lag.unreceived_bytes, lag.unreplayed_bytes, lag.lag_ms):
        return
    name = case.replica.node
    if lag.unreplayed_bytes is None or lag.unreceived_bytes is None:
        message = f"how far {name} is behind is unknown: it has told no position in the WAL yet"
    else:
        message = f"how old the reads of {name} are is unknown: it has replayed no transaction since it was started"
    hint = "Look again once it has received and replayed something."
    yield Finding(
        Severity.INFO,
        "lag-unknown",
        name,
        message,
        hint,
    )
