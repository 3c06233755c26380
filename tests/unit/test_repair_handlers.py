"""What failover and rejoin look at before they go on, on hosts and servers whose answers are said beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from replctl.execution.context import Changed, Context, Effect, Stopwatch, Unchanged
from replctl.execution.handlers.registry import carry_out
from replctl.execution.notes import read_debts
from replctl.model.actions import Action, DetachStandby, FencePrimary, NoteFenceDebt, ProveFurthest
from replctl.model.errors import CommandFailedError, RefusedError, ReplctlError, WaitTimeoutError
from replctl.model.plan import Step
from replctl.model.repair_actions import CheckRewind, InstallRewound, KeepDivergedWal, Promise, RecoverAlone, Rewind
from replctl.model.values import Lsn, Timeline, WalRange
from replctl.postgres import stopping
from replctl.remote.ports import CommandResult
from tests.unit.builders import DATA_DIR, IDENTITY, a_cluster
from tests.unit.plans import DB1, DB2, DB3
from tests.unit.runs import Interrupts, Ticking, Told, a_session

RANGE = WalRange(Timeline(8), Lsn.parse("4/20000000"))
OWN_WAL = (RANGE,)
FAILING = CommandResult(1, b"", b"pg_rewind: error: it does not work\n")
RECEIVES, NOTHING = [{"one": 1}], []


def says(text: str) -> CommandResult:
    return CommandResult(0, text.encode(), b"")


@dataclass
class Host:
    """One node: commands and queries are answered in their order, the last answer again and again."""

    said: list[CommandResult] = field(default_factory=list)
    rows: list[list[Mapping[str, object]]] = field(default_factory=list)
    ran: list[Sequence[str]] = field(default_factory=list)
    executed: int = 0

    @property
    def runner(self) -> Host:
        return self

    def shielded(self) -> Host:
        return self

    def run(self, argv: Sequence[str], *, timeout: float, check: bool = True) -> CommandResult:
        del timeout, check
        self.ran.append(argv)
        return self.said.pop(0)

    def session(self, *, timeout: float) -> AbstractContextManager[Host]:
        del timeout
        return nullcontext(self)

    def fetch(self, query: object) -> list[Mapping[str, object]]:
        if query == "select pg_reload_conf()":
            return []
        return self.rows.pop(0) if len(self.rows) > 1 else self.rows[0]

    def execute(self, query: object) -> None:
        del query
        self.executed += 1

    def close(self) -> None: ...


def does(action: Action, db1: Host, *others: Host, folder: Path = Path("/srv"), **facts: object) -> Effect:
    """What the action comes to on db1, beside db2 and the primary db3."""
    built = a_cluster().stopped("db1", "in production").stopped("db2", standby=True).primary("db3", timeline=9)
    inventory, found = built.build()
    inventory = replace(inventory, path=folder / "inventory.yaml")
    fleet = dict(zip((DB1, DB2, DB3), (db1, *others), strict=False))
    session = replace(a_session(inventory, Told(), Interrupts(), Ticking()), fleet=fleet)
    return carry_out(Context(session, replace(found, **facts), Step("step", DB1, action, "why"), Stopwatch()), action)


# Failover.


def test_a_primary_that_was_not_stopped_is_not_fenced() -> None:
    with pytest.raises(ReplctlError, match="db1: could not be fenced"):
        does(FencePrimary(), Host([CommandResult(3, b"", b"")]))
    assert does(FencePrimary(), Host([says("stopped\n")])) == Unchanged("it is stopped already")
    assert does(FencePrimary(), Host([says("")])) == Changed()


@pytest.mark.parametrize("conninfo", ["host=10.0.0.9", ""])
def test_a_standby_is_detached_once_it_receives_no_more(conninfo: str) -> None:
    """An emptied primary_conninfo alone ends no walreceiver: the server may not have read it."""
    at_first = [[{"conninfo": conninfo}]] if conninfo else [[{"conninfo": ""}], RECEIVES]
    host = Host(rows=[*at_first, RECEIVES, RECEIVES, NOTHING])
    assert does(DetachStandby(), host) == Changed()
    assert (host.executed, host.rows) == (1, [NOTHING])


def test_one_that_would_connect_again_is_not_detached() -> None:
    """It receives nothing at the moment."""
    host = Host(rows=[[{"conninfo": "host=10.0.0.9"}], NOTHING])
    assert does(DetachStandby(), host) == Changed()
    assert host.executed == 1
    assert does(DetachStandby(), Host(rows=[[{"conninfo": ""}], NOTHING])) == Unchanged("it receives from nobody")


def test_a_standby_that_goes_on_receiving() -> None:
    with pytest.raises(WaitTimeoutError, match="db1: still receives WAL"):
        does(DetachStandby(), Host(rows=[[{"conninfo": "host=10.0.0.9"}], RECEIVES]))


def at(timeline: int, received: str | None) -> Host:
    return Host(rows=[[{"timeline": timeline, "received": received}]])


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        ((8, "4/9000000"), (8, "4/10000000")),
        ((8, "4/20000000"), (9, "4/10000000")),
        ((8, None), (8, "0/1")),
    ],
)
def test_who_has_received_less_is_not_the_furthest(own: tuple[int, str], theirs: tuple[int, str]) -> None:
    with pytest.raises(RefusedError) as caught:
        does(ProveFurthest((DB2, DB3)), at(*own), at(1, "0/0"), at(*theirs))
    assert (caught.value.code, caught.value.node) == ("data-loss", DB3)
    does(ProveFurthest((DB2, DB3)), at(*theirs), at(1, "0/0"), at(*own))
    does(ProveFurthest((DB2,)), at(*own), at(*own))


def test_a_debt_that_cannot_be_noted_stops_the_failover(tmp_path: Path) -> None:
    action = NoteFenceDebt(DB2, DB1)
    (tmp_path / ".replctl").write_text("a file in its place")
    with pytest.raises(RefusedError, match="a note cannot be written"):
        does(action, Host(), folder=tmp_path)
    (tmp_path / ".replctl").unlink()
    with pytest.raises(RefusedError, match="system identifier is not known"):
        does(action, Host(), folder=tmp_path, system_identifier=None)
    assert does(action, Host(), folder=tmp_path) == Changed("db2 is owed")
    assert [debt.node for debt in read_debts(tmp_path / ".replctl", IDENTITY)] == [DB2]


# Rejoin.


def control(state: str) -> CommandResult:
    """pg_controldata's answer."""
    rows = {
        "pg_control version number": "1300",
        "Database system identifier": IDENTITY,
        "Database cluster state": state,
        "Latest checkpoint location": "4/20000028",
        "Latest checkpoint's TimeLineID": "8",
        "Minimum recovery ending location": "0/0",
        "Min recovery ending loc's timeline": "0",
        "wal_log_hints setting": "on",
        "Data page checksum version": "1",
    }
    return says("".join(f"{name}:  {value}\n" for name, value in rows.items()))


