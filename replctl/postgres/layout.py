"""Where a node keeps its configuration, and what starts its server."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from replctl.model.host import DebianCluster, HostFacts, Unit
from replctl.model.inventory import Node, ServiceManager
from replctl.postgres.paths import start_log
from replctl.postgres.settings import RUN_DIRECTORY

ENABLED = ("enabled", "enabled-runtime", "static", "generated", "linked")
"""What systemctl says of units that come up with the host, or with another unit (systemctl(1), is-enabled)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between packagings of PostgreSQL."""

    service: ServiceManager
    data_dir: str
    config_dir: str
    """Of postgresql.conf, pg_hba.conf and pg_ident.conf. postgresql.auto.conf is always in the data directory."""
    debian: DebianCluster | None = None
    """postgresql-common's view of this very data directory, or what it will be."""
    unit: str | None = None
    """The systemd unit that starts the server, without ``.service``."""

    @property
    def is_split(self) -> bool:
        """The configuration is outside of the data directory."""
        return self.config_dir != self.data_dir

    autostart: bool | None = None
    """Whether the service starts the server with the host; None without a service."""

    @property
    def config_file(self) -> str:
        return f"{self.config_dir}/postgresql.conf"

    @property
    def start_log(self) -> str:
        """What the server says before its own logging begins."""
        if self.debian is not None and self.service is not ServiceManager.PG_CTL:
            return f"/var/log/postgresql/postgresql-{self.debian.version}-{self.debian.name}.log"
        return start_log(self.data_dir)

    @property
    def places(self) -> dict[str, str]:
        """The settings that name the files of a split layout. The unit of postgresql-common waits for the pid file."""
        if not self.is_split:
            return {}
        named = {
            "data_directory": self.data_dir,
            "hba_file": f"{self.config_dir}/pg_hba.conf",
            "ident_file": f"{self.config_dir}/pg_ident.conf",
        }
        if self.debian is None:
            return named
        return named | {"external_pid_file": f"{RUN_DIRECTORY}/{self.debian.version}-{self.debian.name}.pid"}

    @property
    def server_options(self) -> str:
        """Options for ``pg_ctl -o``."""
        return f"-c config_file={shlex.quote(self.config_file)}" if self.is_split else ""


def layout_of(node: Node, host: HostFacts) -> Layout:
    """How the node's server is laid out, or will be: postgresql-common's way where it is to start the server."""
    settings = node.postgres
    known = next((one for one in host.debian_clusters if one.data_dir == settings.data_dir), None)
    config_dir = str(PurePosixPath(host.config_file).parent) if host.config_file else None
    theirs = known is not None or (settings.service is not ServiceManager.PG_CTL and host.has_pg_ctlcluster)
    debian = known or (_to_be(settings.data_dir, settings.port) if theirs else None)
    if config_dir is None:
        config_dir = debian.config_dir if debian is not None and settings.service is not ServiceManager.PG_CTL else None
    return Layout(
        service=settings.service,
        data_dir=settings.data_dir,
        config_dir=config_dir or settings.data_dir,
        debian=debian,
        unit=host.unit.name if host.unit is not None else settings.unit,
        autostart=_autostart(settings.service, known, host.unit),
    )


def _autostart(service: ServiceManager, debian: DebianCluster | None, unit: Unit | None) -> bool | None:
    if service is ServiceManager.PG_CTL:
        return None
    if debian is not None:
        return debian.start == "auto"
    return unit is not None and unit.enabled in ENABLED


def _to_be(data_dir: str, port: int) -> DebianCluster:
    """postgresql-common finds VERSION and NAME in the path."""
    path = PurePosixPath(data_dir)
    return DebianCluster(path.parent.name, path.name, port, data_dir, "auto")


def kept_down(host: HostFacts) -> HostFacts:
    """The host once no service starts the server with it any more."""
    return replace(
        host,
        debian_clusters=tuple(replace(one, start="manual") for one in host.debian_clusters),
        unit=replace(host.unit, enabled="disabled") if host.unit is not None else None,
    )
