"""A command on a host while it runs, whatever carries its streams."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from replctl.model.errors import (
    CommandFailedError,
    ConnectionLostError,
    ReplctlError,
    UnreachableError,
    WaitTimeoutError,
)
from replctl.model.values import NodeName
from replctl.remote.framing import Frame
from replctl.remote.ports import MAX_OUTPUT_BYTES, Cancellation, Clock, CommandResult
from replctl.remote.printable import one_line

POLL_SECONDS = 0.1
KILL_SECONDS = 2.0
STALL_SECONDS = 15.0
"""A stdin that takes nothing for so long belongs to a host that is gone."""


class Pipes(Protocol):
    """The streams of one shell. Blocks in exchange() alone."""

    def queue(self, text: bytes) -> None:
        """Have exchange() send this to stdin."""
        ...

    def close_stdin(self) -> None:
        """End stdin after what is queued."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes that wait to be sent."""
        ...

    @property
    def ended(self) -> bool:
        """Both output streams have ended and were received to the end."""
        ...

    def exchange(self, seconds: float) -> tuple[bytes, bytes]:
        """Send what can be sent, return what arrived on stdout and stderr; wait ``seconds`` if nothing moves."""
        ...

    def status(self) -> int | None:
        """The exit status, -1 for a signal, None while it runs. Raises ConnectionLostError."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Told:
    """What error messages name."""

    node: NodeName
    account: str
    """Who logs in."""
    os_user: str
    switches: bool
    """Another user than the account runs the command."""


@dataclass(eq=False, slots=True)
class ShellProcess:
    """Implements ports.Process over pipes."""

    pipes: Pipes
    token: str
    told: Told
    cancellation: Cancellation
    clock: Clock
    end_group: Callable[[int], None]
    """Ends a process group by way of another shell; raises ReplctlError when that cannot be done."""
    on_end: Callable[[str], None] = lambda _: None
    """Told once it has ended, and how if that was not well."""
    out: Frame = field(init=False)
    err: Frame = field(init=False)
    _turn: threading.RLock = field(default_factory=threading.RLock, init=False)

    def __post_init__(self) -> None:
        self.out = Frame(self.token.encode())
        self.err = Frame(self.token.encode())

    @property
    def done(self) -> bool:
        with self._turn:
            return self.pipes.ended and self.pipes.status() is not None

    def waits(self) -> bool:
        """Whether it goes on, as far as its streams have told by now."""
        self._exchange(0)
        return not self.done

    def write(self, text: bytes) -> None:
        self.pipes.queue(text)
        self._send_queued()

    def close_stdin(self) -> None:
        self.pipes.close_stdin()
        self._exchange(0)

    def read_line(self, timeout: float) -> bytes | None:
        deadline = self.clock.now() + timeout
        while True:
            if (line := self.out.take_line()) is not None:
                return line
            if self.done:
                return self._last_line()
            if self.clock.now() >= deadline:
                return None
            self.advance(deadline)

    def wait(self, timeout: float) -> CommandResult:
        try:
            self.finish(self.clock.now() + timeout)
        except TimeoutError as error:
            raise WaitTimeoutError(
                f"a command did not end within {timeout:g} s", hint="Wait longer, or end it."
            ) from error
        status = self.pipes.status()
        self.pipes.close()
        self.on_end(f"status {status}" if status else "")
        return CommandResult(-1 if status is None else status, self.out.take_rest(), bytes(self.err.body))

    def kill(self) -> None:
        try:
            self._drain(self.clock.now() + KILL_SECONDS, lambda: self.out.started)
            if self.out.group is not None and not self.done:
                self.end_group(self.out.group)
            self._drain(self.clock.now() + KILL_SECONDS, lambda: False)
        except ReplctlError:
            pass  # the host stopped answering: there is nothing left to end it with
        self.pipes.close()
        self.on_end("ended by replctl")

    def start(self, deadline: float) -> None:
        """Wait for the token: only then do we know that the command's stdin reaches the command.

        Raises UnreachableError when the shell or the user switch failed, TimeoutError at the deadline.
        """
        while not (self.out.started and self.err.started):
            if self.done:
                self._refuse()
            self._advance_or_time_out(deadline)

    def finish(self, deadline: float) -> None:
        """Wait for the end. Raises TimeoutError at the deadline."""
        while not self.done:
            self._advance_or_time_out(deadline)

    def advance(self, deadline: float) -> None:
        """One turn of at most 100 ms. Raises what the cancellation raises, and CommandFailedError on a flood."""
        self.cancellation.raise_if_cancelled()
        self._exchange(max(0.0, min(POLL_SECONDS, deadline - self.clock.now())))
        if max(len(self.out.body), len(self.err.body)) > MAX_OUTPUT_BYTES:
            self._refuse_flood()

    def _advance_or_time_out(self, deadline: float) -> None:
        if self.clock.now() >= deadline:
            raise TimeoutError
        self.advance(deadline)

    def _exchange(self, seconds: float) -> None:
        with self._turn:
            out, err = self.pipes.exchange(seconds)
            self.out.feed(out)
            self.err.feed(err)

    def _send_queued(self) -> None:
        unsent, since = self.pipes.unsent, self.clock.now()
        self.advance(since)
        while self.pipes.unsent:
            if self.pipes.unsent != unsent:
                unsent, since = self.pipes.unsent, self.clock.now()
            if self.done or self.clock.now() > since + STALL_SECONDS:
                break
            self.advance(since + STALL_SECONDS)
        if self.pipes.unsent or self.done:
            raise ConnectionLostError(
                f"a command on {self.told.node} no longer reads what is sent to it",
                hint="Look at the node, then run the same command again.",
                node=self.told.node,
            )

    def _last_line(self) -> bytes:
        if not self.out.started:
            self._refuse()
        if rest := self.out.take_rest():
            return rest
        raise EOFError

    def _drain(self, deadline: float, enough: Callable[[], bool]) -> None:
        """Take what still comes: a command that is about to begin must be known by its group to be ended."""
        while not enough() and not self.done and self.clock.now() < deadline:
            self._exchange(POLL_SECONDS)
            self.out.take_rest()
            self.err.take_rest()

    def _refuse(self) -> NoReturn:
        """The command did not begin. Judged by the missing token; the words are only quoted."""
        told = self.told
        words = one_line((self.err.noise or self.out.noise).decode("utf-8", "replace")) or "it said nothing"
        if told.switches:
            raise UnreachableError(
                f"{told.account} on {told.node} cannot act as {told.os_user}: {words}",
                hint=f"Add this line to /etc/sudoers.d/replctl on {told.node} with visudo: "
                f"{told.account} ALL=({told.os_user}) NOPASSWD: ALL",
                node=told.node,
                code="os-user",
            )
        raise UnreachableError(
            f"the login shell of {told.account} on {told.node} does not run commands: {words}",
            hint=f"Check that `ssh {told.account}@HOST true` works: the account needs a login shell, "
            "and sshd must not force a command on it.",
            node=told.node,
            code="os-user",
        )

    def _refuse_flood(self) -> NoReturn:
        self.kill()
        raise CommandFailedError(
            f"a command on {self.told.node} printed more than {MAX_OUTPUT_BYTES >> 20} MiB",
            hint="Run it by hand on the node to see what it prints.",
            node=self.told.node,
            status=-1,
            stderr="",
        )
