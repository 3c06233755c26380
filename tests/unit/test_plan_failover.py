"""promote --failover: what is refused, what is stated, what is announced, and in which order it happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import ConfigureStandby, ForgetStandby, NoteFenceDebt, RepointStandby, SettleFenceDebt
from replctl.model.facts import Login, ProblemKind, WalTail
from replctl.model.host import History, Switch
from replctl.model.plan import Plan, Refused
from replctl.model.values import Lsn, Timeline, WalRange
from replctl.planning.consent import Consent
from replctl.planning.failover import plan_failover
from replctl.planning.failover_checks import lacked_wal
from tests.unit.builders import CURRENT, ClusterBuilder, a_cluster, kib, mib
from tests.unit.plans import DB1, DB2, DB3, codes, compare_with_golden, notes_of, steps

FENCED, LOSS = frozenset({Consent.FENCED}), frozenset({Consent.DATA_LOSS})
NOTHING: frozenset[Consent] = frozenset()
PAST_NINE = History(Timeline(9), tuple(Switch(Timeline(number), Lsn(number * 100 + 100)) for number in range(1, 9)))


def orphans(built: ClusterBuilder, **db3: int) -> ClusterBuilder:
    """db2 and db3, which followed db1."""
    return built.replica("db2", of="db1", receiver=None).replica("db3", of="db1", receiver=None, **db3).as_made_by_us()


def out_of_sight(**db3: int) -> ClusterBuilder:
    return orphans(a_cluster().unreachable("db1"), **db3).env("db1", "db2", "db3")


def crashed(**db3: int) -> ClusterBuilder:
    return orphans(a_cluster().stopped("db1", "in production"), **db3).env("db1", "db2", "db3")


def plan(built: ClusterBuilder, consents=NOTHING, name=DB2, **facts) -> Plan | Refused:
    return plan_failover(built.situation(**facts), name, consents)


def by_id(planned) -> dict:
    assert isinstance(planned, Plan), planned
    return {step.id: step for step in planned.steps}


def test_the_plan_without_the_old_primary() -> None:
    compare_with_golden("promote-failover", plan(out_of_sight(), FENCED))


def test_out_of_sight_is_refused_until_it_is_said_to_be_fenced() -> None:
    refused = plan(out_of_sight())
    assert codes(refused) == [("old-primary-unreachable", DB1)]
    assert isinstance(refused, Refused)
    assert int(refused.exit_code) == 3
    assert "init-primary db1" in refused.refusals[0].message
    assert "the most that can be lost" in refused.refusals[0].message.lower()


def test_what_a_replica_hears_of_it_counts_for_more_than_what_anyone_says() -> None:
    heard = plan(out_of_sight(), FENCED, logins=(Login(DB3, DB1, None),))
    assert codes(heard) == [("old-primary-answers", DB1)]


def test_a_debt_is_noted_before_anything_else_and_settled_by_undo() -> None:
    planned = plan(out_of_sight(), FENCED)
    assert steps(planned)[0] == "debt:db1"
    first = by_id(planned)["debt:db1"]
    assert (first.action, first.undo) == (NoteFenceDebt(DB1, DB2), SettleFenceDebt(DB1))


def test_every_receiver_is_stopped_before_positions_are_compared() -> None:
    found = steps(plan(out_of_sight(), FENCED))
    assert found.index("furthest:db2") > max(found.index("detach:db2"), found.index("detach:db3"))
    assert found.index("promote:db2") > found.index("furthest:db2")
    assert by_id(plan(out_of_sight(), FENCED))["detach:db3"].undo == RepointStandby(DB1, "replctl_db3")


def test_a_stopped_one_needs_no_statement_and_is_disabled_first() -> None:
    planned = plan(crashed())
    found = by_id(planned)
    assert steps(planned).index("demote:db1") < steps(planned).index("promote:db2")
    assert isinstance(found["demote:db1"].action, ConfigureStandby)
    assert found["demote:db1"].undo == ForgetStandby()
    assert planned.unfinished == ("`replctl rejoin db1`, since db1 is stopped",)


def test_one_that_has_standby_signal_already_keeps_it_whatever_happens() -> None:
    planned = plan(crashed().host("db1", standby_signal=True))
    assert by_id(planned)["demote:db1"].undo is None


def test_the_loss_is_announced_from_its_own_wal() -> None:
    end = Lsn(CURRENT.position + kib(64))
    announced = notes_of(plan(crashed(), wal=(WalTail(DB1, CURRENT, end, commits=7),)))
    assert any("64 KiB with 7 commits" in note and "init-primary db1" in note for note in announced)
    unknown = notes_of(plan(crashed(), wal=(WalTail(DB1, CURRENT, None, problem="segment 0 is gone"),)))
    assert any("could not be read: segment 0 is gone" in note for note in unknown)


@pytest.mark.parametrize("lost", [crashed(), out_of_sight()])
def test_wal_is_kept_for_the_old_primary_too(lost: ClusterBuilder) -> None:
    """It may come back after many a checkpoint, and pg_rewind leaves all WAL since the fork to be replayed."""
    assert {"slot:db1", "slot:db3"} <= set(steps(plan(lost, FENCED)))


@pytest.mark.parametrize("consents", [NOTHING, FENCED])
def test_a_primary_that_answers_is_not_failed_over(consents) -> None:
    alive = a_cluster().primary("db1").replica("db2").replica("db3").as_made_by_us()
    assert codes(plan(alive, consents)) == [("primary-alive", DB1)]


def test_nor_is_a_server_that_does_not_let_us_in() -> None:
    silent = orphans(a_cluster().silent("db1", ProblemKind.SQL_AUTH))
    assert codes(plan(silent, FENCED)) == [("primary-alive", DB1)]


def test_todays_primary_has_nothing_to_do() -> None:
    done = (
        a_cluster()
        .primary("db2")
        .replica("db3", setting={"primary_slot_name": "replctl_db3"})
        .unreachable("db1")
        .as_made_by_us()
    )
    assert steps(plan(done)) == []


def test_a_replica_that_has_more_stands_in_the_way() -> None:
    ahead = crashed().change("db3", received=Lsn(CURRENT.position + mib(1)))
    refused = plan(ahead)
    assert codes(refused) == [("data-loss", DB3)]
    assert "1 MiB" in refused.refusals[0].message
    planned = plan(ahead, LOSS)
    assert "repoint:db3" not in steps(planned)
    assert "`replctl rejoin db3`, since db3 has WAL that db2 lacks" in planned.unfinished


def test_so_does_one_that_nobody_can_ask() -> None:
    built = a_cluster().stopped("db1", "in production").replica("db2", of="db1", receiver=None).unreachable("db3")
    built = built.as_made_by_us().env("db1", "db2")
    assert codes(plan(built)) == [("data-loss", DB3)]
    assert steps(plan(built, LOSS))


def test_a_later_timeline_counts_for_more_than_a_position() -> None:
    built = crashed().change("db3", server=replace(crashed().facts[DB3].server, timeline=9))
    assert codes(plan(built)) == [("data-loss", DB3)]


@pytest.mark.parametrize(
    ("changed", "code"),
    [({"paused": "paused"}, "paused"), ({"received": None}, "received-nothing")],
)
def test_a_candidate_that_cannot_lead(changed: dict[str, object], code: str) -> None:
    assert (code, DB2) in codes(plan(crashed().change("db2", **changed)))


def test_a_clean_stop_with_everything_received_is_a_switchover_to_be_continued() -> None:
    built = orphans(a_cluster().stopped("db1"))
    planned = plan(built)
    assert "prove:db2" in steps(planned)
    assert planned.unfinished == ()


def test_one_that_was_replaced_long_ago_is_not_taken_for_the_primary() -> None:
    """It stands stopped on an earlier timeline; the one out of sight is what has to be fenced."""
    built = orphans(a_cluster().unreachable("db1").stopped("db4", timeline=7, standby=True)).env("db1", "db2", "db3")
    assert codes(plan(built, LOSS)) == [("old-primary-unreachable", DB1)]


@pytest.mark.parametrize("upstream", ["db1", "10.9.9.9:5432"])
def test_who_was_the_primary_is_told_by_the_link_or_by_the_env_file(upstream: str) -> None:
    built = a_cluster().unreachable("db1").replica("db2", of=upstream, receiver=None).unreachable("db3")
    built = built.as_made_by_us().env("db1", "db2", "db3")
    assert codes(plan(built)) == [("old-primary-unreachable", DB1), ("data-loss", DB3)]


def test_what_the_candidate_lacks_is_looked_for_on_every_later_timeline() -> None:
    node = a_cluster().stopped("db1", timeline=9).host("db1", histories=(PAST_NINE,), wal_timeline=Timeline(9))
    candidate = crashed().facts[DB2]
    assert lacked_wal(candidate, node.facts[DB1]) == (
        WalRange(Timeline(8), Lsn(900)),
        WalRange(Timeline(9), Lsn(900)),
    )
    assert lacked_wal(candidate, crashed().facts[DB1]) == (WalRange(Timeline(8), CURRENT),)
