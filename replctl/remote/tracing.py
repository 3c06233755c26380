"""What runs where, and for how long: told to the logger ``replctl.calls`` for -v, --log-file and --timings.

A call's text holds no secret: the adapters leave them out before they hand it over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from types import TracebackType

from replctl.model.errors import ReplctlError
from replctl.model.values import NodeName

CALLS = "replctl.calls"
"""The logger. Each of its records carries ``call``, once when the call begins and once when it has ended."""

_log = logging.getLogger(CALLS)


class Kind(Enum):
    """What is called; the value is the sign behind the node's name, as a shell's and psql's prompts have it."""

    COMMAND = "$"
    STATEMENT = ">"
    SSH = "@"
    SESSION = "="


@dataclass(eq=False, slots=True)
class Call:
    """One command, statement or connection while it goes on. A context: what is raised inside ends it as failed."""

    node: NodeName
    kind: Kind
    text: str
    heard: bool
    """Somebody listens."""
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    ms: float | None = None
    """None until it has ended."""
    remark: str = ""
    """How it ended, where that was not well."""
    _started: float = field(default_factory=time.monotonic)

    def end(self, remark: str = "") -> None:
        """The first end counts."""
        if self.ms is None:
            self.ms = (time.monotonic() - self._started) * 1000
            self.remark = remark or self.remark
            self.tell()

    def tell(self) -> None:
        if self.heard:
            _log.debug("%s%s %s", self.node, self.kind.value, self.text, extra={"call": self})

    def __enter__(self) -> Call:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end("" if error is None else f"failed: {_name(error)}")


def traced(node: NodeName, kind: Kind, text: Callable[[], str]) -> Call:
    """A call that begins now. ``text`` is asked for only when somebody listens."""
    heard = _log.isEnabledFor(logging.DEBUG)
    call = Call(node, kind, text() if heard else "", heard)
    call.tell()
    return call


def _name(error: BaseException) -> str:
    """Without the error's own words, which quote what a host or a server says."""
    sqlstate: object = getattr(error, "sqlstate", None)
    if isinstance(sqlstate, str):
        return sqlstate
    return error.code if isinstance(error, ReplctlError) else type(error).__name__
