"""rotate-password: the primary first, then whoever has to know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import RestorePassword, RoleKind, SetPassword
from replctl.model.facts import Primary, ProblemKind, Replica
from replctl.model.plan import OnFailure, Plan, Refused
from replctl.planning.rotate_password import plan_rotate_password
from tests.unit.builders import ClusterBuilder, a_cluster, settings
from tests.unit.plans import DB1, codes, compare_with_golden, lanes, notes_of, steps

USERS = {RoleKind.ADMIN: "postgres", RoleKind.REPLICATION: "replicator", RoleKind.APP: "chat"}
EVERYWHERE = ("db1", "db2", "db3")


def cluster() -> ClusterBuilder:
    return a_cluster().primary("db1").replica("db2").replica("db3")


def made(built: ClusterBuilder) -> ClusterBuilder:
    """As replctl leaves it, on the replicas too: what the primary has is replayed there."""
    built.as_made_by_us()
    known = next(facts.server.roles for facts in built.facts.values() if isinstance(facts, Primary))
    for name, facts in built.facts.items():
        if isinstance(facts, Replica):
            built.change(name, server=replace(facts.server, roles=known))
    return built


def renewed(built: ClusterBuilder, kind: RoleKind, *names: str) -> ClusterBuilder:
    """The inventory has a password that these servers, their passfiles and the env file do not know."""
    for name in names:
        server = built.facts[name].server
        roles = tuple(replace(r, password_matches=r.name != USERS[kind]) for r in server.roles)
        built.change(name, server=replace(server, roles=roles))
    return built


def stale_passfiles(planned_for: ClusterBuilder, *names: str):
    """The situation with passfiles that hold an older password."""
    found = planned_for.situation()
    nodes = dict(found.facts.nodes)
    for name in names:
        nodes[name] = replace(nodes[name], host=replace(nodes[name].host, passfile_current=False))
    return replace(found, facts=replace(found.facts, nodes=nodes))


def plan(built: ClusterBuilder, kind: RoleKind) -> Plan | Refused:
    return plan_rotate_password(built.situation(), kind)


def test_replication() -> None:
    situation = stale_passfiles(renewed(made(cluster()), RoleKind.REPLICATION, *EVERYWHERE), *EVERYWHERE)
    planned = plan_rotate_password(situation, RoleKind.REPLICATION)
    compare_with_golden("rotate-replication", planned)
    assert [stage.on_failure for stage in planned.stages] == [OnFailure.STOP, OnFailure.GO_ON]


def test_app() -> None:
    built = renewed(made(cluster()), RoleKind.APP, *EVERYWHERE).env("db1", "db2", "db3", current=False)
    compare_with_golden("rotate-app", plan(built, RoleKind.APP))


def test_admin() -> None:
    compare_with_golden("rotate-admin", plan(renewed(made(cluster()), RoleKind.ADMIN, *EVERYWHERE), RoleKind.ADMIN))


@pytest.mark.parametrize("kind", list(RoleKind))
def test_nothing_to_do(kind: RoleKind) -> None:
    planned = plan(made(cluster()), kind)
    assert steps(planned) == []
    assert notes_of(planned) == ()


@pytest.mark.parametrize("kind", list(RoleKind))
def test_the_change_is_taken_back(kind: RoleKind) -> None:
    planned = plan(renewed(made(cluster()), kind, *EVERYWHERE), kind)
    assert isinstance(planned, Plan)
    first = next(iter(planned.steps))
    assert (first.node, first.action, first.undo) == (DB1, SetPassword(kind), RestorePassword(kind))
    assert not any(step.point_of_no_return for step in planned.steps)


def test_replication_goes_on_where_it_was_interrupted() -> None:
    planned = plan_rotate_password(stale_passfiles(made(cluster()), "db3"), RoleKind.REPLICATION)
    assert lanes(planned) == [[["passfile:db3", "login:db3", "streaming:db3"]]]


def test_app_goes_on_where_it_was_interrupted() -> None:
    built = renewed(made(cluster()), RoleKind.APP, "db2").env("db1", "db2", "db3", current=False)
    assert lanes(plan(built, RoleKind.APP)) == [[["known:db2"]], [["env"]]]


def test_admin_goes_on_where_it_was_interrupted() -> None:
    assert lanes(plan(renewed(made(cluster()), RoleKind.ADMIN, "db3"), RoleKind.ADMIN)) == [[["known:db3"]]]


def test_who_is_away_has_an_old_passfile() -> None:
    built = made(a_cluster().primary("db1").replica("db2").unreachable("db3"))
    planned = plan(built, RoleKind.REPLICATION)
    assert isinstance(planned, Plan)
    assert planned.unfinished == ("When db3 can be reached again: `replctl rotate-password replication`.",)
    for kind in (RoleKind.APP, RoleKind.ADMIN):
        assert plan(built, kind).unfinished == ()


def test_a_stopped_node_gets_its_passfile_and_tries_the_login() -> None:
    built = made(a_cluster().primary("db1").stopped("db2", standby=True))
    planned = plan_rotate_password(stale_passfiles(built, "db2"), RoleKind.REPLICATION)
    assert lanes(planned) == [[["passfile:db2", "login:db2"]]]


def test_a_standby_that_lost_its_link_is_woken() -> None:
    built = made(a_cluster().primary("db1").replica("db2", receiver=None))
    planned = plan_rotate_password(stale_passfiles(built, "db2"), RoleKind.REPLICATION)
    assert lanes(planned) == [[["passfile:db2", "login:db2", "wake:db2", "streaming:db2"]]]


def test_who_has_no_directory_or_another_cluster_gets_nothing() -> None:
    built = made(a_cluster().primary("db1").absent("db2").foreign("db3"))
    planned = plan_rotate_password(stale_passfiles(built, "db1"), RoleKind.REPLICATION)
    assert steps(planned) == ["passfile:db1"]
    assert planned.unfinished == ()


def test_a_delayed_standby_is_not_waited_for() -> None:
    built = made(cluster())
    late = replace(built.facts["db2"].server, settings=settings(recovery_min_apply_delay="60000"))
    built = renewed(built.change("db2", server=late), RoleKind.ADMIN, *EVERYWHERE)
    assert steps(plan(built, RoleKind.ADMIN)) == ["password:db1", "known:db1", "known:db3"]


@pytest.mark.parametrize(
    ("built", "kind", "expected"),
    [
        (a_cluster().primary("db1"), RoleKind.APP, [("no-role", "db1")]),
        (made(a_cluster().primary("db1").replica("db2", paused="paused")), RoleKind.APP, [("paused", "db2")]),
        (a_cluster().unreachable("db1").replica("db2"), RoleKind.ADMIN, [("timeout", "db1")]),
        (a_cluster().primary("db1").without_ssh("db1"), RoleKind.ADMIN, [("timeout", "db1")]),
        (a_cluster().silent("db1", ProblemKind.SQL_AUTH), RoleKind.APP, [("sql-authentication", "db1")]),
    ],
)
def test_refused(built: ClusterBuilder, kind: RoleKind, expected) -> None:
    assert codes(plan(built, kind)) == expected


def test_the_admins_old_password_is_a_way_in() -> None:
    built = a_cluster().silent("db1", ProblemKind.SQL_AUTH)
    assert "--old-password-file" in plan(built, RoleKind.ADMIN).refusals[0].hint
    assert "--old-password-file" not in plan(built, RoleKind.APP).refusals[0].hint
