"""Work in daemon threads: what hangs is left behind and never delays the end of the command."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import TypeVar

from replctl.remote.ports import Cancellation

T = TypeVar("T")
_POLL_SECONDS = 0.1


def background(work: Callable[[], T]) -> Future[T]:
    """Start ``work`` now, in the context of whoever asks for it.

    A ThreadPoolExecutor would join its threads when the process ends.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=copy_context().run, args=(run,), daemon=True).start()
    return future


def within(seconds: float, work: Callable[[], T], *, cancellation: Cancellation, discard: Callable[[T], None]) -> T:
    """A time limit for what has none of its own: name resolution, an agent that waits for a touch.

    Returns or raises what ``work`` does; TimeoutError after ``seconds``, or what the cancellation raises. What
    abandoned work still returns is given to ``discard``.
    """
    future = background(work)
    left = seconds
    try:
        while not future.done():
            cancellation.raise_if_cancelled()
            if left <= 0:
                raise TimeoutError
            _wait(future, min(_POLL_SECONDS, left))
            left -= _POLL_SECONDS
    except BaseException:
        future.add_done_callback(lambda late: None if late.exception() else discard(late.result()))
        raise
    return future.result()


def _wait(future: Future[T], seconds: float) -> None:
    try:
        future.exception(seconds)
    except TimeoutError:
        return
