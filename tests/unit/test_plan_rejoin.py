"""rejoin: as it is, by pg_rewind, or as a new clone; and what has to be said before."""

from __future__ import annotations

import pytest

from replctl.model.facts import FenceDebt, WalTail
from replctl.model.host import History, Switch
from replctl.model.plan import Plan, Refused
from replctl.model.repair_actions import KeepDivergedWal, Promise, Rewind
from replctl.model.values import Lsn, Timeline, WalRange
from replctl.planning.add_replica import plan_add_replica
from replctl.planning.consent import Consent
from replctl.planning.rejoin import plan_rejoin
from tests.unit.builders import CURRENT, ClusterBuilder, a_cluster, kib
from tests.unit.plans import DB1, DB2, codes, compare_with_golden, notes_of, steps

FORK = Lsn(CURRENT.position - kib(512))
OWN = (WalRange(Timeline(7), FORK),)
COMMITS = WalTail(DB1, FORK, Lsn(FORK.position + kib(64)), commits=3)
NO_COMMITS = WalTail(DB1, FORK, Lsn(FORK.position + 120))
SEGMENT = 16 * 2**20
NOTHING: frozenset[Consent] = frozenset()
DISCARD, RECLONE = frozenset({Consent.DISCARD}), frozenset({Consent.RECLONE})


def promoted() -> ClusterBuilder:
    """db2 was promoted to timeline 8; db1 was the primary on timeline 7."""
    return a_cluster().primary("db2")


def stopped(state: str = "shut down", checkpoint: Lsn = FORK, **host: object) -> ClusterBuilder:
    built = promoted().stopped("db1", state, timeline=7, checkpoint=checkpoint).as_made_by_us()
    return with_history(built).host("db1", standby_signal=True, **host)


def with_history(built: ClusterBuilder) -> ClusterBuilder:
    seven = tuple(Switch(Timeline(number), Lsn(number)) for number in range(1, 7))
    built = built.host("db1", histories=(History(Timeline(7), seven),))
    return built.host("db2", histories=(History(Timeline(8), (*seven, Switch(Timeline(7), FORK))),))


def plan(built: ClusterBuilder, consents=NOTHING, name=DB1, **facts) -> Plan | Refused:
    return plan_rejoin(built.situation(**facts), name, consents)


def test_a_rewind() -> None:
    compare_with_golden("rejoin-rewind", plan(stopped(), DISCARD, wal=(COMMITS,)))


def test_commits_of_its_own_have_to_be_given_up() -> None:
    refused = plan(stopped(), wal=(COMMITS,))
    assert codes(refused) == [("diverged", DB1)]
    assert "64 KiB, 3 commits" in refused.refusals[0].message
    assert "--discard-diverged" in refused.refusals[0].hint


def test_wal_without_commits_needs_no_consent_but_the_promise_is_kept() -> None:
    planned = plan(stopped(), wal=(NO_COMMITS,))
    keep = next(step.action for step in planned.steps if isinstance(step.action, KeepDivergedWal))
    assert keep == KeepDivergedWal(OWN, Promise.NO_COMMIT)
    assert Rewind(DB2, OWN) in {step.action for step in planned.steps}
    assert any("is kept on db1" in note for note in notes_of(planned))


def test_what_cannot_be_read_may_be_commits() -> None:
    assert codes(plan(stopped(), wal=(WalTail(DB1, FORK, None, problem="gone"),))) == [("diverged", DB1)]


def test_what_is_part_of_the_primarys_wal_follows_as_it_is() -> None:
    before = Lsn(FORK.position - 200)
    planned = plan(stopped(checkpoint=before), wal=(WalTail(DB1, FORK, None),))
    assert [one.split(":")[0] for one in steps(planned)][-4:] == ["standby", "start", "streaming", "env"]
    assert not any("rewind" in one for one in steps(planned))


