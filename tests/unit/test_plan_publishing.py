"""Hosts of the application: what every plan that publishes does there, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replctl.execution.context import Changed, Unchanged
from replctl.model.actions import CountAppSessions, EndAppSessions, PublishEnv, PushEnv
from replctl.model.errors import ExitCode, ReplctlError
from replctl.model.inventory import App, AppHost, SshSettings
from replctl.model.outcome import OutcomeKind
from replctl.model.plan import OnFailure, Plan
from replctl.model.secret import EnvSecret
from replctl.planning.consent import Consent
from replctl.planning.failover import plan_failover
from replctl.planning.init_primary import plan_init_primary
from replctl.planning.promote import plan_promote
from replctl.planning.publish_env import plan_env_write
from replctl.planning.remove_replica import Directory, plan_remove_replica
from replctl.planning.restart import plan_rolling_restart
from tests.unit.builders import ClusterBuilder, a_cluster
from tests.unit.plans import DB1, DB2, DB3, compare_with_golden, lanes, steps
from tests.unit.runs import Stage

ONE = AppHost("10.0.5.10", SshSettings(user="deploy"), "/srv/chat/.env", ("systemctl", "reload", "chat"))
TWO = AppHost("10.0.5.11", SshSettings(user="deploy", port=2222), "/srv/chat/.env")
PUSHES = ["push:10.0.5.10:/srv/chat/.env", "push:10.0.5.11:2222:/srv/chat/.env"]
AGAIN = [f"{push}-2" for push in PUSHES]


def published(**fields: Any) -> ClusterBuilder:
    app = App("chatdb", "chat", EnvSecret("APP_PASSWORD"), Path("/srv/chat/app.env"), publish=(ONE, TWO))
    return a_cluster(inventory={"app": app}, **fields)


def trio() -> ClusterBuilder:
    return published().primary("db1").replica("db2").replica("db3").as_made_by_us()


def test_without_such_hosts_nothing_of_it_is_planned() -> None:
    plan = plan_promote(a_cluster().primary("db1").replica("db2").as_made_by_us().situation(), DB2)
    assert not [name for name in steps(plan) if name.startswith(("push", "end-sessions", "sessions"))]


def test_env_write() -> None:
    plan = plan_env_write(trio().env("db1").situation())
    assert lanes(plan) == [[["env"]], [[push] for push in PUSHES], [["sessions"]]]
    compare_with_golden("env-write-pushed", plan)


def test_what_the_hosts_have_is_looked_at_even_where_the_env_file_is_right() -> None:
    assert steps(plan_env_write(trio().situation())) == ["env", *PUSHES, "sessions"]


def test_a_switchover_pushes_twice_the_first_time_beside_those_who_follow() -> None:
    plan = plan_promote(trio().situation(), DB2)
    compare_with_golden("promote-pushed", plan)
    assert isinstance(plan, Plan)
    takeover, gathering, ending, listing, again, counting = plan.stages
    assert [step.id for step in takeover.lanes[0]][-1] == "env"
    assert takeover.lanes[0][-1].action == PublishEnv(DB2, ())
    assert [lane[0].id for lane in gathering.lanes][-2:] == PUSHES
    assert gathering.on_failure is again.on_failure is ending.on_failure is OnFailure.GO_ON
    assert [step.action for lane in ending.lanes for step in lane] == [EndAppSessions()]
    assert ending.lanes[0][0].node == DB1
    assert [step.id for step in listing.lanes[0]] == ["env-2"]
    assert [lane[0].id for lane in again.lanes] == AGAIN
    assert [step.action for step in counting.lanes[0]] == [CountAppSessions()]


def test_a_failover_ends_no_sessions_of_a_node_that_is_away() -> None:
    built = published().unreachable("db1")
    for name in ("db2", "db3"):
        built = built.replica(name, receiver=None, of="db1")
    plan = plan_failover(built.as_made_by_us().situation(), DB2, {Consent.FENCED})
    assert "end-sessions:db1" not in steps(plan)
    assert [name for name in steps(plan) if name.startswith("push")] == [*PUSHES, *AGAIN]


def test_a_removed_replica_is_out_of_every_file_before_it_is_stopped() -> None:
    plan = plan_remove_replica(trio().situation(), DB2, Directory.KEPT)
    assert steps(plan)[:4] == ["env", *PUSHES, "stop:db2"]
    assert steps(plan)[-1] == "sessions"


def test_a_rolling_restart_pushes_no_more_often_than_its_switchover() -> None:
    pushed = [name for name in steps(plan_rolling_restart(trio().situation())) if name.startswith("push")]
    assert pushed == [*PUSHES, *AGAIN]


def test_a_primary_with_nothing_to_do_looks_after_them() -> None:
    assert steps(plan_init_primary(trio().situation(), DB1)) == ["env", *PUSHES, "sessions"]


@pytest.mark.parametrize("failing", [ONE, TWO])
def test_a_push_that_fails_takes_nothing_back_and_ends_incomplete(failing: AppHost) -> None:
    plan = plan_promote(trio().situation(), DB2)
    assert isinstance(plan, Plan)
    stage = Stage({PushEnv(failing.label): ReplctlError("no connection", hint="Then run `replctl env --write`.")})
    outcome = stage.play(plan)
    assert (outcome.kind, outcome.exit_code) == (OutcomeKind.INCOMPLETE, ExitCode.INCOMPLETE)
    assert outcome.next == "Then run `replctl env --write`."
    told = {result.id: result.outcome for result in outcome.steps}
    assert {name for name, said in told.items() if said != "done"} == {
        name for name in told if name.startswith(f"push:{failing.label}")
    }


def test_a_push_that_alone_would_have_changed_something_and_fails_is_left_to_do() -> None:
    plan = plan_env_write(trio().situation())
    assert isinstance(plan, Plan)
    deeds = {
        PublishEnv(DB1, (DB2, DB3)): Unchanged("app.env says so already"),
        PushEnv(ONE.label): Unchanged("it says so already"),
        PushEnv(TWO.label): ReplctlError("no connection", hint="Mend it. Then run `replctl env --write`."),
        CountAppSessions(): Unchanged(""),
    }
    assert Stage(deeds).play(plan).exit_code is ExitCode.INCOMPLETE
    deeds[PushEnv(TWO.label)] = Unchanged("it says so already")
    assert Stage(deeds).play(plan).kind is OutcomeKind.UNCHANGED
    deeds[PushEnv(TWO.label)] = Changed("written")
    assert Stage(deeds).play(plan).kind is OutcomeKind.DONE