def tail(commits: int = 0, last: str = "4/20000100", problem: str | None = None) -> CommandResult:
    return says(f"commits {commits}\nlast {last} 42\n" + (f"problem {problem}\n" if problem else ""))


def replayed(position: str | None) -> list[Mapping[str, object]]:
    return [{"replayed": position}]


def stop_of(host: Host) -> bool:
    """Whether the server was stopped last."""
    return host.ran[-1] == stopping.stop(DATA_DIR, seconds=60)


@pytest.mark.parametrize("state", ["shut down", "shut down in recovery"])
def test_what_was_stopped_cleanly_is_not_started(state: str) -> None:
    assert isinstance(does(RecoverAlone(), Host([control(state)])), Unchanged)


def test_a_crashed_server_is_stopped_again_once_it_has_replayed_its_last_record() -> None:
    rows = [replayed(None), replayed("4/200000FF"), replayed("4/20000100"), replayed("4/20000101")]
    host = Host([control("in production"), tail(), says(""), says("")], rows)
    assert does(RecoverAlone(), host) == Changed("replayed up to 4/20000100")
    assert host.rows == [replayed("4/20000101")]
    assert stop_of(host)


def test_blocks_ahead_of_the_replay_would_be_unknown_to_pg_rewind() -> None:
    """Replay that stops where the last record begins has nothing of it."""
    host = Host([control("in production"), tail(), says(""), says("")], [replayed("4/20000100")])
    with pytest.raises(ReplctlError, match="has not replayed its own WAL up to 4/20000100"):
        does(RecoverAlone(), host)
    assert stop_of(host)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([says("")], "pg_control cannot be read"),
        ([control("in production"), says("commits 0\nproblem WAL segment 3 is gone\n")], "WAL segment 3 is gone"),
        ([control("in production"), tail(), CommandResult(4, b"FATAL: no\n", b"")], "does not replay its own WAL"),
    ],
)
def test_a_crashed_server_that_cannot_replay(said: list[CommandResult], why: str) -> None:
    with pytest.raises(ReplctlError, match=why):
        does(RecoverAlone(), Host(said))


@pytest.mark.parametrize("meanwhile", [tail(commits=1), tail(problem="WAL segment 3 is gone")])
def test_wal_that_has_commits_by_now_is_not_given_up(meanwhile: CommandResult) -> None:
    with pytest.raises(RefusedError, match="has taken"):
        does(KeepDivergedWal(OWN_WAL, Promise.NO_COMMIT), Host([meanwhile, says("/kept\n")]))


def test_wal_is_kept_as_it_was_promised() -> None:
    assert does(KeepDivergedWal(OWN_WAL, Promise.NO_COMMIT), Host([tail(), says("/kept\n")])) == Changed(
        "kept in /kept"
    )
    assert does(KeepDivergedWal(OWN_WAL, Promise.GIVEN_UP), Host([says("/kept\n")])) == Changed("kept in /kept")


@pytest.mark.parametrize(
    "said", [FAILING, says("no rewind required\n"), CommandResult(0, b"", b"pg_rewind: no rewind required\n")]
)
def test_a_rewind_that_pg_rewind_does_not_want(said: CommandResult) -> None:
    """On 15 it takes an old checkpoint of the source for the same timeline."""
    with pytest.raises(ReplctlError, match=r"db1: (cannot be rewound|pg_rewind sees nothing)"):
        does(CheckRewind(DB3), Host([said]))
    assert does(CheckRewind(DB3), Host([says("Done!\n")])) == Unchanged("pg_rewind can")


def test_a_rewind_that_did_not_end_well() -> None:
    with pytest.raises(CommandFailedError, match="was not rewound: it does not work"):
        does(Rewind(DB3, OWN_WAL), Host([says("/kept\n"), FAILING]))
    host = Host([says("/kept\n"), says("")])
    assert does(Rewind(DB3, OWN_WAL), host) == Changed()
    assert ["/kept/own" in argv for argv in host.ran] == [False, True], "its own WAL is kept first"


def test_only_a_finished_rewind_goes_back_into_its_place() -> None:
    with pytest.raises(CommandFailedError, match="has no finished rewind to put back"):
        does(InstallRewound(), Host([FAILING]))
    assert does(InstallRewound(), Host([says("")])) == Changed()
