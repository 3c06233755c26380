"""Every command on Debian hosts: with ``systemd`` the servers stay in their units, with ``pg_ctlcluster`` they are
outside of them from replctl's first start on, until the host boots again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.clusters import ok, rows, wait_until
from tests.real.debian import DEBIAN, DebianHost, DebianLan
from tests.real.debian.standing import (
    APP,
    EACH_SERVICE,
    NODES,
    SECONDS,
    StandingDebian,
    assert_in_units,
    assert_members,
    done,
    in_unit,
    roles,
    write_inventory,
)
from tests.real.disasters import command
from tests.real.hosts import DEPLOY, Operator
from tests.real.ledger import Writer
from tests.real.test_config import apply, diff, everywhere, ids, same
from tests.real.test_rotate_password import renew, rotate

ENV_COPY = f"/home/{DEPLOY}/chat.env"
URL_SEEN = "/run/chat-url"
CHAT_UNIT = f"""\
[Service]
EnvironmentFile={ENV_COPY}
ExecStart=/bin/sh -c 'printenv DB_PRIMARY_URL >{URL_SEEN}; exec sleep infinity'
"""
MAY_RESTART = f"{DEPLOY} ALL=(root) NOPASSWD: /usr/bin/systemctl restart chat\n"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandingDebian]:
    with DebianLan((*NODES, APP)) as lan:
        standing = StandingDebian(lan, tmp_path_factory.mktemp("standing"))
        yield standing
        standing.close()


@pytest.fixture(scope="module", params=EACH_SERVICE)
def service(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def cluster(standing: StandingDebian, service: str) -> Operator:
    return standing.operate(service)


def test_configuration(cluster: Operator, service: str) -> None:
    """Told, reloaded, and restarted for: what is raised from the replicas on, what is lowered from the primary on."""
    primary, replica, _ = roles(cluster)
    write_inventory(cluster, service, work_mem="12MB")
    (file,) = diff(cluster)[replica]["files"]
    assert file["name"] == f"{DEBIAN.config_dir}/postgresql.conf"
    assert set(ids(apply(cluster))) == {f"{step}:{name}" for name in NODES for step in ("write-config", "reload")}
    assert everywhere(cluster, "work_mem") == ["12MB"] * 3
    for parameters, first, last in (({"max_connections": 60}, replica, primary), ({}, primary, replica)):
        write_inventory(cluster, service, **parameters)
        steps = ids(apply(cluster, "--restart", "--restart-primary"))
        assert steps.index(f"start:{first}") < steps.index(f"start:{last}")
        wanted = str(parameters.get("max_connections", 50))
        assert everywhere(cluster, "max_connections") == [wanted] * 3
        assert_in_units(cluster, service)
    assert same(cluster)
    assert_members(cluster, primary)


def test_passwords(cluster: Operator, service: str) -> None:
    """Each is a new one everywhere, and a standby that starts anew logs in with it."""
    primary, replica, _ = roles(cluster)
    for role in ("replication", "app", "admin"):
        renew(cluster, role)
        rotate(cluster, role)
    assert command(cluster, "rotate-password", "admin")["outcome"] == "unchanged"
    for name in NODES:
        for role in ("admin", "app"):
            cluster.connect(name, role).close()
    done(cluster, "restart", replica)
    assert_in_units(cluster, service)
    assert_members(cluster, primary)


def test_an_application_that_follows_the_primary(cluster: Operator, service: str) -> None:
    """The primary restarts where it is, then every node; the application's unit reads what replctl put on its host."""
    primary, replica, _ = roles(cluster)
    host = cluster.lan[APP]
    host.path("/etc/systemd/system/chat.service").write_text(CHAT_UNIT)
    host.path("/etc/sudoers.d/chat").write_text(MAY_RESTART)
    entry = {"host": host.address, "user": DEPLOY, "path": ENV_COPY, "reload": "sudo -n systemctl restart chat"}
    write_inventory(cluster, service, extra={"app": {"publish": [entry]}})
    assert cluster.replctl("env", "--check").code == 4
    done(cluster, "env", "--write")
    ok(cluster.replctl("env", "--check"))
    wait_until(lambda: url_seen(host) == cluster.read_env()["DB_PRIMARY_URL"], SECONDS)
    with Writer(cluster, f"writes_{service}") as writer:
        assert done(cluster, "restart", primary)["write_outage_ms"] > 0
        writer.wait_for_rows(5)
        done(cluster, "restart", "--rolling")
        writer.wait_for_rows(5)
    assert writer.missing(cluster, replica) == []
    assert_members(cluster, replica)
    assert_in_units(cluster, service)
    assert f"@{cluster.lan[replica].address}:" in cluster.read_env()["DB_PRIMARY_URL"]
    wait_until(lambda: url_seen(host) == cluster.read_env()["DB_PRIMARY_URL"], SECONDS)


def url_seen(host: DebianHost) -> str:
    """What the application was started with."""
    try:
        return host.read(URL_SEEN).strip()
    except FileNotFoundError:
        return ""


def test_a_database_on_its_own_is_taken_over(standing: StandingDebian, service: str, tmp_path: Path) -> None:
    """Debian's own cluster, which listens on localhost alone: one run with its restart. Under systemd its data
    directory is where an administrator wanted it: the unit goes by the cluster's name."""
    host = standing.lan[APP]
    data_dir = {"pg_ctlcluster": DEBIAN.data_dir, "systemd": "/srv/chat/data"}[service]
    host.run(["pg_dropcluster", "--stop", "15", "main"], "root", check=False)
    host.run(["install", "-d", "-o", "postgres", "-g", "postgres", Path(data_dir).parent], "root")
    host.make_cluster(data_dir)
    host.systemctl("start", DEBIAN.unit)
    operator = Operator.at(standing.lan, tmp_path)
    write_inventory(operator, service, nodes=(APP,), data_dir=data_dir)
    plan = ok(operator.replctl("init-primary", APP, "--adopt", "--restart", "--dry-run")).out
    assert "include_if_exists 'replctl.conf'" in plan
    done(operator, "init-primary", APP, "--adopt", "--restart")
    assert rows(operator)[APP]["state"] == "read-write"
    operator.connect(APP, "app").close()
    assert command(operator, "init-primary", APP, "--adopt", "--restart")["outcome"] == "unchanged"
    host.reboot()
    wait_until(lambda: rows(operator)[APP]["state"] == "read-write", SECONDS)
    assert in_unit(host, data_dir)
    operator.close()
