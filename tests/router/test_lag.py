"""Lag and roles, as real servers show them."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from replctl.router import NoReadableHostError, PrimarySilent, PrimaryUnavailableError, RouterOptions
from tests.router.labs import NODES, Lab, wait_until
from tests.router.managers import healthy, lag_ms, manager_of, read_from

WRITE = "select pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()"
SOME_WAL = "select pg_logical_emit_message(true, 'test', 'x')"


def test_it_is_0_on_an_idle_primary_and_stays_so(lab: Lab) -> None:
    with manager_of(lab) as manager:
        replicas = {lab.id("db2"), lab.id("db3")}
        wait_until(lambda: all(lag_ms(manager, host) == 0.0 for host in replicas))
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert all((lag_ms(manager, host) or 0.0) < 1000.0 for host in replicas)
            time.sleep(0.05)
        assert healthy(manager) == replicas


def test_it_grows_while_replay_is_paused_takes_the_replica_out_and_brings_it_back(lab: Lab) -> None:
    late, other = lab.id("db2"), lab.id("db3")
    with manager_of(lab, max_lag_ms=400) as manager:
        assert healthy(manager) == {late, other}
        with lab.paused("db2"):
            lab.sql("db1", SOME_WAL)
            wait_until(lambda: healthy(manager) == {other})
            first = lag_ms(manager, late)
            wait_until(lambda: (lag_ms(manager, late) or 0.0) > (first or 0.0) + 300)
            assert manager.get_replica_status()[late]["paused"] is True
            assert {read_from(manager) for _ in range(6)} == {other}
        wait_until(lambda: healthy(manager) == {late, other})
        assert lag_ms(manager, late) == 0.0


def test_it_grows_under_writes_when_the_receiver_is_dead(lab: Lab) -> None:
    """The server's own figures stand still then: what was received is replayed."""
    late, other = lab.id("db2"), lab.id("db3")
    with manager_of(lab, max_lag_ms=400) as manager:
        (conninfo,) = lab.sql("db2", "show primary_conninfo")[0]
        lab.sql("db2", "alter system set primary_conninfo = 'host=127.0.0.1 port=1'")
        lab.sql("db2", "select pg_reload_conf()")
        try:
            wait_until(lambda: manager.get_replica_status()[late]["receiving"] is False)
            lab.sql("db1", SOME_WAL)
            wait_until(lambda: healthy(manager) == {other})
            assert "behind" in manager.get_replica_status()[late]["reason"]
        finally:
            quoted = str(conninfo).replace("'", "''")
            lab.sql("db2", f"alter system set primary_conninfo = '{quoted}'")  # type: ignore[arg-type]
            lab.sql("db2", "select pg_reload_conf()")
        wait_until(lambda: healthy(manager) == {late, other})


def test_a_dead_receiver_does_no_harm_while_nothing_is_written(lab: Lab) -> None:
    with manager_of(lab, max_lag_ms=300) as manager:
        lab.stop("db3")
        wait_until(lambda: healthy(manager) == {lab.id("db2")})
        assert lag_ms(manager, lab.id("db3")) is None  # unknown, and not 0


@pytest.mark.parametrize("policy", PrimarySilent)
def test_without_a_primary_reads_go_on_or_end_as_is_declared(lab: Lab, policy: PrimarySilent) -> None:
    options = RouterOptions(primary_silent=policy, first_probe_wait=20.0, switchover_wait=0.1)
    with manager_of(lab, options=options, max_lag_ms=1000) as manager:
        lab.kill("db1")
        wait_until(lambda: not manager.get_primary_status()["healthy"])
        with pytest.raises(PrimaryUnavailableError) as caught, manager.get_write_session() as session:
            session.execute(text("select 1"))
        assert list(caught.value.reasons) == [lab.id("db1")]
        if policy is PrimarySilent.SERVE:
            wait_until(lambda: (lag_ms(manager, lab.id("db2")) or 0.0) > 1200)
            assert healthy(manager) == {lab.id("db2"), lab.id("db3")}
            assert read_from(manager) in {lab.id("db2"), lab.id("db3")}
        else:
            wait_until(lambda: not healthy(manager))
            with pytest.raises(NoReadableHostError) as refused:
                read_from(manager)
            assert set(refused.value.reasons) == {lab.id(node) for node in NODES}


def test_a_promoted_replica_is_a_replica_no_more_within_a_second(lab: Lab) -> None:
    """Its writes would be read as the primary's."""
    promoted = lab.id("db3")
    with manager_of(lab) as manager:
        assert promoted in healthy(manager)
        lab.sql("db3", "select pg_promote()")
        wait_until(lambda: promoted not in healthy(manager), 5.0)
        assert manager.get_replica_status()[promoted]["reason"] == "is in no recovery: a replica no more"
        assert {read_from(manager) for _ in range(4)} == {lab.id("db2")}
