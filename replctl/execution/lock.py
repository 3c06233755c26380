"""One operation a cluster at a time: a lock on every node that a changing command touches.

The lock is a lease. A process at the far end of an SSH channel holds a flock(2), and gives it up when its stdin
closes or no heartbeat came for 15 s. Each heartbeat is acknowledged: while the last acknowledged one is younger
than 10 s by a clock that also counts suspend, the far process cannot have given up. After that the lock counts
as lost for good, and nobody else has to take it over.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, cast

from replctl.model.errors import ConnectionLostError, LockLostError, RefusedError, UnreachableError, WaitTimeoutError
from replctl.model.inventory import Inventory, Node
from replctl.model.values import NodeName
from replctl.remote.fan_out import fan_out
from replctl.remote.ports import Cancellation, Clock, Process, Runner

LOOK_SECONDS = 5.0
"""For a look at who holds the locks."""

# The reasons, in the order of the script:
# - a holder gives way to nobody: flock never waits (-n). A holder that has locked and not yet written its name is
#   looked at again for a second.
# - the holder removes the file while it holds the flock. A waiter that had opened the old file then gets a flock
#   on an inode without a name, hence the comparison and the retry.
# - where other users may make files too, the path may be a symlink to any file of ours: it is not opened, and the
#   name is written to what is locked.
# - dd must not inherit the descriptor: it outlives a killed shell and would keep the lock.
# - stdin is read byte by byte (dash's read has no -t); end of file, a time-out and a broken pipe all end the loop.
_SCRIPT = r"""
path=$1 ends_after=$2 top= tries=0
dir=$(dirname -- "$path")
umask 077
IFS= read -r holder || exit 2
command -v flock >/dev/null || { echo 'the program flock (util-linux) is not installed' >&2; exit 2; }
make_parents() {
    missing= near=$dir
    until [ -d "$near" ]; do missing=$near; near=$(dirname -- "$near"); done
    [ -z "$missing" ] && return 0
    (umask 022; mkdir -p -- "$dir") && top=$missing
}
remove_parents() {
    while [ -n "$top" ] && rmdir -- "$dir" 2>/dev/null && [ "$dir" != "$top" ]; do dir=$(dirname -- "$dir"); done
}
again() {
    tries=$((tries + 1))
    [ "$tries" -le 10 ] && sleep 0.1
}
while :; do
    make_parents || exit 2
    [ ! -L "$path" ] && { [ -f "$path" ] || [ ! -e "$path" ]; } || { echo "$path is no plain file" >&2; exit 2; }
    command exec 9>>"$path" || { again && continue; exit 2; }
    if flock -n 9; then
        [ "$(stat -c %d:%i -- "$path" 2>/dev/null)" = "$(stat -Lc %d:%i /proc/self/fd/9)" ] && break
    else
        if IFS= read -r held <"$path"; then printf 'held %s\n' "$held"; exit 3; fi
        again || { echo held; exit 3; }
    fi
    exec 9>&-
done
trap 'rm -f -- "$path"; remove_parents' EXIT
trap 'exit 1' TERM INT HUP
trap '' PIPE
printf '%s\n' "$holder" >/proc/self/fd/9 || exit 2
echo locked
while [ -n "$(exec 9>&-; exec timeout --foreground "$ends_after" dd bs=1 count=1 2>/dev/null)" ]; do
    echo held || break
done
"""

# The file is opened and not made; whoever locks at this very moment finds it held for an instant, and tries again.
_LOOK = r"""
[ -f "$1" ] && [ ! -L "$1" ] && command exec 9<"$1" || exit 0
flock -n -s 9 || { IFS= read -r held <"$1"; printf 'held %s\n' "$held"; }
"""


@dataclass(frozen=True, slots=True)
class LockTimings:
    """Seconds. ``lost_after`` is well below ``ends_after``: what is under way when it passes still ends in time."""

    beat: float = 3.0
    lost_after: float = 10.0
    ends_after: float = 15.0
    answer: float = 15.0
    release: float = 5.0


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, shown to whoever meets it."""

    who: str
    where: str
    since: str
    """UTC, by the clock of the holder's machine."""
    doing: str


class LockableLink(Protocol):
    """What a lock needs of a NodeLink."""

    @property
    def name(self) -> NodeName: ...

    @property
    def runner(self) -> Runner: ...


