"""A replica leaves the cluster: what goes, what is kept, and what is left for later when it cannot be reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, assert_env, ok, rows, slots, wait_until
from tests.real.hosts import Operator
from tests.real.standing import MAIN, await_streaming, control, execute, frozen, value
from tests.real.watched import Watched

RELOAD = "select pg_reload_conf()"
REMOVE = ("remove-replica", "db3", "--yes")


def asides(operator: Operator, name: str) -> list[str]:
    """What stands beside the node's data directory, but for that itself."""
    beside = operator.lan[name].path(MAIN).parent
    return sorted(path.name for path in beside.iterdir() if path.name != "main")


def assert_unchanged(operator: Operator, *args: str) -> None:
    again = ok(operator.replctl(*args, "-o", "json")).document
    assert (again["outcome"], again["steps"]) == ("unchanged", [])


def steps(document: Mapping[str, Any]) -> list[str]:
    return [step["id"] for step in document["steps"]]


def is_removed(operator: Operator, name: str, remaining: list[str]) -> None:
    """Nothing of it runs, and nobody waits for it."""
    assert not operator.lan[name].pids("postgres: ")
    assert slots(operator, "db1") == {f"replctl_{other}" for other in remaining}
    assert_env(operator, "db1", remaining)


def test_it_leaves_and_comes_back(cluster: Operator) -> None:
    """Its directory is kept under another name; nothing else of it stays."""
    removed = ok(cluster.replctl(*REMOVE, "-o", "json")).document
    assert steps(removed) == ["env", "stop:db3", "drop-slot:db1", "passfile:db3", "aside:db3"]
    assert {step["outcome"] for step in removed["steps"]} == {"done"}
    is_removed(cluster, "db3", ["db2"])
    (aside,) = asides(cluster, "db3")
    assert re.fullmatch(r"main\.replctl-aside-\d{8}T\d{6}Z", aside)
    kept = cluster.lan["db3"].path(f"{MAIN}/..").resolve() / aside
    assert (kept / "PG_VERSION").exists()
    assert (kept / "standby.signal").exists()
    assert rows(cluster)["db3"]["state"] == "absent"
    assert_unchanged(cluster, *REMOVE)

    ok(cluster.replctl("add-replica", "db3", "--yes"))
    assert_cluster(cluster, "db1", ["db2", "db3"])
    ok(cluster.replctl(*REMOVE))
    is_removed(cluster, "db3", ["db2"])
    assert len(asides(cluster, "db3")) == 2


def test_its_data_stays_where_it_is(cluster: Operator) -> None:
    """It can be started as a standby alone, and add-replica only has to start it."""
    keep = (*REMOVE, "--keep-data")
    ok(cluster.replctl(*keep))
    is_removed(cluster, "db3", ["db2"])
    assert cluster.lan["db3"].path(f"{MAIN}/standby.signal").exists()
    assert rows(cluster)["db3"]["state"] == "stopped"
    assert_unchanged(cluster, *keep)
    added = ok(cluster.replctl("add-replica", "db3", "--yes", "-o", "json")).document
    assert "clone:db3" not in steps(added)
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_an_old_primary_whose_data_stays_is_a_standby_from_then_on(cluster: Operator) -> None:
    ok(cluster.replctl("promote", "db2", "--yes"))
    control(cluster.lan["db1"], "stop", "-m", "fast")
    signal = cluster.lan["db1"].path(f"{MAIN}/standby.signal")
    signal.unlink()
    ok(cluster.replctl("remove-replica", "db1", "--keep-data", "--yes"))
    assert signal.exists()
    assert slots(cluster, "db2") == {"replctl_db3"}
    assert_env(cluster, "db2", ["db3"])
    assert_unchanged(cluster, "remove-replica", "db1", "--keep-data", "--yes")


@pytest.mark.slow
def test_an_unreachable_node(cluster: Operator) -> None:
    """Its slot and its place in the env file go at once; what is left is told, and done by the same command later."""
    cluster.write_inventory(extra={"ssh": {"connect_timeout": 4}})
    cluster.lan["db3"].unplug()
    run = cluster.replctl(*REMOVE, "-o", "json")
    assert run.code == 6, run.out + run.err
    assert "replctl remove-replica db3" in run.document["next"]
    assert slots(cluster, "db1") == {"replctl_db2"}
    assert_env(cluster, "db1", ["db2"])
    assert_unchanged(cluster, *REMOVE)
    again = ok(cluster.replctl(*REMOVE))
    assert "replctl remove-replica db3" in again.out

    cluster.lan["db3"].plug()
    cluster.write_inventory()
    finished = ok(cluster.replctl(*REMOVE, "-o", "json")).document
    assert steps(finished) == ["stop:db3", "passfile:db3", "aside:db3"]
    is_removed(cluster, "db3", ["db2"])
    assert_unchanged(cluster, *REMOVE)


