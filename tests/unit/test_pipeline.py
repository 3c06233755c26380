"""Observe, plan, ask, lock, observe and plan again, execute: real shells on this machine, and no PostgreSQL."""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from os import geteuid
from pathlib import Path

import pytest

from replctl.execution import intents
from replctl.execution.drill import drill, drill_intent
from replctl.execution.journal import read_journal
from replctl.execution.lock import lock_nodes, this_holder
from replctl.execution.pipeline import Intent, change, preview
from replctl.execution.session import Phase, Session
from replctl.model.actions import RemovePassfile, WritePassfile
from replctl.model.errors import ExitCode, InterruptedByOperator, RefusedError
from replctl.model.host import DirectoryState
from replctl.model.inventory import Connection
from replctl.model.outcome import Outcome, OutcomeKind
from replctl.model.plan import Plan, Refused
from replctl.model.values import NodeName
from replctl.planning.situation import Situation, sequence, step
from replctl.postgres.conninfo import passfile_path
from replctl.postgres.paths import staging_dir, staging_marker
from replctl.remote.links import open_fleet
from replctl.remote.waiting import SystemClock
from tests.unit.builders import a_cluster
from tests.unit.plans import DB1, codes, steps
from tests.unit.runs import Interrupts, Ticking, Told, a_session

ANSWERS = {
    "postgres": "exit 1",
    "pg_ctl": "echo 'pg_ctl (PostgreSQL) 15.18'",
    "initdb": "echo 'no space' >&2; exit 1",
}


class Agreeing:
    """An operator who says yes, after whatever happens while he reads the plan."""

    def __init__(self, meanwhile=lambda: None) -> None:
        self.seen: list[Plan] = []
        self._meanwhile = meanwhile

    def __call__(self, plan: Plan) -> None:
        self.seen.append(plan)
        self._meanwhile()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """db1 on this machine, where nothing stands yet, and where initdb fails."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in ANSWERS.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "pg").mkdir()
    cluster = a_cluster(identifier=None).absent("db1")
    me = pwd.getpwuid(geteuid()).pw_name
    settings = replace(
        cluster.nodes[DB1].postgres, data_dir=str(tmp_path / "pg/data"), bin_dir=str(programs), port=1, os_user=me
    )
    cluster.node("db1", connection=Connection.LOCAL, postgres=settings)
    inventory = cluster.build()[0]
    app = replace(inventory.app, env_file=tmp_path / "app.env")
    inventory = replace(inventory, path=tmp_path / "inventory.yaml", app=app)
    bare = a_session(inventory, Told(), Interrupts(), Ticking())
    clock = SystemClock()
    fleet = open_fleet(inventory, bare.passwords, cancellation=bare.cancellation, clock=clock, warn=bare.reporter.warn)
    yield replace(bare, clock=clock, fleet=fleet)
    fleet.close()


def told(session: Session) -> Told:
    assert isinstance(session.reporter, Told)
    return session.reporter


def tree(session: Session) -> list[str]:
    """Everything below the inventory's folder but the programs."""
    folder = session.inventory.path.parent
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.relative_to(folder).parts[0] != "bin"
    )


def passfile_written(situation: Situation) -> Plan:
    """A small plan that needs no server, and depends on what stands at data_dir."""
    host = situation.host_of(DB1)
    assert host is not None
    one = step("passfile", DB1, WritePassfile(), f"the directory is {host.directory.state}", undo=RemovePassfile())
    return situation.plan("test", [sequence(one)])


PASSFILE = Intent(passfile_written)


def test_a_preview_is_the_plan_and_changes_nothing(session: Session) -> None:
    before = tree(session)
    planned = preview(session, intents.init_primary(DB1))
    assert steps(planned)[:2] == ["initdb:db1", "config:db1"]
    assert tree(session) == before


def test_what_runs_is_what_the_preview_showed(session: Session) -> None:
    agree = Agreeing()
    change(session, PASSFILE, agree)
    assert agree.seen == [preview(session, PASSFILE)]


def test_a_plan_is_carried_out_and_told_to_the_journal(session: Session) -> None:
    outcome = change(session, PASSFILE, Agreeing())
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.exit_code) == (OutcomeKind.DONE, ExitCode.DONE)
    written = Path(passfile_path(session.inventory.nodes[DB1]))
    assert written.stat().st_mode & 0o777 == 0o600
    records = read_journal(session.inventory.state_dir, "chat", None)
    assert [(record.event, record.step, record.outcome) for record in records] == [
        ("begin", None, None),
        ("step", "passfile:db1", "done"),
        ("end", None, "done"),
    ]
    assert {(record.run, record.command) for record in records} == {("run-1", "replctl test")}
    again = change(session, PASSFILE, Agreeing())
    assert isinstance(again, Outcome)
    assert again.kind is OutcomeKind.UNCHANGED


def test_what_fails_is_taken_back(session: Session) -> None:
    before = tree(session)
    outcome = change(session, intents.init_primary(DB1), Agreeing())
    assert isinstance(outcome, Outcome)
    assert (outcome.kind, outcome.exit_code) == (OutcomeKind.UNDONE, ExitCode.UNDONE)
    assert outcome.steps[0].outcome == "undone"
    node = session.inventory.nodes[DB1]
    assert not Path(staging_dir(node)).exists()
    assert not Path(staging_marker(node)).exists()
    assert set(tree(session)) - set(before) <= {".replctl", ".replctl/journal.jsonl", "pg/data.replctl-lock"}