def this_holder(doing: str, since: datetime) -> Holder:
    """The operator of this process. ``doing`` is the command line."""
    try:
        who = getpass.getuser()
    except (OSError, KeyError):  # a user id without an account, as in a container
        who = f"uid {os.getuid()}"
    return Holder(who, socket.gethostname(), since.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"), doing)


def lock_file(node: Node) -> str:
    """Where a node's lock stands: beside the data directory, so that it needs no directory of its own."""
    return f"{node.postgres.data_dir}.replctl-lock"


class _Lease:
    """The lock on one node, kept by a thread of its own so that one silent node delays no other's heartbeat."""

    def __init__(self, node: NodeName, process: Process, clock: Clock, timings: LockTimings) -> None:
        self.node = node
        self._process = process
        self._clock = clock
        self._timings = timings
        self._acknowledged = clock.now()
        self._lost: str | None = None
        self._ending = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"lock-{node}", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while self._lost is None and not self._ending.wait(self._timings.beat):
            self.beat()
        # From here on the far process ends by itself: at once, or when the missing heartbeats tell it to.
        self._process.close_stdin()

    def beat(self) -> bool:
        """One heartbeat and its acknowledgement; False once the lock is lost. At most ``lost_after`` seconds."""
        with self._turn:
            if self._lost is None:
                self._beat()
            return self._lost is None

    def _beat(self) -> None:
        sent = self._clock.now()
        try:
            self._process.write(b".")
            answer = self._process.read_line(self._timings.lost_after)
        except ConnectionLostError as error:
            self._lost = error.message
            return
        except EOFError:
            self._lost = "the process that held it has ended"
            return
        if self._silent_too_long() or answer is None:
            self._lost = self._silence()
        self._acknowledged = sent

    def _silence(self) -> str:
        return f"no heartbeat got through for more than {self._timings.lost_after:.0f} s"

    def _silent_too_long(self) -> bool:
        return self._clock.now() - self._acknowledged > self._timings.lost_after

    def raise_if_lost(self) -> None:
        if self._lost is None and self._silent_too_long():
            self._lost = self._silence()
        if self._lost is not None:
            raise LockLostError(
                f"the lock on {self.node} is lost: {self._lost}",
                node=self.node,
                hint="Another run may have begun: run `replctl status`, then the same command again.",
            )

    def ask_to_end(self) -> None:
        self._ending.set()

    def wait_until_ended(self) -> None:
        """Until the far process is gone, so that the next command can lock at once; at most ``release`` seconds."""
        self._thread.join(self._timings.release)
        if self._thread.is_alive():
            self._process.kill()
        else:
            _await_end(self._process, self._timings)


class ClusterLock:
    """The locks of one run, released together on leaving the context."""

    def __init__(self, leases: Sequence[_Lease], held: ExitStack) -> None:
        self._leases = leases
        self._held = held

    @property
    def nodes(self) -> tuple[NodeName, ...]:
        return tuple(lease.node for lease in self._leases)

    def raise_if_lost(self) -> None:
        """To be called before every changing action. Raises LockLostError once a lock can not be relied on."""
        for lease in self._leases:
            lease.raise_if_lost()

    def beat(self) -> None:
        """A heartbeat to every node now: what broke since the last one is known afterwards. Raises nothing, and ends
        with the first lock that is lost, since one is enough."""
        all(lease.beat() for lease in self._leases)

    def release(self) -> None:
        """Give every lock back; returns once the far processes are gone or do not answer. Never raises."""
        for lease in self._leases:
            lease.ask_to_end()
        self._held.close()

    def __enter__(self) -> ClusterLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def lock_nodes(
    links: Sequence[LockableLink],
    inventory: Inventory,
    holder: Holder,
    *,
    clock: Clock,
    cancellation: Cancellation,
    timings: LockTimings = LockTimings(),
    answered: Callable[[NodeName], None] = lambda _: None,
) -> ClusterLock:
    """Lock the nodes of ``links`` in the order of their names; all or none. ``answered`` is told of each.

    Raises RefusedError (code ``locked``) naming the holder when another run is there, RefusedError (code
    ``lock-failed``) when the lock's file cannot be made, UnreachableError when a node does not answer, and
    InterruptedByOperator.
    """
    request = _Request(inventory, holder, clock, cancellation, timings)
    leases: list[_Lease] = []
    with ExitStack() as held:
        for link in sorted(links, key=lambda link: link.name):
            leases.append(_acquire(link, request))
            held.callback(leases[-1].wait_until_ended)
            held.callback(leases[-1].ask_to_end)
            answered(link.name)
        return ClusterLock(leases, held.pop_all())


def lock_holders(links: Sequence[LockableLink], inventory: Inventory) -> list[RefusedError]:
    """A look at who holds the nodes of ``links`` now, as the errors that a run would get. A node that does not
    answer tells nothing."""
    by_name = {link.name: link for link in links}

    def look(name: NodeName) -> bytes:
        command = ("sh", "-c", _LOOK, "sh", lock_file(inventory.nodes[name]))
        return by_name[name].runner.run(command, timeout=LOOK_SECONDS, check=False).stdout

    answers = fan_out(sorted(by_name), look, deadline=LOOK_SECONDS)
    return [
        _held_by_another(name, answer, LockTimings())
        for name, answer in answers.items()
        if isinstance(answer, bytes) and answer.startswith(b"held")
    ]


def _await_end(process: Process, timings: LockTimings) -> None:
    try:
        process.wait(timings.release)
    except (ConnectionLostError, WaitTimeoutError):
        process.kill()


def _give_up(process: Process, timings: LockTimings) -> None:
    process.close_stdin()
    _await_end(process, timings)


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked of every node alike."""

    inventory: Inventory
    holder: Holder
    clock: Clock
    cancellation: Cancellation
    timings: LockTimings


def _acquire(link: LockableLink, request: _Request) -> _Lease:
    node = request.inventory.nodes[link.name]
    timings = request.timings
    # Deaf to interrupts: the lock has to outlive the undo that an interrupt brings about.
    process = link.runner.shielded().spawn(
        ("sh", "-c", _SCRIPT, "replctl-lock", lock_file(node), str(timings.ends_after))
    )
    with ExitStack() as failing:
        failing.callback(_give_up, process, timings)
        try:
            with suppress(ConnectionLostError):  # of one that has ended already, the answer is read all the same
                process.write(json.dumps(asdict(request.holder)).encode() + b"\n")
            answer = _first_line(process, node.name, request)
        except EOFError:
            failing.pop_all()
            raise _no_lock_file(node, process, timings) from None
        if answer != b"locked":
            raise _held_by_another(node.name, answer, timings)
        failing.pop_all()
    return _Lease(node.name, process, request.clock, timings)


def _first_line(process: Process, name: NodeName, request: _Request) -> bytes:
    deadline = request.clock.now() + request.timings.answer
    while (line := process.read_line(0.1)) is None:
        request.cancellation.raise_if_cancelled()
        if request.clock.now() >= deadline:
            raise UnreachableError(
                f"{name} did not answer within {request.timings.answer:.0f} s when it was asked for its lock",
                node=name,
                code="timeout",
                hint="Look at the load and the network of the node, then run the command again: nothing was changed.",
            )
    return line


def _no_lock_file(node: Node, process: Process, timings: LockTimings) -> RefusedError:
    said = process.wait(timings.answer).error_text.strip().splitlines()
    return RefusedError(
        f"{node.name} cannot be locked: {said[-1][:500] if said else 'the process that should hold the lock ended'}",
        node=node.name,
        code="lock-failed",
        hint=f"The OS user {node.postgres.os_user} must be able to make {lock_file(node)} and to run flock(1).",
    )


def _held_by_another(name: NodeName, answer: bytes, timings: LockTimings) -> RefusedError:
    return RefusedError(
        f"{name} is locked by {_describe(answer.removeprefix(b'held').strip())}",
        node=name,
        code="locked",
        hint="Wait until that command has ended. If its run is gone, the lock ends by itself at most "
        f"{timings.ends_after:.0f} s after it.",
    )


def _describe(text: bytes) -> str:
    try:
        found: object = json.loads(text.decode("utf-8", "replace"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return "a run that left no name"
    said = cast("dict[str, object]", found)
    who, where, since, doing = (str(said.get(key, "?"))[:200] for key in ("who", "where", "since", "doing"))
    return f"{who} on {where} since {since}, who runs: {doing}"
