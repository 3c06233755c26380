"""add-replica: clones, joins and what is left alone; the source, the batches and the env file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import BaseBackup, ConfigureStandby, CreateSlot, DropSlot, PublishEnv
from replctl.model.facts import Login, ProblemKind
from replctl.model.plan import OnFailure, Plan
from replctl.model.transfer import Transfer
from replctl.planning.add_replica import plan_add_replica
from tests.unit.builders import ClusterBuilder, a_cluster, a_problem, a_walsender, mib, settings
from tests.unit.configurations import Seen, situation_of
from tests.unit.plans import DB1, DB2, DB3, compare_with_golden, lanes, notes_of, steps

CLONE = ["login", "slot", "passfile", "clone", "config", "standby", "install", "start", "streaming"]


def cluster() -> ClusterBuilder:
    return a_cluster().primary("db1").absent("db2").absent("db3").as_made_by_us()


def plan(built: ClusterBuilder, *names, source=None, **facts):
    return plan_add_replica(built.situation(**facts), names or (DB2,), source)


def clone(name: str) -> list[str]:
    return [f"{step}:{name}" for step in CLONE]


def test_two_replicas() -> None:
    compare_with_golden("add-replica-two", plan(cluster(), DB2, DB3))


def test_more_clones_than_free_walsenders() -> None:
    built = a_cluster().primary("db1", settings=settings(max_wal_senders="6"))
    for number in range(2, 6):
        built.absent(f"db{number}")
    built.as_made_by_us().walsenders("db1", a_walsender("barman"))
    compare_with_golden("add-replica-batches", plan(built, *(list(built.facts)[1:])))


def test_each_batch_leaves_a_walsender_less_to_the_next() -> None:
    built = a_cluster().primary("db1", settings=settings(max_wal_senders="6"))
    for number in range(2, 6):
        built.absent(f"db{number}")
    planned = plan(built.as_made_by_us(), *(list(built.facts)[1:]))
    assert [len(stage) for stage in lanes(planned)] == [3, 1, 1]
    joined = a_cluster().primary("db1", settings=settings(max_wal_senders="6")).stopped("db2", standby=True)
    joined.absent("db3").absent("db4").absent("db5").as_made_by_us()
    assert [len(stage) for stage in lanes(plan(joined, *(list(joined.facts)[1:])))] == [1, 2, 1, 1]


def test_clones_run_beside_each_other_and_independently() -> None:
    planned = plan(cluster(), DB2, DB3)
    assert lanes(planned) == [[clone("db2"), clone("db3")], [["env"]]]
    assert isinstance(planned, Plan)
    assert planned.stages[0].on_failure is OnFailure.GO_ON


def test_the_slot_and_the_copy() -> None:
    planned = plan(cluster())
    assert isinstance(planned, Plan)
    by_id = {step.id: step for step in planned.steps}
    slot = by_id["slot:db2"]
    assert (slot.node, slot.action, slot.undo) == (DB1, CreateSlot("replctl_db2"), DropSlot("replctl_db2"))
    assert by_id["clone:db2"].action == BaseBackup(DB1, "replctl_db2")
    assert [step.id for step in planned.steps if step.point_of_no_return] == ["install:db2"]


def test_a_copy_of_a_replica_streams_from_the_primary() -> None:
    built = a_cluster().primary("db1").replica("db2").absent("db3").as_made_by_us()
    planned = plan(built, DB3, source=DB2)
    assert isinstance(planned, Plan)
    by_id = {step.id: step for step in planned.steps}
    assert by_id["clone:db3"].action == BaseBackup(DB2, None)
    assert by_id["standby:db3"].action == ConfigureStandby("staging", DB1, "replctl_db3")
    assert steps(plan(built, DB3, source=DB1)) == steps(planned)


def test_pg_hba_conf_comes_first_on_the_primary_and_its_replicas() -> None:
    built = a_cluster().primary("db1").replica("db2").as_made_by_us().absent("db3")
    built.host("db1", files={"pg_hba.conf": "# without db3\n"}).host("db2", files={"pg_hba.conf": "# too\n"})
    built.rendered = ()
    assert lanes(plan(built, DB3)) == [
        [["write-config:db1", "reload:db1"]],
        [["write-config:db2", "reload:db2"]],
        [clone("db3")],
        [["env"]],
    ]


def test_a_streaming_replica_is_left_alone() -> None:
    built = a_cluster().primary("db1").replica("db2", setting={"primary_slot_name": "replctl_db2"}).as_made_by_us()
    assert steps(plan(built)) == []
    assert steps(plan(built.env("db1"))) == ["env"]


def test_a_stopped_replica_is_started() -> None:
    built = a_cluster().primary("db1").stopped("db2", "shut down in recovery", standby=True).as_made_by_us()
    planned = plan(built)
    assert steps(planned) == ["slot:db2", "standby:db2", "start:db2", "streaming:db2", "env"]
    assert isinstance(planned, Plan)
    assert [step.id for step in planned.steps if step.point_of_no_return] == ["start:db2"]


@pytest.mark.parametrize(
    ("wanted", "in_force", "in_files", "written"),
    [
        ("200", "200", "200", True),
        ("200", "100", "200", True),
        ("200", "100", "100", False),
        ("50", "100", "50", False),
    ],
    ids=["raised", "raised in the files", "not raised yet", "lowered and not in force yet"],
)
def test_a_stopped_replica_gets_what_its_primary_has_more_of(wanted, in_force, in_files, written) -> None:
    """With less it would stop replaying. What is below the primary's is left to the command that orders both."""
    built = a_cluster().primary("db1").stopped("db2", "shut down in recovery", standby=True).as_made_by_us()
    primary = Seen(f"max_connections = {in_files}\n", {"max_connections": in_force})
    away = Seen("max_connections = 100\n" if wanted == "200" else "max_connections = 50\n")
    situation = situation_of(built, {"max_connections": wanted}, db1=primary, db2=away)
    planned = plan_add_replica(situation, [DB2])
    assert ("write-config:db2" in steps(planned)) is written


