"""The Runner over any way to start a shell on a host; SSH and local processes differ in that way alone."""

from __future__ import annotations

import secrets
import shlex
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Protocol

from replctl.model.errors import CommandFailedError, InterruptedByOperator, UnreachableError, WaitTimeoutError
from replctl.model.secret import REDACTED, Secret
from replctl.model.values import NodeName
from replctl.remote.ports import Cancellation, Clock, CommandResult
from replctl.remote.printable import one_line
from replctl.remote.process import Pipes, ShellProcess, Told
from replctl.remote.script import END_GROUP, WAIT_FOR_GO, command_script, framed, switching_script
from replctl.remote.tracing import Call, Kind, traced
from replctl.remote.waiting import NeverCancelled

START_SECONDS = 10.0
"""For a user switch and the probe that decides about it; both take milliseconds on a healthy host."""
END_SECONDS = 5.0
_STDERR_KEPT = 4096
SHOWN_SCRIPT = 60
"""Characters."""

_WHO = (
    'id -un && id -u && [ "$(id -u)" = 0 ] && [ "$1" != root ] || exit 0; '
    'id -u -- "$1" && id -g -- "$1" || exit 0; '
    'eval "echo ~$1"; command -v setpriv || command -v runuser'
)


class Shells(Protocol):
    """Starts shells on one host."""

    @property
    def node(self) -> NodeName: ...

    @property
    def account(self) -> str:
        """The user that shells belong to, as far as it is known without asking the host."""
        ...

    def open(self, timeout: float, cancellation: Cancellation) -> Pipes:
        """A shell that runs the framed script which it is sent. Raises UnreachableError, ConnectionLostError, and what
        the cancellation raises."""
        ...

    def open_urgent(self, timeout: float) -> Pipes:
        """Like open, but without waiting for a free session: it ends what occupies them."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Account:
    """Who the host says we are, and the command prefix that makes us the OS user."""

    name: str
    switch: tuple[str, ...]


@dataclass(eq=False, slots=True)
class _AccountOnce:
    """Asked of the host at the first command, then kept."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    found: Account | None = None

    def get(self, ask: Callable[[], Account]) -> Account:
        with self.lock:
            if self.found is None:
                self.found = ask()
            return self.found


