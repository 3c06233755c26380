"""What makes a disk the disk of one host: its name and keys, the accounts, and the layout of PostgreSQL."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from tests.real.debian.layout import DEBIAN, Layout
from tests.real.hosts import DEPLOY
from tests.real.hosts.disk import DEPLOY_ID, LOGINS, make_key, remove_tree

RPM_UNIT = Path(__file__).with_name("postgresql-16.service")
NOTIFY = Path(__file__).with_name("postgres-notify")
PACKAGE_SERVER = "/opt/replctl-test/pgserver"
"""Where the server of PostgreSQL 16 is mounted in a host of the RPMs' layout."""

SSHD_CONFIG = """\
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys/%u
UseDNS no
"""


def install_host(disk: Path, name: str, names: Mapping[str, str], authorized_key: str, layout: Layout) -> None:
    """Make a mounted copy of the image the host ``name``. ``names`` are the addresses of all hosts by name."""
    (disk / "etc/hostname").write_text(f"{name}\n")
    (disk / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (disk / "etc/hosts").write_text(
        "127.0.0.1 localhost\n::1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in names.items())
    )
    _write_ssh(disk / "etc/ssh", authorized_key)
    (disk / "etc/default/ssh").write_text("SSHD_OPTS='-E /var/log/sshd.log'\n")
    _chroot(disk, "groupadd", "--gid", DEPLOY_ID, DEPLOY)
    _chroot(disk, "useradd", "--uid", DEPLOY_ID, "--gid", DEPLOY_ID, "--create-home", "--shell", "/bin/sh", DEPLOY)
    sudoers = disk / "etc/sudoers.d" / DEPLOY
    sudoers.write_text(f"{DEPLOY} ALL=(postgres) NOPASSWD: ALL\n{DEPLOY} ALL=(root) NOPASSWD: {layout.sudoers}\n")
    sudoers.chmod(0o440)
    if layout != DEBIAN:
        _lay_out_rpm(disk, layout)


def _write_ssh(folder: Path, authorized_key: str) -> None:
    make_key(folder / "ssh_host_ed25519_key")
    (folder / "sshd_config.d/replctl-test.conf").write_text(SSHD_CONFIG)
    (folder / "authorized_keys").mkdir()
    for login in LOGINS:
        (folder / "authorized_keys" / login).write_text(authorized_key)


def _lay_out_rpm(disk: Path, layout: Layout) -> None:
    """Nothing of Debian's PostgreSQL, and the server where the RPMs put it."""
    for pattern in (
        "etc/postgresql*",
        "usr/bin/pg_*",
        "usr/lib/postgresql",
        "usr/lib/systemd/system-generators/postgresql*",
        "usr/lib/systemd/system/*postgresql*",
        "usr/lib/tmpfiles.d/postgresql*",
        "usr/share/postgresql*",
        "var/lib/postgresql",
    ):
        for path in disk.glob(pattern):
            remove_tree(path)
    prefix = Path(layout.bin_dir).parent
    (disk / PACKAGE_SERVER.lstrip("/")).parent.mkdir(parents=True)
    (disk / str(prefix).lstrip("/")).symlink_to(f"{PACKAGE_SERVER}/pginstall")
    for name in ("psql", "pg_dump", "pg_basebackup"):
        link = disk / "usr/bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(f"{layout.bin_dir}/{name}")
    _chroot(disk, "usermod", "--home", layout.home, "postgres")
    _chroot(disk, "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "700", layout.home)
    _chroot(disk, "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "700", Path(layout.data_dir).parent)
    (disk / "usr/lib/systemd/system" / layout.unit).write_text(RPM_UNIT.read_text())
    (disk / "usr/lib/tmpfiles.d/postgresql-16.conf").write_text("d /run/postgresql 0755 postgres postgres -\n")
    notify = disk / "usr/libexec" / NOTIFY.name
    notify.parent.mkdir(exist_ok=True)
    notify.write_text(NOTIFY.read_text())
    notify.chmod(0o755)


def _chroot(disk: Path, *argv: object) -> None:
    subprocess.run(["chroot", disk, *map(str, argv)], check=True, capture_output=True)