def test_a_stopped_replica_whose_slot_is_there() -> None:
    built = a_cluster().primary("db1").stopped("db2", "in archive recovery", standby=True).as_made_by_us()
    assert "slot:db2" not in steps(plan(built.idle_slot("db2", on="db1")))


def test_a_slot_that_lost_its_wal_is_made_anew() -> None:
    built = a_cluster().primary("db1").stopped("db2", "shut down in recovery", standby=True).as_made_by_us()
    assert "slot:db2" in steps(plan(built.idle_slot("db2", on="db1", wal_status="lost")))
    slot = {"wal_status": "lost", "active": False}
    own = {"primary_slot_name": "replctl_db2"}
    running = a_cluster().primary("db1").replica("db2", receiver=None, slot=slot, setting=own).as_made_by_us()
    assert steps(plan(running)) == ["slot:db2", "streaming:db2", "env"]


def test_a_stopped_replica_without_a_passfile() -> None:
    built = a_cluster().primary("db1").stopped("db2", "shut down in recovery", standby=True)
    assert steps(plan(built))[-5:] == ["passfile:db2", "standby:db2", "start:db2", "streaming:db2", "env"]


def test_a_replica_that_follows_another_node_is_pointed_to_the_primary() -> None:
    built = (
        a_cluster()
        .primary("db1")
        .replica("db3", setting={"primary_slot_name": "replctl_db3"})
        .replica("db2", of="db3", setting={"primary_slot_name": "replctl_db2"})
        .as_made_by_us()
    )
    assert steps(plan(built)) == ["slot:db2", "repoint:db2", "streaming:db2", "env"]


def test_a_replica_that_only_has_to_come_back() -> None:
    built = a_cluster().primary("db1").replica("db2", receiver=None, setting={"primary_slot_name": "replctl_db2"})
    assert steps(plan(built.as_made_by_us())) == ["streaming:db2", "env"]


def test_a_running_replica_without_a_passfile_gets_one() -> None:
    built = a_cluster().primary("db1").replica("db2", receiver=None, setting={"primary_slot_name": "replctl_db2"})
    assert [step for step in steps(plan(built)) if "passfile" in step] == ["passfile:db2"]


def test_a_replica_without_our_slot_name_is_given_it() -> None:
    built = a_cluster().primary("db1").replica("db2", receiver=None).as_made_by_us()
    assert steps(plan(built)) == ["repoint:db2", "streaming:db2", "env"]


def test_others_that_cannot_be_reached_are_noted() -> None:
    assert notes_of(plan(cluster().unreachable("db3")))[0].startswith("db3 cannot be reached")


def test_a_login_that_sshd_does_not_let_us_try_is_noted() -> None:
    login = Login(DB2, DB1, a_problem(ProblemKind.FORWARDING, "forwarding is forbidden"))
    planned = plan(cluster(), logins=(login,))
    assert steps(planned) == [*clone("db2"), "env"]
    assert "db2: the login at db1 could not be tried beforehand: forwarding is forbidden" in notes_of(planned)


@pytest.mark.parametrize(
    ("free", "limit", "words"), [(mib(500), "1024", "up to 1 GiB"), (mib(500), "-1", "any amount")]
)
def test_little_room_for_the_wal_of_a_copy_is_noted(free: int, limit: str, words: str) -> None:
    built = cluster()
    primary = built.facts[DB1]
    built.change("db1", server=replace(primary.server, settings=settings(max_slot_wal_keep_size=limit)))
    assert list(notes_of(plan(built))) == []
    built.host("db1", directory=replace(primary.host.directory, free_bytes=free))
    (note,) = [note for note in notes_of(plan(built)) if "max_slot_wal_keep_size" in note]
    assert note.startswith("db1 has 500 MiB free")
    assert words in note


def test_a_listed_sibling_that_only_reconnects_stays_listed() -> None:
    """Whoever writes the file asks once more; one that nobody listed is none of this run's business."""
    built = a_cluster().primary("db1").absent("db2").replica("db3", receiver=None).as_made_by_us()
    (listed,) = [step.action for step in plan(built.env("db1", "db3")).steps if step.id == "env"]
    assert listed == PublishEnv(DB1, (DB2, DB3))
    (unlisted,) = [step.action for step in plan(built.env("db1")).steps if step.id == "env"]
    assert unlisted == PublishEnv(DB1, (DB2,))


def test_how_the_copy_is_sent() -> None:
    sent = Transfer("50M", "server-lz4")
    planned = plan_add_replica(cluster().situation(), [DB2, DB3], None, sent)
    assert isinstance(planned, Plan)
    copies = [step.action for step in planned.steps if isinstance(step.action, BaseBackup)]
    assert copies == [BaseBackup(DB1, "replctl_db2", sent), BaseBackup(DB1, "replctl_db3", sent)]
