"""Ages that were measured by two servers' clocks, brought to one: hosts may be an hour apart.

pg_stat_replication.reply_time is the standby's clock, pg_last_xact_replay_timestamp() the primary's (PostgreSQL docs,
28.2.4 and 9.27.4). What each server's clock said when it was asked tells how far apart they are, as exactly as the two
were asked at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from replctl.model.facts import NodeFacts, Primary, Replica, ServerFacts, Walsender
from replctl.model.values import NodeName


def on_one_clock(nodes: Mapping[NodeName, NodeFacts]) -> dict[NodeName, NodeFacts]:
    """The same facts with ages that no difference between clocks distorts, and that are never negative."""
    servers = {name: seen.server for name, seen in nodes.items() if isinstance(seen, Primary | Replica)}
    primaries = [seen.server for seen in nodes.values() if isinstance(seen, Primary)]
    primary = primaries[0] if len(primaries) == 1 else None
    return {name: _one(seen, servers, primary) for name, seen in nodes.items()}


def _one(seen: NodeFacts, servers: Mapping[NodeName, ServerFacts], primary: ServerFacts | None) -> NodeFacts:
    match seen:
        case Primary():
            return replace(seen, server=_with_walsenders(seen.server, servers))
        case Replica():
            age = _less(seen.last_replay_age_ms, _apart_ms(seen.server, primary))
            return replace(seen, server=_with_walsenders(seen.server, servers), last_replay_age_ms=age)
        case _:
            return seen


def _with_walsenders(server: ServerFacts, servers: Mapping[NodeName, ServerFacts]) -> ServerFacts:
    def corrected(walsender: Walsender) -> Walsender:
        standby = servers.get(NodeName(walsender.application_name))
        return replace(walsender, reply_age_ms=_less(walsender.reply_age_ms, _apart_ms(server, standby)))

    return replace(server, walsenders=tuple(corrected(walsender) for walsender in server.walsenders))


def _apart_ms(server: ServerFacts, other: ServerFacts | None) -> float:
    """How far the first server's clock is ahead of the other's; 0 where nobody knows."""
    if other is None or server.clock_s is None or other.clock_s is None:
        return 0.0
    return (server.clock_s - other.clock_s) * 1000


def _less(age: float | None, apart: float) -> float | None:
    return None if age is None else max(0.0, age - apart)
