"""A cluster on Debian hosts that stands for all tests of a module, and is made anew only after one that failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real.clusters import assert_cluster, build, rows, status, wait_until
from tests.real.debian.host import DebianHost
from tests.real.debian.lan import DebianLan
from tests.real.debian.layout import DEBIAN
from tests.real.disasters import command
from tests.real.hosts import DEPLOY, QUICK, Operator

NODES = ("db1", "db2", "db3")
APP = "app1"
"""A host beside the cluster."""
USERS = {"systemd": DEPLOY, "pg_ctlcluster": "postgres", "pg_ctl": DEPLOY}
EACH_SERVICE = ("systemd", pytest.param("pg_ctlcluster", marks=pytest.mark.slow))
"""The main job runs under both each time (test_services.py)."""
"""Who logs in by SSH, by the service that the inventory names."""
SECONDS = 120.0
"""For what a host does by itself, on a busy machine."""


@dataclass(eq=False)
class StandingDebian:
    """The hosts, and whoever operates the cluster on them since it was made."""

    lan: DebianLan
    folder: Path
    operator: Operator | None = None

    def operate(self, service: str) -> Operator:
        """The cluster is healthy, and the inventory names the service. What started the servers is another matter:
        of a cluster that was made just now it is systemd."""
        if self.operator is None or not _is_healthy(self.operator):
            self.close()
            self.operator = self._build()
        write_inventory(self.operator, service)
        return self.operator

    def _build(self) -> Operator:
        self.lan.wipe()
        work = self.folder / f"operator{len(list(self.folder.iterdir()))}"
        work.mkdir(mode=0o700)
        operator = Operator.at(self.lan, work)
        write_inventory(operator, "systemd")
        build(operator)
        return operator

    def close(self) -> None:
        if self.operator is not None:
            self.operator.close()
            self.operator = None


def _is_healthy(operator: Operator) -> bool:
    return all(host.powered for host in operator.lan) and status(operator)["health"] == "healthy"


def write_inventory(
    operator: Operator,
    service: str,
    nodes: tuple[str, ...] = NODES,
    extra: Mapping[str, Any] | None = None,
    data_dir: str = DEBIAN.data_dir,
    **parameters: Any,
) -> None:
    """``parameters`` are PostgreSQL's, beside the ones that make it quick."""
    postgres = {"service": service, "data_dir": data_dir}
    operator.write_inventory(
        ssh_user=USERS[service],
        nodes=nodes,
        parameters={**QUICK, **parameters},
        extra={"postgres": postgres, **(extra or {})},
    )


def roles(operator: Operator) -> tuple[str, str, str]:
    """The primary, and its replicas in the inventory's order: tests leave the roles where they like. The env file knows
    them, since the cluster was found healthy."""
    url = operator.read_env()["DB_PRIMARY_URL"]
    primary = next(name for name in NODES if f"@{operator.lan[name].address}:" in url)
    first, second = (name for name in NODES if name != primary)
    return primary, first, second


def assert_members(operator: Operator, primary: str) -> None:
    """``assert_cluster`` of all three nodes."""
    assert_cluster(operator, primary, [name for name in NODES if name != primary])


def await_members(operator: Operator, primary: str) -> None:
    """Servers and links come back by themselves."""
    replicas = set(NODES) - {primary}
    wait_until(lambda: streaming(operator) == replicas, SECONDS)
    assert_members(operator, primary)


def streaming(operator: Operator) -> set[str]:
    return {name for name, row in rows(operator).items() if row["state"] == "streaming"}


def findings(operator: Operator, code: str) -> set[str]:
    """The nodes of which ``status`` says this."""
    return {one["node"] for one in status(operator)["findings"] if one["code"] == code}


def stop_by_hand(host: DebianHost) -> None:
    """Whoever has started the server, its unit counts as failed now if it was the unit's."""
    host.run(["pg_ctlcluster", "--skip-systemctl-redirect", "15", "main", "stop", "-m", "fast"])
    # The unit has to see it, and runs its own stop command then: that would stop a server that is started meanwhile.
    wait_until(lambda: host.unit_state() in ("failed", "inactive"), SECONDS)


def start_by_hand(host: DebianHost) -> None:
    """By PostgreSQL's own program, as anybody may do it on a Debian host: it belongs to no unit."""
    log = "/var/log/postgresql/by-hand.log"
    host.run([f"{DEBIAN.bin_dir}/pg_ctl", "start", "-w", "-s", "-D", DEBIAN.config_dir, "-l", log])


def answers(host: DebianHost) -> bool:
    """The server takes connections."""
    argv = [f"{DEBIAN.bin_dir}/pg_isready", "-q", "-h", "/run/postgresql"]
    return host.run(argv, check=False).returncode == 0


def in_unit(host: DebianHost, data_dir: str | None = None) -> bool:
    """The server is the unit's: it ends in good order with the host."""
    pid = host.path(f"{data_dir or host.layout.data_dir}/postmaster.pid").read_text().splitlines()[0]
    return f"/{host.layout.unit}" in host.read(f"/proc/{pid}/cgroup")


def assert_in_units(operator: Operator, service: str) -> None:
    """What systemd is to start runs in its unit, and systemd knows."""
    if service == "systemd":
        hosts = [operator.lan[name] for name in NODES]
        assert [host.name for host in hosts if not in_unit(host)] == []
        # A unit that the boot has started is ready a little later than its server.
        wait_until(lambda: {host.unit_state() for host in hosts} == {"active"}, SECONDS)


def done(operator: Operator, *args: str) -> dict[str, Any]:
    """The document of a command that had something to do."""
    document = command(operator, *args)
    assert document["outcome"] == "done"
    return document