@pytest.mark.parametrize(
    ("checksums", "hints", "possible"), [(True, False, True), (False, True, True), (False, False, False)]
)
def test_pg_rewind_needs_checksums_or_hints(checksums: bool, hints: bool, possible: bool) -> None:
    built = stopped()
    control = built.facts[DB1].host.control
    changed = type(control)(
        **{f: getattr(control, f) for f in control.__slots__} | {"checksums": checksums, "wal_log_hints": hints}
    )
    planned = plan(built.host("db1", control=changed), DISCARD, wal=(COMMITS,))
    assert isinstance(planned, Plan) is possible
    if not possible:
        assert codes(planned) == [("needs-clone", DB1)]


@pytest.mark.parametrize(
    ("kept", "possible"), [((6, 0), False), ((8, 1), False), ((7, 0), True), ((8, 0), True), ((8, -1), True)], ids=str
)
def test_the_primary_has_to_have_its_wal_since_they_parted(kept: tuple[int, int], possible: bool) -> None:
    planned = plan(stopped(), DISCARD, wal=(COMMITS,), primary_wal=(segment(*kept), segment(8, 2)))
    assert isinstance(planned, Plan) if possible else codes(planned) == [("needs-clone", DB1)]


def test_so_does_one_on_an_earlier_timeline_than_a_node_that_was_promoted_by_hand() -> None:
    built = a_cluster().primary("db2").stopped("db1", timeline=9, checkpoint=Lsn(FORK.position + 200)).as_made_by_us()
    switches = tuple(Switch(Timeline(number), Lsn(number)) for number in range(1, 8))
    built.host("db1", standby_signal=True, histories=(History(Timeline(9), (*switches, Switch(Timeline(8), FORK))),))
    built.host("db2", histories=(History(Timeline(8), switches),))
    planned = plan(built, DISCARD, wal=(COMMITS,), primary_wal=(segment(8, 0),))
    assert "rewind:db1" in steps(planned)


def segment(timeline: int, further: int) -> str:
    """The name of a segment so many segments after the one in which the two parted."""
    number = FORK.position // SEGMENT + further
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


def test_add_replica_leaves_it_to_rejoin() -> None:
    """Started as it is, it would never stream."""
    built = stopped(checkpoint=Lsn(FORK.position - 200))
    assert codes(plan_add_replica(built.situation(wal=(COMMITS,)), [DB1])) == [("diverged", DB1)]
    assert steps(plan_add_replica(built.situation(wal=(WalTail(DB1, FORK, None),)), [DB1]))


def test_a_clone_moves_what_stands_there_aside_last() -> None:
    planned = plan(stopped(), DISCARD | RECLONE, wal=(COMMITS,))
    found = steps(planned)
    assert found.index("clone:db1") < found.index("aside:db1") < found.index("install:db1")
    assert codes(plan(stopped(), RECLONE, wal=(COMMITS,))) == [("diverged", DB1)]


def test_a_broken_rewind_is_only_cloned_over() -> None:
    built = with_history(promoted().absent("db1").as_made_by_us()).host("db1", broken_rewind=True)
    assert codes(plan(built)) == [("broken-rewind", DB1)]
    assert "aside:db1" in steps(plan(built, RECLONE))


def test_a_finished_rewind_only_has_to_be_put_back() -> None:
    built = with_history(promoted().absent("db1").as_made_by_us()).host("db1", finished_rewind=True)
    assert [one for one in steps(plan(built)) if one.endswith("db1")][-4:] == [
        "standby:db1", "install:db1", "start:db1", "streaming:db1",
    ]  # fmt: skip


def test_an_absent_directory_is_cloned_without_consent() -> None:
    assert "clone:db1" in steps(plan(promoted().absent("db1").as_made_by_us()))


def test_the_primary_and_foreign_nodes() -> None:
    assert codes(plan(stopped(), name=DB2)) == [("is-primary", DB2)]
    assert codes(plan(promoted().foreign("db1").as_made_by_us())) == [("foreign", DB1)]


def test_a_debt_is_settled_by_it() -> None:
    debts = (FenceDebt(DB1, DB2, "2026-11-22T03:00:00+00:00"),)
    assert steps(plan(stopped(), DISCARD, wal=(COMMITS,), debts=debts))[-1] == "settle:db1"


def test_one_that_streams_has_nothing_to_do() -> None:
    assert steps(plan(promoted().replica("db1", setting={"primary_slot_name": "replctl_db1"}).as_made_by_us())) == []
