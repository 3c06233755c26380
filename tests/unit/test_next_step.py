"""What a command that went well says comes next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.cli.next_step import next_step
from replctl.model.errors import ExitCode
from replctl.model.inventory import AppHost, SshSettings
from replctl.model.outcome import Outcome, OutcomeKind, StepOutcome, StepResult
from tests.unit.builders import a_cluster

THREE = a_cluster().primary("db1").replica("db2").replica("db3").build()[0]
ONE = a_cluster().primary("db1").build()[0]
READ = "have the application read app.env again, then: replctl status"


def ended(command: str, *done: str, kind: OutcomeKind = OutcomeKind.DONE, unchanged: tuple[str, ...] = ()) -> Outcome:
    steps = [StepResult(one, None, "", StepOutcome.DONE) for one in done]
    steps += [StepResult(one, None, "", StepOutcome.UNCHANGED) for one in unchanged]
    return Outcome(command, "chat", kind, ExitCode.DONE, steps=tuple(steps))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (ended("init-primary", "initdb:db1", "env"), "replctl add-replica --all"),
        (ended("init-primary", "reload:db1", unchanged=("env",)), "replctl status"),
        (ended("add-replica", "clone:db2", "env"), READ),
        (ended("promote", "promote:db2", "env", unchanged=("env-2",)), READ),
        (ended("restart", "restart:db2"), "replctl status"),
        (ended("remove-replica", "stop:db3", "env"), READ),
        (ended("rotate-password", "password:db1"), "replctl status"),
        (ended("rotate-password", "password:db1", "env"), READ),
        (ended("config apply", "write-config:db1", "reload:db1"), "replctl config diff"),
        (ended("env", "env"), READ),
        (ended("promote", kind=OutcomeKind.UNCHANGED), None),
        (ended("promote", "stop:db1", kind=OutcomeKind.UNDONE), None),
        (replace(ended("promote", "promote:db2"), next="Do this."), None),
    ],
)
def test_after_each_command(outcome: Outcome, words: str | None) -> None:
    assert next_step(outcome, THREE) == words


def test_a_cluster_of_one_node_has_no_replicas_to_add() -> None:
    assert next_step(ended("init-primary", "initdb:db1"), ONE) == "replctl status"


def test_an_env_file_that_was_published_is_reloaded_already() -> None:
    host = AppHost("web1", SshSettings(user="deploy"), "/srv/.env")
    inventory = replace(THREE, app=replace(THREE.app, publish=(host,)))
    assert next_step(ended("promote", "promote:db2", "env"), inventory) == "replctl status"
