"""remove-replica: what goes and what is kept, of every kind of node, and when it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import ConfigureStandby, CreateSlot, Place, PublishEnv, StartPostgres, WritePassfile
from replctl.model.errors import ExitCode
from replctl.model.facts import FenceDebt, ProblemKind
from replctl.model.host import DataDirectory, DirectoryState
from replctl.model.plan import Plan, Refused
from replctl.planning.remove_replica import Directory, plan_remove_replica
from tests.unit.builders import DATA_DIR, ClusterBuilder, a_cluster, a_slot, a_walsender
from tests.unit.plans import DB1, DB2, DB3, codes, compare_with_golden, notes_of, steps


def three() -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2").replica("db3").as_made_by_us()


def two() -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2")


def plan(built: ClusterBuilder, name=DB3, directory: Directory = Directory.SET_ASIDE, **facts):
    return plan_remove_replica(built.situation(**facts), name, directory)


def by_id(planned) -> dict:
    assert isinstance(planned, Plan), planned
    return {step.id: step for step in planned.steps}


def removed(built: ClusterBuilder) -> ClusterBuilder:
    """db3 as it is once nothing of the cluster knows it any more."""
    return built.env("db1", "db2")


def test_a_running_replica() -> None:
    compare_with_golden("remove-replica", plan(three()))


def test_its_data_stays_where_it_is() -> None:
    compare_with_golden("remove-replica-keep-data", plan(three(), directory=Directory.KEPT))


def test_the_env_file_comes_first_and_what_is_moved_aside_last() -> None:
    found = by_id(plan(three()))
    assert next(iter(found)) == "env"
    assert found["env"].action == PublishEnv(DB1, (DB2,))
    assert found["stop:db3"].undo == StartPostgres()
    assert (found["drop-slot:db1"].node, found["drop-slot:db1"].undo) == (DB1, CreateSlot("replctl_db3"))
    assert found["passfile:db3"].undo == WritePassfile()
    assert [step.id for step in found.values() if step.point_of_no_return] == ["aside:db3"]
    assert list(found)[-1] == "aside:db3"


def test_its_slot_goes_from_every_running_node() -> None:
    built = three().slots("db2", a_slot("replctl_db3", active=False))
    found = by_id(plan(built))
    assert (found["drop-slot:db1"].node, found["drop-slot:db2"].node) == (DB1, DB2)


def test_the_operator_is_told_what_is_kept_and_what_brings_it_back() -> None:
    notes = notes_of(plan(three()))
    assert f"the data directory of db3 is kept as {DATA_DIR}.replctl-aside-<UTC>" in notes
    assert notes[-1].startswith("take db3 out of the inventory")


def test_a_stopped_replica() -> None:
    found = steps(plan(two().stopped("db3", standby=True).idle_slot("db3", "db1")))
    assert found == ["drop-slot:db1", "passfile:db3", "aside:db3"]


def test_a_stopped_primary_that_keeps_its_data_becomes_a_standby() -> None:
    found = by_id(plan(removed(two().stopped("db3")), directory=Directory.KEPT))
    assert list(found) == ["demote:db3"]
    assert found["demote:db3"].action == ConfigureStandby(Place.LIVE, DB1, "replctl_db3")


@pytest.mark.parametrize(
    "built",
    [
        removed(two().absent("db3")),
        removed(two().absent("db3", DirectoryState.OTHER, content=["notes.txt"])),
        removed(two().unreachable("db3")),
        removed(two().foreign("db3")),
    ],
)
def test_once_it_is_removed_nothing_is_left_to_do(built: ClusterBuilder) -> None:
    assert steps(plan(built)) == []


def test_what_keeps_its_data_is_left_alone_the_second_time() -> None:
    assert steps(plan(removed(two().stopped("db3", standby=True)), directory=Directory.KEPT)) == []


def test_what_a_broken_rewind_left_is_moved_aside() -> None:
    built = removed(two().absent("db3").host("db3", broken_rewind=True))
    assert steps(plan(built)) == ["aside:db3"]


def test_another_cluster_is_not_touched() -> None:
    planned = plan(two().foreign("db3").idle_slot("db3", "db1").env("db1", "db2", "db3"))
    assert steps(planned) == ["env", "drop-slot:db1"]
    assert "db3 holds another cluster, which stays as it is" in notes_of(planned)


@pytest.mark.parametrize("built", [two().unreachable("db3"), two().replica("db3").without_ssh("db3")])
def test_of_an_unreachable_node_the_slot_and_the_env_file(built: ClusterBuilder) -> None:
    built = built.slots("db1", a_slot("replctl_db3")) if "db3" not in built.links else built
    planned = plan(built.env("db1", "db2", "db3"))
    assert steps(planned) == ["env", "drop-slot:db1"]
    assert isinstance(planned, Plan)
    (later,) = planned.unfinished
    assert "`replctl remove-replica db3`" in later
    kept = plan(built, directory=Directory.KEPT)
    assert isinstance(kept, Plan)
    assert "`replctl remove-replica db3 --keep-data`" in kept.unfinished[0]
    assert any("db3 cannot be reached" in note for note in planned.notes)


def test_what_is_left_to_do_is_told_again_when_nothing_else_is() -> None:
    planned = plan(removed(two().unreachable("db3")))
    assert any("`replctl remove-replica db3`" in note for note in notes_of(planned))


DEBT = FenceDebt(DB3, DB1, "2026-01-01T00:00:00Z")


def test_a_note_of_fencing_is_settled_once_the_node_is_harmless() -> None:
    built = removed(two().stopped("db3"))
    assert steps(plan(built, debts=(DEBT,)))[-1] == "settle:db3"
    assert "settle:db3" not in steps(plan(removed(two().unreachable("db3")), debts=(DEBT,)))


# Refusals.


def test_the_primary_is_not_removed() -> None:
    planned = plan(three(), DB1)
    assert codes(planned) == [("is-primary", DB1)]
    assert isinstance(planned, Refused)
    assert "`replctl promote db2`" in planned.refusals[0].hint


def test_the_primary_is_needed() -> None:
    planned = plan(a_cluster().unreachable("db1").replica("db3", of="10.0.0.1:5432"))
    assert codes(planned) == [(ProblemKind.TIMEOUT, DB1)]
    assert isinstance(planned, Refused)
    assert planned.exit_code is ExitCode.UNREACHABLE
    assert codes(plan(a_cluster().primary("db1").primary("db2").replica("db3", of="db1"))) == [("two-primaries", None)]


def test_a_node_that_others_follow() -> None:
    built = a_cluster().primary("db1").replica("db3").replica("db2", of="db3")
    assert codes(plan(built)) == [("has-followers", DB3)]


def test_a_node_that_others_follow_unseen() -> None:
    """A standby out of sight would be cut off: the node itself says that it serves one."""
    built = a_cluster().primary("db1").replica("db3").unreachable("db2").walsenders("db3", a_walsender("db2"))
    assert codes(plan(built)) == [("has-followers", DB3)]


def test_a_node_that_nobody_can_judge() -> None:
    assert codes(plan(two().silent("db3", ProblemKind.SQL_AUTH))) == [(ProblemKind.SQL_AUTH, DB3)]


def test_a_slot_that_another_standby_uses() -> None:
    theirs = a_slot("replctl_db3", active=True)
    built = two().absent("db3").slots("db1", theirs)
    assert codes(plan(built.walsenders("db1", a_walsender("warehouse", slot="replctl_db3")))) == [("slot-in-use", DB3)]
    orphan = two().absent("db3").slots("db1", theirs).walsenders("db1", a_walsender("db3-clone", slot="replctl_db3"))
    assert "drop-slot:db1" in steps(plan(orphan))


def test_the_last_synchronous_standby() -> None:
    last = a_cluster().primary("db1").replica("db2").replica("db3", walsender={"sync_state": "sync"})
    assert codes(plan(last)) == [("last-synchronous", DB3)]
    one_of_two = (
        a_cluster()
        .primary("db1")
        .replica("db2", walsender={"sync_state": "potential"})
        .replica("db3", walsender={"sync_state": "sync"})
    )
    assert "stop:db3" in steps(plan(one_of_two))


@pytest.mark.parametrize("place", [{"is_mount_point": True}, {"is_symlink": True}, {"can_create": False}])
def test_a_directory_that_cannot_be_renamed_can_stay(place: dict[str, bool]) -> None:
    directory = replace(DataDirectory(DATA_DIR, DirectoryState.CLUSTER), **place)
    built = three().host("db3", directory=directory)
    planned = plan(built)
    assert codes(planned) == [("data-dir", DB3)]
    assert isinstance(planned, Refused)
    assert "--keep-data" in planned.refusals[0].hint
    assert "stop:db3" in steps(plan(built, directory=Directory.KEPT))
