"""Ages between servers whose clocks are an hour apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.facts import Primary, Replica
from replctl.planning.switchover_checks import stuck_walsenders
from replctl.postgres.clocks import on_one_clock
from tests.unit.builders import a_cluster
from tests.unit.plans import DB1, DB2

HOUR = 3600.0


def seen(ahead: float, reply_age_ms: float, replay_age_ms: float = 500.0) -> tuple[Primary, Replica]:
    """A primary whose clock is ``ahead`` of its standby's, in seconds, with ages as the two would measure them."""
    facts = (
        a_cluster().primary("db1").replica("db2", walsender={"reply_age_ms": reply_age_ms + ahead * 1000}).build()[1]
    )
    primary, replica = facts.nodes[DB1], facts.nodes[DB2]
    nodes = on_one_clock(
        {
            DB1: replace(primary, server=replace(primary.server, clock_s=1e9 + ahead)),
            DB2: replace(
                replica,
                server=replace(replica.server, clock_s=1e9),
                last_replay_age_ms=replay_age_ms - ahead * 1000,
            ),
        }
    )
    return nodes[DB1], nodes[DB2]


@pytest.mark.fault("18")
@pytest.mark.parametrize("ahead", [0.0, HOUR, -HOUR])
def test_a_live_standby_is_not_stuck_and_a_frozen_one_is(ahead: float) -> None:
    live, replica = seen(ahead, 20.0)
    assert stuck_walsenders(live) == ()
    assert replica.last_replay_age_ms == pytest.approx(500.0)
    frozen, _ = seen(ahead, 20_000.0)
    assert len(stuck_walsenders(frozen)) == 1


def test_no_age_is_negative_and_nothing_is_guessed() -> None:
    primary, replica = seen(0.0, -40.0, -3.0)
    assert primary.server.walsenders[0].reply_age_ms == 0.0
    assert replica.last_replay_age_ms == 0.0
