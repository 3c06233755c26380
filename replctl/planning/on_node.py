"""Commands that the operator copies and runs: what replctl does not do itself, on one node."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from replctl.model.host import HostFacts
from replctl.model.inventory import Admin, Connection, Node


def as_os_user(node: Node, argv: Sequence[str]) -> str:
    """What runs ``argv`` on the node as the user that PostgreSQL runs as."""
    user = node.postgres.os_user
    if node.ssh.user == user and node.connection is Connection.SSH:
        return on_node(node, argv)
    if node.ssh.user == "root" and node.connection is Connection.SSH:
        return on_node(node, ("runuser", "-u", user, "--", *argv))
    return on_node(node, ("sudo", "-n", "-u", user, *argv))


def as_root(node: Node, argv: Sequence[str]) -> str:
    """What runs ``argv`` on the node as root."""
    return on_node(node, argv if node.ssh.user == "root" else ("sudo", "-n", *argv))


def on_node(node: Node, argv: Sequence[str]) -> str:
    """What runs ``argv`` on the node as the user that SSH logs in as; on this machine as it is."""
    if node.connection is Connection.LOCAL:
        return shlex.join(argv)
    ssh = node.ssh
    options = [
        *(("-p", str(ssh.port)) if ssh.port not in (None, 22) else ()),
        *(("-i", str(ssh.identity_file)) if ssh.identity_file is not None else ()),
        *(("-o", f"UserKnownHostsFile={ssh.known_hosts_file}") if ssh.known_hosts_file is not None else ()),
    ]
    target = f"{ssh.user}@{node.ssh_host}" if ssh.user else node.ssh_host
    return shlex.join(["ssh", *options, target, shlex.join(argv)])


def by_psql(node: Node, host: HostFacts | None, admin: Admin, *statements: str) -> str:
    """What runs statements there as the admin role, through the server's Unix socket."""
    program = f"{host.bin_dir}/psql" if host is not None and host.bin_dir else "psql"
    postmaster = host.postmaster if host is not None else None
    sockets = ("-h", postmaster.socket_dir) if postmaster is not None and postmaster.socket_dir else ()
    orders = [part for statement in statements for part in ("-c", statement)]
    where = ("-p", str(node.postgres.port), "-U", admin.user, "-d", "postgres")
    return as_os_user(node, (program, "-X", "-q", "-A", "-t", *sockets, *where, *orders))
