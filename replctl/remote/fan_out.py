"""The same work for several nodes at once, and every node's outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from functools import partial
from typing import TypeVar

from replctl.model.errors import InterruptedByOperator, ReplctlError, UnreachableError
from replctl.model.values import NodeName
from replctl.remote.background import background

T = TypeVar("T")
MAX_AT_ONCE = 16
"""One sshd accepts some ten connections that are not logged in yet (MaxStartups); nodes may share a jump host."""


def fan_out(
    names: Iterable[NodeName], work: Callable[[NodeName], T], *, deadline: float
) -> dict[NodeName, T | ReplctlError]:
    """What ``work`` returned or raised for each node, in the order of ``names``.

    Returns after ``deadline`` seconds at the latest: a node that has not answered by then has an UnreachableError
    with the code ``timeout``, and is left to its daemon thread. Raises InterruptedByOperator when a worker did, and
    whatever a worker raised that is not a ReplctlError.
    """
    slots = threading.BoundedSemaphore(MAX_AT_ONCE)
    over = threading.Event()

    def work_in_turn(name: NodeName) -> T:
        with slots:
            if over.is_set():
                raise _no_answer(name, deadline)
            return work(name)

    futures = {name: background(partial(work_in_turn, name)) for name in names}
    wait(futures.values(), timeout=deadline)
    over.set()
    return {name: _outcome(name, future, deadline) for name, future in futures.items()}


def _outcome(name: NodeName, future: Future[T], deadline: float) -> T | ReplctlError:
    if not future.done():
        return _no_answer(name, deadline)
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, ReplctlError) and not isinstance(error, InterruptedByOperator):
        return error
    raise error


def _no_answer(name: NodeName, deadline: float) -> UnreachableError:
    return UnreachableError(
        f"{name} did not answer within {deadline:g} s",
        hint="Check that the host is up and not overloaded; ssh.connect_timeout gives it more time.",
        node=name,
        code="timeout",
    )
