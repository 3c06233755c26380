"""What starts a node: where its configuration is, what plans say to the service, and what it must be able to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replctl.model.actions import Autostart, SetAutostart
from replctl.model.host import DebianCluster, Unit
from replctl.model.inventory import ServiceManager
from replctl.model.plan import Plan, Refused
from replctl.model.values import NodeName
from replctl.planning.fencing import plan_with_fencing
from replctl.planning.promote import plan_promote
from replctl.planning.restart import plan_restart
from replctl.planning.services import check_service, starts_with_host, stays_down
from replctl.postgres.layout import kept_down, layout_of
from replctl.postgres.starting import start
from tests.unit.builders import a_cluster, a_host, a_node

DATA = "/var/lib/postgresql/15/main"
MAIN = DebianCluster("15", "main", 5432, DATA, "auto")
UNIT = Unit("postgresql-15", "active", "enabled", 7)
PG_CTL, CLUSTER, SYSTEMD = ServiceManager


def node(service: ServiceManager, data_dir: str = DATA):
    made = a_node("db1", 1)
    return replace(made, postgres=replace(made.postgres, service=service, data_dir=data_dir))


def situation(service: ServiceManager, **host: object):
    postgres = node(service).postgres
    return a_cluster().primary("db1").node("db1", postgres=postgres).host("db1", **host).situation()


def test_pg_ctl_has_its_configuration_in_the_data_directory() -> None:
    layout = layout_of(node(PG_CTL), a_host(has_pg_ctlcluster=True))
    assert (layout.config_dir, layout.is_split, layout.autostart) == (DATA, False, None)
    assert layout.places == {}


@pytest.mark.parametrize("service", [CLUSTER, SYSTEMD])
def test_postgresql_common_has_it_in_etc_before_there_is_a_cluster(service: ServiceManager) -> None:
    layout = layout_of(node(service), a_host(has_pg_ctlcluster=True))
    assert layout.config_dir == "/etc/postgresql/15/main"
    assert layout.places["data_directory"] == DATA
    assert layout.places["external_pid_file"] == "/run/postgresql/15-main.pid"
    assert layout.start_log == "/var/log/postgresql/postgresql-15-main.log"
    assert layout.autostart is False


def test_what_the_postmaster_was_told_counts() -> None:
    found = a_host(config_file="/srv/etc/postgresql.conf", debian_clusters=(MAIN,))
    layout = layout_of(node(PG_CTL), found)
    assert layout.config_dir == "/srv/etc"
    assert "-o" in start(layout, "/bin", "/run", stop_seconds=1, start_seconds=1)


def test_a_start_beside_debians_unit_waits_for_its_end() -> None:
    host = a_host(debian_clusters=(MAIN,), has_pg_ctlcluster=True, unit=UNIT)
    for service, waits in ((PG_CTL, True), (CLUSTER, True), (SYSTEMD, False)):
        command = start(layout_of(node(service), host), "/bin", "/run", stop_seconds=1, start_seconds=1)
        assert ("postgresql@15-main.service" in command) == waits
    elsewhere = start(layout_of(node(PG_CTL), a_host()), "/bin", "/run", stop_seconds=1, start_seconds=1)
    assert "postgresql@" not in "".join(elsewhere)


def test_the_rpms_have_it_in_the_data_directory() -> None:
    layout = layout_of(node(SYSTEMD, "/var/lib/pgsql/15/data"), a_host(unit=UNIT))
    assert (layout.is_split, layout.unit, layout.autostart) == (False, "postgresql-15", True)


@pytest.mark.parametrize("host", [{"debian_clusters": (MAIN,), "has_pg_ctlcluster": True}, {"unit": UNIT}])
def test_a_node_that_is_fenced_stays_down_and_a_member_comes_back(host: dict[str, object]) -> None:
    up = situation(SYSTEMD, **host)
    (down,) = stays_down(up, NodeName("db1"))
    assert (down.action, down.undo) == (SetAutostart(Autostart.OFF), SetAutostart(Autostart.ON))
    assert starts_with_host(up, NodeName("db1")) == ()
    off = situation(SYSTEMD, **{key: getattr(kept_down(a_host(**host)), key) for key in host})
    assert stays_down(off, NodeName("db1")) == ()
    (back,) = starts_with_host(off, NodeName("db1"))
    assert back.action == SetAutostart(Autostart.ON)


def test_nothing_is_said_where_no_service_starts_it() -> None:
    by_hand = situation(PG_CTL, debian_clusters=(MAIN,))
    assert (stays_down(by_hand, NodeName("db1")), starts_with_host(by_hand, NodeName("db1"))) == ((), ())


@pytest.mark.parametrize(
    ("service", "data_dir", "host", "words"),
    [
        (CLUSTER, DATA, {}, "no pg_ctlcluster"),
        (SYSTEMD, DATA, {"unit": replace(UNIT, enabled="")}, "no systemd unit postgresql-15"),
        (SYSTEMD, "/srv/pg", {"has_pg_ctlcluster": True, "unit": UNIT}, "must end in 15/NAME"),
        (SYSTEMD, DATA, {"unit": UNIT, "may_start_unit": False}, "sudo does not let"),
        (
            SYSTEMD,
            DATA,
            {"has_pg_ctlcluster": True, "unit": replace(UNIT, name="postgresql@15-old")},
            "another cluster",
        ),
    ],
)
def test_what_cannot_start_a_server(
    service: ServiceManager, data_dir: str, host: dict[str, object], words: str
) -> None:
    (refusal,) = check_service(node(service, data_dir), a_host(**host))
    assert words in refusal.message
    assert refusal.hint.endswith(".")


@pytest.mark.parametrize(
    "host",
    [
        {"unit": UNIT},
        {"unit": UNIT, "may_start_unit": True},
        {"unit": replace(UNIT, name="postgresql@15-main"), "has_pg_ctlcluster": True},
        {
            "unit": replace(UNIT, name="postgresql@15-chat"),
            "debian_clusters": (replace(MAIN, name="chat"),),
            "has_pg_ctlcluster": True,
        },
    ],
)
def test_what_can(host: dict[str, object]) -> None:
    assert check_service(node(SYSTEMD), a_host(**host)) == []
    assert check_service(node(PG_CTL), a_host()) == []


@pytest.mark.parametrize("command", ["restart", "promote"])
def test_no_server_is_stopped_that_could_not_be_started_again(command: str) -> None:
    postgres = node(SYSTEMD).postgres
    cluster = a_cluster().primary("db1").replica("db2").node("db1", postgres=postgres)
    planners = {
        "restart": lambda situation: plan_restart(situation, NodeName("db1")),
        "promote": lambda situation: plan_promote(situation, NodeName("db2")),
    }
    for may, kind in ((True, Plan), (None, Plan), (False, Refused)):
        known = cluster.host("db1", unit=UNIT, may_start_unit=may).situation()
        planned = plan_with_fencing(known, planners[command])
        assert isinstance(planned, kind)
    assert isinstance(planned, Refused)
    assert [(refusal.code, refusal.node) for refusal in planned.refusals] == [("service", "db1")]