def refused(operator: Operator, node: str, *options: str) -> set[str]:
    """The codes of the reasons; nothing was changed."""
    run = operator.replctl("remove-replica", node, *options, "--yes", "-o", "json")
    assert run.code == 3, run.out + run.err
    assert all(refusal["hint"] for refusal in run.document["refusals"])
    assert slots(operator, "db1") == {"replctl_db2", "replctl_db3"}
    assert_env(operator, "db1", ["db2", "db3"])
    return {refusal["code"] for refusal in run.document["refusals"]}


def test_refusals(cluster: Operator) -> None:
    assert refused(cluster, "db1") == {"is-primary"}

    execute(cluster, "db1", "alter system set synchronous_standby_names = 'db3'", RELOAD)
    sync = "select sync_state from pg_stat_replication where application_name = 'db3'"
    wait_until(lambda: value(cluster, "db1", sync) == "sync")
    assert refused(cluster, "db3") == {"last-synchronous"}
    execute(cluster, "db1", "alter system reset synchronous_standby_names", RELOAD)
    wait_until(lambda: value(cluster, "db1", sync) == "async")

    conninfo = value(cluster, "db3", "show primary_conninfo")
    elsewhere = conninfo.replace(cluster.lan["db1"].address, cluster.lan["db2"].address).replace("'", "''")
    execute(
        cluster,
        "db3",
        "alter system set primary_slot_name = ''",
        f"alter system set primary_conninfo = '{elsewhere}'",
        RELOAD,
    )
    await_streaming(cluster, "db2", ["db3"])
    assert refused(cluster, "db2") == {"has-followers"}


def test_one_that_does_not_answer_sql(cluster: Operator) -> None:
    """Nobody can say what it is."""
    cluster.write_inventory(extra={"ssh": {"connect_timeout": 4}})
    host = cluster.lan["db3"]
    host.freeze(host.postmaster(MAIN))
    try:
        assert refused(cluster, "db3")
    finally:
        host.thaw(host.postmaster(MAIN))


def test_an_unreachable_primary(cluster: Operator) -> None:
    cluster.write_inventory(extra={"ssh": {"connect_timeout": 4}})
    cluster.lan["db1"].unplug()
    run = cluster.replctl(*REMOVE, "-o", "json")
    assert run.code == 7, run.out + run.err
    assert run.document["refusals"][0]["node"] == "db1"
    assert_env(cluster, "db1", ["db2", "db3"])


def finish(operator: Operator, name: str, remaining: list[str]) -> None:
    """The same command again, and once more."""
    ok(operator.replctl("remove-replica", name, "--yes"))
    is_removed(operator, name, remaining)
    assert not operator.lan[name].path(MAIN).exists()
    assert not operator.lan[name].path(f"{MAIN}.replctl-passfile").exists()
    assert_unchanged(operator, "remove-replica", name, "--yes")


def test_killed_in_the_stop_and_finished(cluster: Operator) -> None:
    """The env file was written, and nobody waits for the server's end."""
    pid_file = cluster.lan["db3"].path(f"{MAIN}/postmaster.pid")
    with frozen(cluster.lan["db3"], "background writer"):
        run = Watched(cluster, *REMOVE)
        wait_until(lambda: "stopping" in pid_file.read_text(), 60)
        run.kill()
    assert_env(cluster, "db1", ["db2"])
    wait_until(lambda: rows(cluster)["db3"]["state"] == "stopped", 60)
    finish(cluster, "db3", ["db2"])


def test_killed_after_the_stop_and_finished(cluster: Operator) -> None:
    """After the slot, and after the passfile."""
    for name, moment, remaining in (
        ("db3", ("db1", "drop-slot", "done"), ["db2"]),
        ("db2", ("db2", "passfile", "done"), []),
    ):
        run = Watched(cluster, "remove-replica", name, "--yes")
        run.until(*moment, seconds=60)
        run.kill()
        finish(cluster, name, remaining)
    ok(cluster.replctl("add-replica", "db2", "db3", "--yes"))
    assert_cluster(cluster, "db1", ["db2", "db3"])


def test_a_stop_that_takes_too_long(cluster: Operator) -> None:
    """Whether it still stops is unknown: its directory stays, and the same command goes on from there."""
    cluster.write_inventory(extra={"timeouts": {"stop": 2}})
    with frozen(cluster.lan["db3"], "checkpointer"):
        run = cluster.replctl(*REMOVE, "-o", "json")
        assert run.code == 6, run.out + run.err
        assert "same command" in run.document["next"]
        assert cluster.lan["db3"].path(MAIN).exists()
    wait_until(lambda: rows(cluster)["db3"]["state"] == "stopped", 60)
    finish(cluster, "db3", ["db2"])
