"""Where two histories part, and which primary another one went on without."""

from __future__ import annotations

import pytest

from replctl.model.facts import Primary
from replctl.model.host import History, Switch
from replctl.model.values import Lsn, NodeName, Timeline, WalRange
from replctl.planning.ancestry import Fork, Line, Reach, fork_between, has_diverged, superseded
from tests.unit.builders import ClusterBuilder, a_cluster
from tests.unit.plans import DB1, DB2


def line(*reaches: int | None) -> Line:
    """``line(1, 100, 2, None)``: timeline 1 up to 100, then timeline 2."""
    pairs = zip(reaches[::2], reaches[1::2], strict=True)
    return tuple(Reach(Timeline(timeline or 0), None if end is None else Lsn(end)) for timeline, end in pairs)


def a_fork(at: int, *own: tuple[int, int]) -> Fork:
    return Fork(Lsn(at), tuple(WalRange(Timeline(timeline), Lsn(start)) for timeline, start in own))


@pytest.mark.parametrize(
    ("node", "primary", "fork"),
    [
        (line(1, None), line(1, None), None),
        (line(1, None), line(1, 100, 2, None), a_fork(100, (1, 100))),
        (line(1, 100, 2, None), line(1, 100, 2, None), None),
        (line(1, 100, 2, None), line(1, 100, 2, 200, 3, None), a_fork(200, (2, 200))),
        (line(1, 100, 2, None), line(1, None), a_fork(100, (1, 100), (2, 100))),
        (line(1, 90, 2, None), line(1, 100, 2, None), a_fork(90, (1, 90), (2, 90))),
        (line(1, 100, 3, None), line(1, 100, 2, None), a_fork(100, (1, 100), (3, 100))),
        (line(1, 100, 2, 150, 3, None), line(1, 100, 2, 140, 4, None), a_fork(140, (2, 140), (3, 150))),
    ],
    ids=[
        "one timeline", "behind a switch", "same line", "behind the last switch", "promoted by itself",
        "two promotions from one timeline", "two timelines from one point", "two after a common one",
    ],
)  # fmt: skip
def test_forks(node: Line, primary: Line, fork: Fork | None) -> None:
    assert fork_between(node, primary) == fork


def promoted(built: ClusterBuilder, name: str, timeline: int, *switches: tuple[int, int]) -> ClusterBuilder:
    """A primary with the history of its timeline."""
    history = History(Timeline(timeline), tuple(Switch(Timeline(t), Lsn(end)) for t, end in switches))
    return built.host(name, histories=(history,))


def two_primaries(current: int = 5000) -> ClusterBuilder:
    built = a_cluster().primary("db1", timeline=1, current=Lsn(current)).primary("db2", timeline=2, current=Lsn(6000))
    return promoted(built, "db2", 2, (1, 4000))


def names(found: tuple[Primary, ...]) -> list[NodeName]:
    return [primary.node for primary in found]


def test_an_old_primary_that_wrote_on_is_superseded() -> None:
    assert names(superseded(two_primaries().build()[1])) == [DB1]


def test_one_that_wrote_nothing_past_the_fork_is_not() -> None:
    assert superseded(two_primaries(current=4000).build()[1]) == ()


def test_without_the_history_nobody_is() -> None:
    assert superseded(two_primaries().host("db2", histories=()).build()[1]) == ()


def test_of_two_that_were_promoted_side_by_side_neither_is() -> None:
    built = a_cluster().primary("db1", timeline=2).primary("db2", timeline=2)
    built = promoted(promoted(built, "db1", 2, (1, 4000)), "db2", 2, (1, 4100))
    assert superseded(built.build()[1]) == ()


def test_nor_is_an_older_one_beside_those_two() -> None:
    """Nobody can say yet which of the two it is to follow, nor which of them to stop."""
    built = a_cluster().primary("db1", timeline=2).primary("db2", timeline=2)
    built = promoted(promoted(built, "db1", 2, (1, 4000)), "db2", 2, (1, 4100))
    assert superseded(built.primary("db3", timeline=1, current=Lsn(5000)).build()[1]) == ()


def test_two_old_ones_beside_a_new_one() -> None:
    built = two_primaries().primary("db3", timeline=3, current=Lsn(9000))
    built = promoted(built, "db3", 3, (1, 4000), (2, 5500))
    assert names(superseded(built.build()[1])) == [DB1, DB2]


@pytest.mark.parametrize(("received", "diverged"), [(4000, False), (4001, True)])
def test_a_standby_diverges_by_the_first_byte_past_the_fork(received: int, diverged: bool) -> None:
    built = a_cluster().primary("db2", timeline=2, current=Lsn(6000)).replica("db1", timeline=1, receiver=None)
    built = promoted(built, "db2", 2, (1, 4000)).change("db1", received=Lsn(received))
    facts = built.build()[1]
    assert has_diverged(facts, facts.nodes[DB1]) is diverged


@pytest.mark.parametrize(("checkpoint", "diverged"), [(3900, False), (4000, True)])
def test_a_stopped_primary_diverged_if_its_last_checkpoint_begins_past_the_fork(
    checkpoint: int, diverged: bool
) -> None:
    built = a_cluster().primary("db2", timeline=2, current=Lsn(6000))
    built = promoted(built, "db2", 2, (1, 4000)).stopped("db1", timeline=1, checkpoint=Lsn(checkpoint))
    facts = built.build()[1]
    assert has_diverged(facts, facts.nodes[DB1]) is diverged
