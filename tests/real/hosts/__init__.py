"""Several hosts on one machine, each with its own address, sshd and PostgreSQL (docs/testing.md)."""

from tests.real.hosts.host import DEPLOY, Host, HostProcess, PowerError
from tests.real.hosts.lan import Lan
from tests.real.hosts.operator import QUICK, Operator, Run
from tests.real.hosts.servers import MAJORS, MissingServerError, pg_bin, pg_install
from tests.real.hosts.terminal import Terminal

__all__ = [
    "DEPLOY",
    "MAJORS",
    "QUICK",
    "Host",
    "HostProcess",
    "Lan",
    "MissingServerError",
    "Operator",
    "PowerError",
    "Run",
    "Terminal",
    "pg_bin",
    "pg_install",
]
