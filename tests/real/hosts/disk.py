"""The disk of a host: one folder that mirrors what the host has for itself, the rest is the machine's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.real.hosts.servers import server_mounts

DEPLOY = "deploy"
"""An ordinary OS user of every host who may become postgres by sudo without a password."""

LOGINS = ("postgres", "root", DEPLOY)
OWN_FOLDERS = ("etc", "var/lib/postgresql", "var/log", "home", "root", "tmp")
"""/etc as a whole: a file of the machine's that is renamed over, as useradd does with /etc/passwd, would silently lose
what is mounted on it in every namespace."""
OWN_ETC = ("etc/ssh", "etc/sudoers.d", "etc/postgresql")
"""Folders of /etc that begin empty."""
NEW_ETC = "etc.new"
"""/etc as it was laid out, beside what the tests made of it."""
DEPLOY_ID = 40000
SSHD_PID_FILE = "/run/sshd/listener.pid"

SSHD_CONFIG = f"""\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile /etc/ssh/authorized_keys/%u
PidFile {SSHD_PID_FILE}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
# Debian locks the account of postgres; without PAM sshd refuses locked accounts whatever their key.
UsePAM yes
UseDNS no
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""


def make_disk(root: Path, names: Mapping[str, str], authorized_key: str) -> None:
    """Lay out a new host's disk. ``names`` are the addresses of all hosts by name."""
    root.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "/etc", root / "etc"], check=True)  # keeps owners, unlike shutil
    for folder in OWN_ETC:
        remove_tree(root / folder)
    for folder in (*OWN_FOLDERS, *OWN_ETC):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    _write_accounts(root)
    (root / "etc/hosts").write_text(
        "127.0.0.1 localhost\n::1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in names.items())
    )
    _write_sudoers(root / "etc/sudoers.d" / DEPLOY)
    _write_ssh(root / "etc/ssh", authorized_key)
    (root / "var/log/postgresql").mkdir()
    empty_disk(root)
    _write_fstab(root)
    subprocess.run(["cp", "-a", root / "etc", root / NEW_ETC], check=True)


def renew_disk(root: Path) -> None:
    """As after ``make_disk``, with the same keys."""
    remove_tree(root / "etc")
    subprocess.run(["cp", "-a", root / NEW_ETC, root / "etc"], check=True)
    empty_disk(root)


def empty_disk(root: Path) -> None:
    """Take away what PostgreSQL and the test left; keys and accounts stay."""
    (root / "var/log/sshd.log").unlink(missing_ok=True)
    for folder in ("var/lib/postgresql", "var/log/postgresql", "tmp", "home", "root", "etc/postgresql"):
        for entry in (root / folder).iterdir():
            remove_tree(entry)
    home = root / "home" / DEPLOY
    home.mkdir()
    shutil.chown(home, DEPLOY_ID, DEPLOY_ID)
    for folder in ("var/lib/postgresql", "var/log/postgresql", "etc/postgresql"):
        shutil.chown(root / folder, "postgres", "postgres")


def remove_tree(path: Path) -> None:
    """Delete a file, a symlink or a whole directory; what is already gone is well."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def host_key(root: Path) -> str:
    """The public host key, as known_hosts has it after the address."""
    return " ".join((root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])


def make_key(path: Path) -> str:
    """A new key pair at ``path``; returns the public key's line."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "replctl-test", "-f", path], check=True)
    return path.with_name(path.name + ".pub").read_text()


def _write_accounts(root: Path) -> None:
    extra = {
        "passwd": f"{DEPLOY}:x:{DEPLOY_ID}:{DEPLOY_ID}::/home/{DEPLOY}:/bin/sh\n",
        "group": f"{DEPLOY}:x:{DEPLOY_ID}:\n",
        "shadow": f"{DEPLOY}:*:19000:0:99999:7:::\n",
        "gshadow": f"{DEPLOY}:*::\n",
    }
    for name, line in extra.items():
        with (root / "etc" / name).open("a") as file:
            file.write(line)


def _write_sudoers(path: Path) -> None:
    path.write_text(f"{DEPLOY} ALL=(postgres) NOPASSWD: ALL\n")
    path.chmod(0o440)


def _write_ssh(folder: Path, authorized_key: str) -> None:
    make_key(folder / "ssh_host_ed25519_key")
    (folder / "sshd_config").write_text(SSHD_CONFIG)
    (folder / "authorized_keys").mkdir()
    for login in LOGINS:
        (folder / "authorized_keys" / login).write_text(authorized_key)


def _write_fstab(root: Path) -> None:
    """/run and /dev/shm are empty after every boot. /home, /root and /tmp come last: the test run's own
    environment, with the servers in it, may lie below one of them."""
    lines = [f"{_escape(source)} {_escape(target)} none bind,ro" for source, target in server_mounts(root)]
    lines += [f"{_escape(root / folder)} /{folder} none rbind" for folder in ("opt", "usr/lib/postgresql")]
    lines += ["host-run /run tmpfs mode=755", "host-shm /dev/shm tmpfs mode=1777"]
    lines += [f"{_escape(root / path)} /{path} none bind" for path in OWN_FOLDERS]
    (root / "fstab").write_text("".join(f"{line} 0 0\n" for line in lines))


def _escape(path: Path) -> str:
    return str(path).replace("\\", "\\134").replace(" ", "\\040")
