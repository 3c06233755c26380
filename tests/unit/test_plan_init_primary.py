"""init-primary: from nothing, from a stopped primary, on today's primary; and every reason why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import ConfigFile, Place, PublishEnv, WriteConfig
from replctl.model.facts import ProblemKind, Role, Setting
from replctl.model.host import DataDirectory, DebianCluster, DirectoryState, HostFacts, Staging
from replctl.model.plan import Plan
from replctl.planning.init_primary import plan_init_primary
from tests.unit.builders import (
    DATA_DIR,
    IDENTITY,
    OTHER_IDENTITY,
    ClusterBuilder,
    a_cluster,
    a_node,
    settings,
)
from tests.unit.plans import DB1, DB2, codes, compare_with_golden, notes_of, steps

PEERS = ["role-replication:db1", "role-app:db1", "database:db1", "grant-rewind:db1"]


def fresh() -> ClusterBuilder:
    return a_cluster(identifier=None).absent("db1").absent("db2").env()


def plan(cluster: ClusterBuilder):
    return plan_init_primary(cluster.situation(), DB1)


def test_fresh() -> None:
    compare_with_golden("init-primary-fresh", plan(fresh()))


def test_an_empty_directory_is_as_good_as_none() -> None:
    assert steps(plan(fresh().absent("db1", DirectoryState.EMPTY))) == steps(plan(fresh()))


def test_other_nodes_that_cannot_be_reached_are_noted() -> None:
    (note,) = notes_of(plan(fresh().unreachable("db2")))
    assert note == "db2 cannot be reached and stays as it is: no answer within 10 s"


def test_a_primary_with_differences() -> None:
    cluster = a_cluster().primary("db1", settings=settings()).replica("db2").as_made_by_us()
    old = {"postgresql.conf": "# Rendered by replctl from the inventory\nport = 1\n", "pg_hba.conf": "# old\n"}
    situation = cluster.situation()
    primary = situation.facts.primary
    assert primary is not None
    assert primary.host is not None
    pending = {"max_connections": Setting("100", "default", pending_restart=True)}
    roles = (Role("replicator", True, False, True, False), Role("chat", True, False, False, True))
    server = replace(
        primary.server, settings={**primary.server.settings, **pending}, roles=roles, databases={}, rewind_granted=False
    )
    changed = replace(primary, server=server, host=replace(primary.host, files=old, passfile_current=False))
    facts = replace(situation.facts, nodes={**situation.facts.nodes, DB1: changed})
    compare_with_golden("init-primary-differences", plan_init_primary(replace(situation, facts=facts), DB1))


def made() -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2").as_made_by_us()


def test_on_todays_primary_there_is_nothing_to_do() -> None:
    assert steps(plan(made())) == []


def changed_server(**fields) -> ClusterBuilder:
    cluster = made()
    server = cluster.facts[DB1].server
    return cluster.change("db1", server=replace(server, **fields))


@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        (["shared_buffers"], "shared_buffers; run `replctl restart db1` when it suits"),
        (
            ["max_connections", "port"],
            "max_connections, port; run `replctl restart db1` when it suits, once its replicas have at least as much "
            "of max_connections",
        ),
    ],
)
def test_settings_that_wait_for_a_restart(waiting: list[str], words: str) -> None:
    pending = {name: Setting("1", "configuration file", pending_restart=True) for name in waiting}
    planned = plan(changed_server(settings={**settings(), **pending}))
    assert steps(planned) == []
    assert list(notes_of(planned)) == [f"db1 needs a restart before these settings take effect: {words}"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"roles": ()}, ["role-replication:db1", "role-app:db1"]),
        ({"roles": (Role("replicator", True, False, False, True), Role("chat", False, False, False, True))}, PEERS[:2]),
        ({"databases": {"chatdb": "postgres"}}, ["database:db1"]),
        ({"databases": {}}, ["database:db1"]),
        ({"rewind_granted": False}, ["grant-rewind:db1"]),
    ],
)
def test_only_what_differs_is_changed(fields, expected) -> None:
    assert steps(plan(changed_server(**fields))) == expected


def test_a_listed_replica_that_is_silent_is_asked_once_more() -> None:
    """A mended password may have brought it back until the file is written; else it is told that it is left out."""
    (env,) = plan(made().change("db2", receiver=None).env("db1", "db2")).steps
    assert env.action == PublishEnv(DB1, (DB2,))


def test_what_alter_system_overrides_is_told() -> None:
    cluster = made()
    by_hand = "port = '6000'\nwork_mem = '5MB'\n"
    files = {**cluster.facts[DB1].host.files, "postgresql.auto.conf": by_hand}
    (note,) = notes_of(plan(cluster.host("db1", files=files)))
    assert note.startswith("ALTER SYSTEM on db1 overrides the inventory: port;")


def test_a_missing_passfile_and_a_stale_env_file() -> None:
    cluster = made().env("db1")
    assert steps(plan(cluster)) == ["env"]
    situation = made().situation()
    host = replace(situation.facts.nodes[DB1].host, passfile_current=False)
    facts = replace(situation.facts, nodes=situation.facts.nodes | {DB1: replace(situation.facts.primary, host=host)})
    assert steps(plan_init_primary(replace(situation, facts=facts), DB1)) == ["passfile:db1"]


def test_the_files_that_stood_there_are_put_back_by_undo() -> None:
    cluster = made()
    situation = cluster.situation()
    host = situation.facts.nodes[DB1].host
    old = {**host.files, "pg_hba.conf": "# old\n"}
    primary = replace(situation.facts.primary, host=replace(host, files=old))
    facts = replace(situation.facts, nodes=situation.facts.nodes | {DB1: primary})
    planned = plan_init_primary(replace(situation, facts=facts), DB1)
    assert steps(planned) == ["write-config:db1", "reload:db1"]
    assert isinstance(planned, Plan)
    first = next(planned.steps)
    assert first.undo == WriteConfig(Place.LIVE, (ConfigFile("pg_hba.conf", "# old\n"),))


# A stopped primary of this cluster is started again.


def stopped() -> ClusterBuilder:
    return (
        a_cluster().stopped("db1").replica("db2", of="10.0.0.1:5432", receiver=None).as_made_by_us().env("db1", "db2")
    )


def test_a_stopped_primary_is_started_and_its_replicas_come_back() -> None:
    planned = plan(stopped())
    assert steps(planned) == ["start:db1", *PEERS, "wake:db2", "streaming:db2", "env"]
    assert isinstance(planned, Plan)
    assert next(planned.steps).point_of_no_return


def test_a_crashed_one_as_well() -> None:
    cluster = a_cluster().stopped("db1", "in production").absent("db2").as_made_by_us()
    assert steps(plan(cluster))[0] == "start:db1"


def test_replicas_that_follow_another_node_or_cannot_be_reached_by_ssh_are_not_waited_for() -> None:
    cluster = stopped().replica("db3", of="10.0.0.2:5432").replica("db4", of="10.0.0.1:5432").without_ssh("db4")
    assert [step for step in steps(plan(cluster)) if step.startswith("streaming")] == ["streaming:db2"]


def test_not_while_another_node_cannot_be_asked() -> None:
    assert codes(plan(stopped().unreachable("db3"))) == [("others-unreachable", "db3")]


@pytest.mark.parametrize("kind", ["running", "stopped"])
def test_not_after_another_node_went_on(kind: str) -> None:
    cluster = stopped()
    cluster = (
        cluster.replica("db3", timeline=9) if kind == "running" else cluster.stopped("db3", "in production", timeline=9)
    )
    assert codes(plan(cluster)) == [("later-timeline", "db3")]


def test_a_foreign_clusters_timeline_says_nothing() -> None:
    cluster = stopped().foreign("db3")
    cluster.host("db3", control=replace(cluster.facts["db3"].host.control, timeline=99))
    assert steps(plan(cluster))[0] == "start:db1"


def test_not_beside_a_postmaster_that_may_be_a_primary() -> None:
    assert codes(plan(stopped().silent("db3", ProblemKind.SQL_AUTH))) == [("sql-authentication", "db3")]
    assert codes(plan(stopped().silent("db3", ProblemKind.SQL_AUTH, standby=True))) == [("sql-authentication", "db3")]


def test_a_standby_that_is_starting_is_no_obstacle() -> None:
    cluster = stopped().silent("db3", ProblemKind.SQL_STARTING, standby=True, state="in archive recovery")
    assert steps(plan(cluster))[0] == "start:db1"


def test_a_stopped_replica_is_not_started_as_a_primary() -> None:
    cluster = a_cluster().stopped("db1", "shut down in recovery", standby=True).as_made_by_us()
    assert codes(plan(cluster)) == [("is-replica", "db1")]


# Refusals.


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (fresh().unreachable("db1"), ("timeout", "db1")),
        (fresh().unreachable("db1", ProblemKind.HOST_KEY), ("host-key", "db1")),
        (fresh().silent("db1", ProblemKind.SQL_AUTH), ("sql-authentication", "db1")),
        (fresh().foreign("db1"), ("foreign", "db1")),
        (a_cluster().primary("db2").replica("db1"), ("other-primary", "db2")),
        (a_cluster().primary("db2").absent("db1"), ("other-primary", "db2")),
        (a_cluster().unreachable("db2").replica("db1", of="10.0.0.1:5432"), ("is-replica", "db1")),
        (fresh().stopped("db2"), ("cluster-exists", "db2")),
        (fresh().silent("db2", ProblemKind.SQL_STARTING), ("cluster-exists", "db2")),
        (fresh().foreign("db2"), ("cluster-exists", "db2")),
        (fresh().replica("db2"), ("cluster-exists", "db2")),
        (fresh().unreachable("db2").env("db2"), ("others-unreachable", "db2")),
        (a_cluster().primary("db1").without_ssh("db1"), ("timeout", "db1")),
        (a_cluster().primary("db1"), ("adopt", "db1")),
        (a_cluster().stopped("db1"), ("adopt", "db1")),
    ],
)
def test_refused(cluster: ClusterBuilder, expected) -> None:
    assert codes(plan(cluster)) == [expected]


def test_a_pinned_identity_is_never_made_anew() -> None:
    cluster = fresh()
    cluster.inventory = {"system_identifier": IDENTITY}
    assert codes(plan(cluster)) == [("cluster-exists", None)]


def on_host(**changed) -> ClusterBuilder:
    return fresh().host("db1", **changed)


def directory(**changed) -> DataDirectory:
    return DataDirectory(DATA_DIR, changed.pop("state", DirectoryState.ABSENT), **changed)


def debian(version: str, name: str, port: int) -> DebianCluster:
    return DebianCluster(version, name, port, f"/srv/{version}/{name}", "auto")


@pytest.mark.parametrize(
    ("cluster", "code"),
    [
        (on_host(directory=directory(is_symlink=True)), "data-dir"),
        (on_host(directory=directory(state=DirectoryState.EMPTY, is_mount_point=True)), "data-dir"),
        (on_host(directory=directory(state=DirectoryState.OTHER, content=("lost+found",))), "data-dir-not-empty"),
        (on_host(directory=directory(state=DirectoryState.OTHER)), "data-dir-not-empty"),
        (on_host(directory=directory(can_create=False)), "data-dir-parent"),
        (on_host(staging=Staging(None)), "staging-foreign"),
        (on_host(bin_dir=None, major=None), "bin-dir"),
        (on_host(bin_dir=None, major=None, other_majors=("/usr/lib/postgresql/14/bin",)), "bin-dir"),
        (on_host(major=14), "version"),
        (on_host(major=19), "version"),
        (on_host(other_majors=("/usr/lib/postgresql/16/bin",)), "version-ambiguous"),
        (on_host(port_in_use=True), "port-in-use"),
        (on_host(port_in_use=True, debian_clusters=(debian("15", "main", 5432),)), "port-in-use"),
    ],
)
def test_hosts_that_cannot_take_a_cluster(cluster: ClusterBuilder, code: str) -> None:
    assert codes(plan(cluster)) == [(code, "db1")]


def test_the_distributions_own_cluster_on_the_port_is_named_with_the_command_that_removes_it() -> None:
    refused = plan(on_host(port_in_use=True, debian_clusters=(debian("16", "other", 5433), debian("15", "main", 5432))))
    assert "`pg_dropcluster --stop 15 main`" in refused.refusals[0].hint


def test_a_version_that_the_inventory_names_counts() -> None:
    node = a_node("db1", 1)
    wanted = replace(node.postgres, version=16)
    assert codes(plan(fresh().node("db1", postgres=wanted))) == [("version", "db1")]
    right = replace(node.postgres, version=15)
    several = fresh().node("db1", postgres=right).host("db1", other_majors=("/usr/lib/postgresql/16/bin",))
    assert steps(plan(several))[0] == "initdb:db1"


def test_every_reason_is_told_at_once() -> None:
    host: HostFacts = fresh().facts[DB1].host
    broken = replace(host, directory=directory(can_create=False), staging=Staging(None), major=14, port_in_use=True)
    cluster = fresh().change("db1", host=broken).stopped("db2")
    assert codes(plan(cluster)) == [
        ("data-dir-parent", "db1"),
        ("staging-foreign", "db1"),
        ("version", "db1"),
        ("port-in-use", "db1"),
        ("cluster-exists", "db2"),
    ]


def test_staging_of_an_earlier_run_is_no_obstacle_but_another_clusters_is() -> None:
    assert steps(plan(on_host(staging=Staging("an earlier run"))))[0] == "initdb:db1"
    known = a_cluster().absent("db1").host("db1", staging=Staging("a run", OTHER_IDENTITY)).env()
    assert codes(plan(known)) == [("staging-foreign", "db1")]


def test_the_other_node_is_told_what_it_could_do() -> None:
    refused = plan_init_primary(a_cluster().primary("db1").replica("db2").situation(), DB2)
    assert codes(refused) == [("other-primary", "db1")]
    assert "`replctl promote db2`" in refused.refusals[0].hint


def test_a_socket_folder_that_is_missing() -> None:
    stopped = a_cluster().stopped("db1").replica("db2", of="10.0.0.1:5432", receiver=None).as_made_by_us()
    files = stopped.facts[DB1].host.files | {"postgresql.auto.conf": "unix_socket_directories = '/run/postgresql'\n"}
    stopped.host("db1", files=files, can_link_socket_dir=False)
    assert codes(plan(stopped)) == [("socket-directory", "db1")]
    assert steps(plan(stopped.host("db1", can_link_socket_dir=True)))[0] == "start:db1"
