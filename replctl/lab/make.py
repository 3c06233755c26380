"""Makes a lab's folder: inventory, passwords, free ports, and PostgreSQL where its OS user can reach it."""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from replctl.lab.folder import Lab, claimed_ports, storage_for, write_markers
from replctl.lab.installation import (
    Account,
    Installation,
    Unusable,
    can_be_copied,
    candidates,
    copied_bin_dir,
    copy_installation,
    examine,
    server_account,
)
from replctl.model.errors import RefusedError
from replctl.remote.local_files import write_private

FIRST_PORT = 15432
"""Below the ports that the kernel gives to outgoing connections, which could take one while a server is stopped."""
LAST_PORT = 32000

_PASSWORDS = ("admin", "replication", "app")
_PASSWORD_BYTES = 18
_HINT = (
    "Run `pip install 'replctl[lab]'`, which brings PostgreSQL, or install the system's (Debian: apt-get install"
    " postgresql), or name one by --bin-dir."
)

_INVENTORY = """\
# A lab: nodes on this machine, to try things on. `replctl lab down` removes it.
cluster: lab
postgres:
  bin_dir: {bin_dir}
  os_user: {os_user}
  # Small, and nothing of a killed server outlives its data directory.
  parameters: {{shared_buffers: 32MB, max_wal_size: 256MB, dynamic_shared_memory_type: mmap}}
admin: {{user: postgres, password: {{file: secrets/admin}}}}
replication: {{user: replicator, password: {{file: secrets/replication}}}}
app: {{database: appdb, user: app, password: {{file: secrets/app}}, env_file: app.env}}
nodes:
"""
_NODE = "  {name}: {{host: 127.0.0.1, connection: local, postgres: {{data_dir: {data_dir}, port: {port}}}}}\n"


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a new lab will run, and whether its OS user needs a copy of it."""

    account: Account
    bin_dir: Path
    copy: bool


def choose(bin_dir: Path | None) -> Chosen:
    """PostgreSQL for a lab: the named one, or the first that is usable. Raises RefusedError with every reason."""
    account, reasons = server_account(), list[str]()
    for candidate in [bin_dir.absolute()] if bin_dir else candidates():
        if bin_dir is None and not (candidate / "postgres").is_file():
            continue
        seen = examine(candidate, account)
        if isinstance(seen, Installation):
            return Chosen(account, candidate, copy=False)
        if os.geteuid() == 0 and can_be_copied(candidate):
            return Chosen(account, candidate, copy=True)
        reasons.append(f"{seen.bin_dir} {seen.reason}")
    raise RefusedError(
        f"no PostgreSQL for the lab: {'; '.join(reasons) or 'none was found'}", hint=_HINT, code="no-postgresql"
    )


def make_lab(folder: Path, nodes: int, chosen: Chosen) -> Lab:
    """Fill an empty folder; the inventory comes last and says that the lab is complete. Nothing is started.

    Raises RefusedError, and OSError of the file system.
    """
    lab_id = secrets.token_hex(6)
    storage = storage_for(lab_id)
    names = [f"db{number}" for number in range(1, nodes + 1)]
    ports = dict(zip(names, free_ports(nodes), strict=True))
    lab = Lab(folder, lab_id, storage, chosen.account.name, chosen.bin_dir, ports)
    if chosen.copy:
        lab = replace(lab, bin_dir=copied_bin_dir(chosen.bin_dir, lab.installation))
    write_markers(lab)
    if chosen.copy:
        _copy(chosen, lab)
    lab.nodes.mkdir(mode=0o700)
    os.chown(lab.nodes, chosen.account.uid, chosen.account.gid)
    lab.secrets.mkdir(mode=0o700)
    for name in _PASSWORDS:
        write_private(lab.secrets / name, secrets.token_urlsafe(_PASSWORD_BYTES) + "\n")
    write_private(lab.inventory, inventory_text(lab))
    return lab


def _copy(chosen: Chosen, lab: Lab) -> None:
    copy_installation(chosen.bin_dir, lab.installation)
    seen = examine(lab.bin_dir, chosen.account)
    if isinstance(seen, Unusable):
        raise RefusedError(
            f"{seen.bin_dir}, copied from {chosen.bin_dir}: {seen.reason}",
            hint="Look whether its file system is mounted noexec, or name another PostgreSQL by --bin-dir.",
        )


def inventory_text(lab: Lab) -> str:
    """The lab's inventory. A JSON string is a YAML string, whatever is in a path."""
    head = _INVENTORY.format(bin_dir=json.dumps(str(lab.bin_dir)), os_user=json.dumps(lab.os_user))
    return head + "".join(
        _NODE.format(name=name, data_dir=json.dumps(str(lab.nodes / name)), port=port)
        for name, port in lab.ports.items()
    )


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens at the loopback addresses, and that no other lab has. Raises RefusedError."""
    found = [port for port, _ in zip(_free_ports(), range(count), strict=False)]
    if len(found) < count:
        raise RefusedError(
            f"fewer than {count} ports between {FIRST_PORT} and {LAST_PORT} are free",
            hint="Stop what listens on them.",
        )
    return found


def _free_ports() -> Iterator[int]:
    claimed = claimed_ports()
    for port in range(FIRST_PORT, LAST_PORT):
        if port in claimed:
            continue
        if _is_free(socket.AF_INET, "127.0.0.1", port) and _is_free(socket.AF_INET6, "::1", port):
            yield port


def _is_free(family: socket.AddressFamily, address: str, port: int) -> bool:
    """A machine without IPv6 has nothing that listens there."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((address, port))
            trial.listen()
    except OSError as error:
        return family is socket.AF_INET6 and error.errno not in {errno.EADDRINUSE, errno.EACCES}
    return True


def is_empty(folder: Path) -> bool:
    """Whether nothing stands in a folder; one that is not there is empty too. Raises OSError."""
    return not folder.exists() or not any(folder.iterdir())


def make_folder(folder: Path) -> None:
    """The lab's folder, for its owner alone: passwords lie in it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
