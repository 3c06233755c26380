"""Looks at the same nodes again and again, on kept connections, and cheaply.

A whole look takes some ten statements and a process on the host. Between two of those only the positions are read; a
server of which that fails is looked at as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from functools import partial

from replctl.model.errors import InterruptedByOperator, ReplctlError
from replctl.model.facts import ClusterFacts, NodeFacts, Primary, Problem, ProblemKind, Replica, Unreachable
from replctl.model.inventory import Inventory
from replctl.model.secret import Passwords
from replctl.model.values import NodeName
from replctl.observe import deadline_of, observe_node, of_one_cluster, problem_of
from replctl.remote.background import background
from replctl.remote.ports import Clock, Fleet, NodeLink
from replctl.remote.server_facts import read_positions

WHOLE_SECONDS = 10.0
"""A whole look is made of each node at least so often."""


@dataclass(slots=True)
class _Watched:
    """A node: what it said last, and the look that is under way."""

    look: Future[NodeFacts] | None = None
    began: float = 0.0
    """When the look under way, or the last one, began."""
    whole: float = float("-inf")
    """When the last whole look began."""
    latest: NodeFacts | None = None
    asked: float = 0.0
    """When the look began that ``latest`` comes from."""


@dataclass(slots=True)
class Observer:
    """One look after the other. A node that hangs has one look under way, and holds up nobody's."""

    fleet: Fleet
    inventory: Inventory
    passwords: Passwords
    clock: Clock
    _nodes: dict[NodeName, _Watched] = field(default_factory=dict[NodeName, _Watched])

    def look(self, patience: float) -> ClusterFacts:
        """Every node as it was seen last, after at most ``patience`` seconds of waiting for those that are asked now.

        Who does not answer keeps what was seen of it until the deadline of one look, and is unreachable from then on;
        on the first look of all that deadline is what is waited for. Raises InterruptedByOperator.
        """
        names, now = tuple(self.inventory.nodes), self.clock.now()
        watched = [self._nodes.setdefault(name, _Watched()) for name in names]
        first = any(node.latest is None for node in watched)
        for name, node in zip(names, watched, strict=True):
            if node.look is None:
                self._begin(name, node, now)
        asked = [node.look for node in watched if node.look is not None]
        wait(asked, timeout=deadline_of(self.inventory) if first else patience)
        return of_one_cluster(self.inventory, {name: self._seen(name) for name in names})

    def _begin(self, name: NodeName, node: _Watched, now: float) -> None:
        node.began = now
        link, seen = self.fleet[name], node.latest
        if isinstance(seen, Primary | Replica) and seen.host is not None and now - node.whole < WHOLE_SECONDS:
            node.look = background(partial(self._look_briefly, name, link, seen))
        else:
            node.whole = now
            node.look = background(self._whole_look(name, link))

    def _whole_look(self, name: NodeName, link: NodeLink) -> Callable[[], NodeFacts]:
        return partial(observe_node, link, self.inventory.nodes[name], self.inventory, self.passwords)

    def _look_briefly(self, name: NodeName, link: NodeLink, seen: Primary | Replica) -> NodeFacts:
        try:
            return read_positions(link, seen, timeout=self.inventory.nodes[name].ssh.connect_timeout)
        except InterruptedByOperator:
            raise
        except ReplctlError:
            return self._whole_look(name, link)()

    def _seen(self, name: NodeName) -> NodeFacts:
        node, now = self._nodes[name], self.clock.now()
        if node.look is not None and node.look.done():
            node.latest, node.asked, node.look = _answer(name, node.look), node.began, None
        elif node.latest is None or now - node.began > deadline_of(self.inventory):
            node.latest, node.asked = _no_answer(name, now - node.began), now
        return _as_of(node.latest, now - node.asked)


def _answer(name: NodeName, look: Future[NodeFacts]) -> NodeFacts:
    try:
        return look.result()
    except InterruptedByOperator:
        raise
    except ReplctlError as error:
        return Unreachable(name, ssh=problem_of(error))


def _no_answer(name: NodeName, seconds: float) -> Unreachable:
    hint = "Check that the host is up and not overloaded; ssh.connect_timeout gives it more time."
    return Unreachable(name, Problem(ProblemKind.TIMEOUT, f"{name} has not answered for {seconds:.0f} s", hint))


def _as_of(seen: NodeFacts, seconds_ago: float) -> NodeFacts:
    """Its clock has gone on since it was asked; ages that two clocks measure are compared by what both say now."""
    if isinstance(seen, Primary | Replica) and seen.server.clock_s is not None:
        return replace(seen, server=replace(seen.server, clock_s=seen.server.clock_s + seconds_ago))
    return seen