def test_a_prompt_that_is_declined_changes_nothing(session: Session) -> None:
    def decline() -> None:
        raise RefusedError("declined", hint="Say yes.")

    before = tree(session)
    with pytest.raises(RefusedError, match="declined"):
        change(session, PASSFILE, Agreeing(decline))
    assert tree(session) == before


def test_nothing_to_do_is_not_asked_about(session: Session) -> None:
    agree = Agreeing()
    planned = change(session, Intent(lambda situation: situation.plan("test", [])), agree)
    assert steps(planned) == []
    assert agree.seen == []
    assert not session.inventory.state_dir.exists()


def test_a_refusal_is_not_asked_about(session: Session) -> None:
    (session.inventory.path.parent / "pg/data").write_text("in the way")
    agree = Agreeing()
    assert codes(change(session, intents.init_primary(DB1), agree)) == [("data-dir-not-empty", "db1")]
    assert agree.seen == []


def make_data_dir(session: Session) -> None:
    Path(session.inventory.nodes[DB1].postgres.data_dir).mkdir()


def test_a_cluster_that_moved_while_the_operator_read_is_planned_anew(session: Session) -> None:
    refused = change(session, PASSFILE, Agreeing(lambda: make_data_dir(session)))
    assert isinstance(refused, Refused)
    assert codes(refused) == [("moved", None)]
    assert told(session).started == []


def test_what_needs_nothing_any_more_is_left_alone(session: Session) -> None:
    def until_the_directory_is_there(situation: Situation) -> Plan:
        host = situation.host_of(DB1)
        assert host is not None
        absent = host.directory.state is DirectoryState.ABSENT
        return passfile_written(situation) if absent else situation.plan("test", [])

    ended = change(session, Intent(until_the_directory_is_there), Agreeing(lambda: make_data_dir(session)))
    assert steps(ended) == []
    assert told(session).started == []


def test_a_cluster_that_refuses_by_now(session: Session) -> None:
    def meanwhile() -> None:
        make_data_dir(session)
        (Path(session.inventory.nodes[DB1].postgres.data_dir) / "file").touch()

    refused = change(session, intents.init_primary(DB1), Agreeing(meanwhile))
    assert codes(refused) == [("data-dir-not-empty", "db1")]
    assert told(session).started == []


@contextmanager
def another_run(session: Session) -> Iterator[None]:
    holder = this_holder("replctl promote db2", datetime(2026, 7, 1, tzinfo=UTC))
    links = [session.fleet[DB1]]
    with lock_nodes(links, session.inventory, holder, clock=session.clock, cancellation=session.cancellation):
        yield


def test_one_operation_a_cluster(session: Session) -> None:
    with another_run(session), pytest.raises(RefusedError) as caught:
        change(session, PASSFILE, Agreeing())
    assert caught.value.code == "locked"
    assert "replctl promote db2" in caught.value.message
    assert told(session).started == []
    assert isinstance(change(session, PASSFILE, Agreeing()), Outcome)


def test_a_refusal_first_says_who_is_at_work(session: Session) -> None:
    (session.inventory.path.parent / "pg/data").write_text("in the way")
    with another_run(session):
        refused = preview(session, intents.init_primary(DB1))
    assert [code for code, _ in codes(refused)] == ["locked", "data-dir-not-empty"]


def test_an_env_file_that_may_not_be_replaced_is_found_before_anything_starts(session: Session) -> None:
    env_file = session.inventory.app.env_file
    env_file.symlink_to(env_file.parent / "elsewhere.env")
    agree = Agreeing()
    with pytest.raises(RefusedError):
        change(session, intents.init_primary(DB1), agree)
    assert agree.seen == []


def test_an_interrupt_while_looking_changes_nothing(session: Session) -> None:
    def interrupted() -> None:
        assert isinstance(session.cancellation, Interrupts)
        session.cancellation.arrived = True

    with pytest.raises(InterruptedByOperator):
        change(session, PASSFILE, Agreeing(interrupted))
    assert not Path(passfile_path(session.inventory.nodes[DB1])).exists()


def test_a_drill_of_a_cluster_that_is_not_healthy_asks_nobody(session: Session) -> None:
    agree, before = Agreeing(), tree(session)
    refused = drill(session, drill_intent(session.inventory, None), agree)
    assert {"no-primary", "absent"} <= {code for code, _ in codes(refused)}
    assert agree.seen == []
    assert tree(session) == before


class Phases:
    """What a run does beside its steps, in the order in which it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @contextmanager
    def phase(self, phase: Phase, nodes: Iterable[NodeName] = ()) -> Iterator[Phases]:
        self.told.append(" ".join((phase, *nodes)))
        yield self

    def answered(self, name: NodeName) -> None:
        self.told.append(f"{name} answered")

    def says(self, text: str) -> None:
        self.told.append(text)


def test_the_phases_are_told(session: Session) -> None:
    phases = Phases()
    change(replace(session, phases=phases), PASSFILE, Agreeing())
    looked = ["observe db1", "db1 answered", "inquire", "passfiles and units", "sizes, files and settings", "plan"]
    assert phases.told == [*looked, "lock db1", "db1 answered", *looked]


def test_a_refusal_looks_for_who_is_at_work(session: Session) -> None:
    (session.inventory.path.parent / "pg/data").write_text("in the way")
    phases = Phases()
    preview(replace(session, phases=phases), intents.init_primary(DB1))
    assert phases.told[-2:] == ["inquire", "who holds the locks"]