@dataclass(eq=False, slots=True)
class _Ready:
    """Commands that wait on the host for their go."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    processes: dict[tuple[str, ...], ShellProcess] = field(default_factory=dict[tuple[str, ...], ShellProcess])

    def put(self, argv: Sequence[str], process: ShellProcess) -> None:
        with self.lock:
            self.processes[tuple(argv)] = process

    def take(self, argv: Sequence[str]) -> ShellProcess | None:
        """The command, if it still waits as far as anybody knows."""
        with self.lock:
            process = self.processes.pop(tuple(argv), None)
        if process is None or process.waits():
            return process
        process.pipes.close()
        return None

    def close(self) -> None:
        """A command whose stdin ends before its go does nothing."""
        with self.lock:
            for process in self.processes.values():
                process.pipes.close()
            self.processes.clear()


@dataclass(frozen=True, slots=True)
class ShellRunner:
    """Implements ports.Runner. Threads may share it."""

    shells: Shells
    os_user: str
    clock: Clock
    cancellation: Cancellation
    _account: _AccountOnce = field(default_factory=_AccountOnce)
    _ready: _Ready = field(default_factory=_Ready)

    def run(
        self, argv: Sequence[str], *, stdin: bytes | Secret = b"", timeout: float, check: bool = True
    ) -> CommandResult:
        deadline = self.clock.now() + timeout
        account = self._account.get(self._ask_account)
        with self._traced(argv) as call:
            process = self._go(argv) or self._begin(argv, account, self._open(timeout))
            result = self._complete(process, argv, _plain(stdin), deadline, timeout)
            call.remark = f"status {result.status}" if result.status else ""
        if check and result.status != 0:
            raise self._failure(argv, _without(stdin, result) if isinstance(stdin, Secret) else result)
        return result

    def spawn(self, argv: Sequence[str]) -> ShellProcess:
        account = self._account.get(self._ask_account)
        with ExitStack() as failing:
            call = failing.enter_context(self._traced(argv))
            process = self._started(argv, account)
            failing.pop_all()
        process.on_end = call.end
        return process

    def _traced(self, argv: Sequence[str]) -> Call:
        return traced(self.shells.node, Kind.COMMAND, lambda: _shown(argv))

    def _started(self, argv: Sequence[str], account: Account) -> ShellProcess:
        process = self._begin(argv, account, self._open(START_SECONDS))
        try:
            process.start(self.clock.now() + START_SECONDS)
        except TimeoutError:
            process.kill()
            raise self._timed_out(argv, START_SECONDS) from None
        except (InterruptedByOperator, UnreachableError):
            process.kill()
            raise
        return process

    def get_ready(self, argv: Sequence[str]) -> None:
        account = self._account.get(self._ask_account)
        with self._traced(argv) as call:
            self._ready.put(argv, self._started((*WAIT_FOR_GO, *argv), account))
            call.remark = "waits for its go"

    def _go(self, argv: Sequence[str]) -> ShellProcess | None:
        process = self._ready.take(argv)
        if process is not None:
            process.cancellation = self.cancellation
            process.pipes.queue(b"\n")
        return process

    def shielded(self) -> ShellRunner:
        return replace(self, cancellation=NeverCancelled())

    def as_login_user(self) -> ShellRunner:
        account = Account(self.shells.account, ())
        return replace(self, os_user=account.name, _account=_AccountOnce(found=account), _ready=_Ready())

    def close(self) -> None:
        self._ready.close()
        self.shells.close()

    def _open(self, timeout: float) -> Callable[[], Pipes]:
        return lambda: self.shells.open(timeout, self.cancellation)

    def _begin(self, argv: Sequence[str], account: Account, open_shell: Callable[[], Pipes]) -> ShellProcess:
        token = secrets.token_hex(16)
        switching = framed(switching_script(account.switch)) if account.switch else b""
        text = switching + framed(command_script(argv, token))
        pipes = open_shell()
        pipes.queue(text)
        told = Told(self.shells.node, account.name, self.os_user, switches=bool(account.switch))
        return ShellProcess(pipes, token, told, self.cancellation, self.clock, self._end_group)

    def _complete(
        self, process: ShellProcess, argv: Sequence[str], stdin: bytes, deadline: float, timeout: float
    ) -> CommandResult:
        """``stdin`` follows the token: never into a shell that failed to become the command."""
        try:
            if stdin:
                process.start(deadline)
                process.pipes.queue(stdin)
            process.pipes.close_stdin()
            process.finish(deadline)
            process.start(deadline)
        except TimeoutError:
            process.kill()
            raise self._timed_out(argv, timeout) from None
        except InterruptedByOperator:
            process.kill()
            raise
        except UnreachableError:
            process.pipes.close()
            raise
        return process.wait(timeout)

    def _end_group(self, group: int) -> None:
        deaf = self.shielded()
        account = self._account.get(deaf._ask_account)
        argv = (*END_GROUP, str(group))
        with self._traced(argv):
            process = deaf._begin(argv, account, lambda: self.shells.open_urgent(END_SECONDS))
            process.pipes.close_stdin()
            try:
                process.finish(self.clock.now() + END_SECONDS)
            except TimeoutError:
                pass  # a host that does not answer: the caller closes the channel
            finally:
                process.pipes.close()

    def _ask_account(self) -> Account:
        """Who logs in as the OS user needs not ask what it takes to become it."""
        unswitched = Account(self.shells.account, ())
        if unswitched.name == self.os_user:
            return unswitched
        argv = ("/bin/sh", "-c", _WHO, "sh", self.os_user)
        with self._traced(argv):
            process = self._begin(argv, unswitched, self._open(START_SECONDS))
            deadline = self.clock.now() + START_SECONDS
            answer = self._complete(process, ("id",), b"", deadline, START_SECONDS)
        return self._switch_for(answer)

    def _switch_for(self, answer: CommandResult) -> Account:
        name, uid, *of_os_user = answer.text.split("\n")[:-1] if answer.text.count("\n") > 1 else ("?", "?")
        if name == self.os_user:
            return Account(name, ())
        if uid != "0":
            return Account(name, ("sudo", "-n", "-H", "-u", self.os_user, "--"))
        if len(of_os_user) < 4:
            raise self._no_os_user(answer)
        return Account(name, self._from_root(*of_os_user))

    def _from_root(self, uid: str, gid: str, home: str, program: str) -> tuple[str, ...]:
        """setpriv replaces itself; runuser stays in between, with a PAM session."""
        identity = ("env", f"HOME={home}", f"USER={self.os_user}", f"LOGNAME={self.os_user}")
        if PurePosixPath(program).name == "setpriv":
            return (*identity, program, f"--reuid={uid}", f"--regid={gid}", "--init-groups", "--")
        return (*identity, program, "-u", self.os_user, "--")

    def _no_os_user(self, answer: CommandResult) -> UnreachableError:
        return UnreachableError(
            f"root on {self.shells.node} cannot act as {self.os_user}: {one_line(answer.error_text) or 'no setpriv'}",
            hint="Install PostgreSQL's server package there, which makes the user, or set postgres.os_user.",
            node=self.shells.node,
            code="os-user",
        )

    def _failure(self, argv: Sequence[str], result: CommandResult) -> CommandFailedError:
        program = PurePosixPath(argv[0]).name
        ended = "was ended by a signal" if result.status == -1 else f"ended with status {result.status}"
        words = one_line(result.error_text)
        return CommandFailedError(
            f"{one_line(program)} on {self.shells.node} {ended}" + (f": {words}" if words else ""),
            hint=f"To see more, run it on {self.shells.node} as {self.os_user}: {_shown(argv)}",
            node=self.shells.node,
            status=result.status,
            stderr=result.error_text[-_STDERR_KEPT:],
        )

    def _timed_out(self, argv: Sequence[str], timeout: float) -> WaitTimeoutError:
        return WaitTimeoutError(
            f"{one_line(PurePosixPath(argv[0]).name)} on {self.shells.node} did not end within {timeout:g} s",
            hint=f"Look at the load of {self.shells.node}, then run the same command again.",
            node=self.shells.node,
        )


def _plain(stdin: bytes | Secret) -> bytes:
    return stdin.reveal().encode() if isinstance(stdin, Secret) else stdin


def _without(secret: Secret, result: CommandResult) -> CommandResult:
    """What a program says of its failure may repeat what it was given, as initdb does with a whole statement."""
    lines = [line for line in secret.reveal().encode().splitlines() if line]
    stderr = result.stderr
    for line in lines:
        stderr = stderr.replace(line, REDACTED.encode())
    return replace(result, stderr=stderr)


def _shown(argv: Sequence[str]) -> str:
    """A command line for people: of a script the first line, and the arguments, which say what it works on."""
    if tuple(argv[:2]) in (("sh", "-c"), ("/bin/sh", "-c")) and len(argv[2]) > SHOWN_SCRIPT:
        argv = (*argv[:2], argv[2].strip()[:SHOWN_SCRIPT] + " ...", *argv[3:])
    return one_line(shlex.join(argv), limit=300)
