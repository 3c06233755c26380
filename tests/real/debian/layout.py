"""Where PostgreSQL is on a host, and what runs it: Debian's packages, or the RPMs of postgresql.org."""

from __future__ import annotations

from dataclasses import dataclass

UNIT_VERBS = ("start", "stop", "restart", "reload", "enable", "disable")
"""What `deploy` may have systemctl do to the unit, as root."""


@dataclass(frozen=True)
class Layout:
    """The paths of one server on a host, and its systemd unit."""

    major: int
    unit: str
    bin_dir: str
    data_dir: str
    config_dir: str
    home: str

    @property
    def sudoers(self) -> str:
        """The commands that sudo lets an ordinary user run as root: these very lines and no others."""
        return ", ".join(f"/usr/bin/systemctl {verb} {self.unit}" for verb in UNIT_VERBS)


DEBIAN = Layout(
    major=15,
    unit="postgresql@15-main.service",
    bin_dir="/usr/lib/postgresql/15/bin",
    data_dir="/var/lib/postgresql/15/main",
    config_dir="/etc/postgresql/15/main",
    home="/var/lib/postgresql",
)

RPM = Layout(
    major=16,
    unit="postgresql-16.service",
    bin_dir="/usr/pgsql-16/bin",
    data_dir="/var/lib/pgsql/16/data",
    config_dir="/var/lib/pgsql/16/data",
    home="/var/lib/pgsql",
)
