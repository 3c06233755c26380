"""What planning costs for more and more nodes: counted in lines of Python, which are the same on every machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from replctl.model.plan import Plan, Refused
from tests.unit.large_clusters import PLANNERS, fresh, streaming

NODES = 12
LINEAR = 2.01
"""Twice the nodes, twice what is more. A look at every second node for each of them comes to 2.01 and more with the
dearest of the planners."""


def lines_of(run: Callable[[], object]) -> int:
    """Lines that are executed; each round of a comprehension is one."""
    lines = 0

    def count(frame: FrameType, event: str, arg: object) -> Callable[..., object]:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        run()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("name", PLANNERS)
def test_cost_grows_with_the_number_of_nodes(name: str) -> None:
    """The first thousand lines, which compile the templates, are the same for any number."""
    planner = PLANNERS[name]

    def cost(nodes: int) -> int:
        situation = fresh(planner.situation(nodes))
        return lines_of(lambda: planner.plan(situation))

    cost(4 * NODES)  # lines of configuration that were parsed once are known from then on
    one, two, four = (cost(NODES * times) for times in (1, 2, 4))
    assert four - two <= LINEAR * (two - one), (one, two, four)


@pytest.mark.parametrize("name", PLANNERS)
def test_what_is_counted_is_a_plan(name: str) -> None:
    planner = PLANNERS[name]
    planned = planner.plan(planner.situation(5))
    assert not isinstance(planned, Refused), planned
    assert planned is not False
    quiet = ("init-primary", "add-replica-again", "rotate-password-replication")
    assert not isinstance(planned, Plan) or bool(list(planned.steps)) is (name not in quiet)


def test_a_look_at_every_node_for_each_node_would_be_noticed() -> None:
    situation = streaming(4 * NODES)

    def cost(nodes: int) -> int:
        names = list(situation.inventory.nodes)[:nodes]
        return lines_of(lambda: [next(one for one in names if one == name) for name in names])

    one, two, four = (cost(NODES * times) for times in (1, 2, 4))
    assert four - two > 3 * (two - one)
