"""The bridge with its hosts."""

from __future__ import annotations

import atexit
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tests.real.hosts.claims import claim_network
from tests.real.hosts.disk import empty_disk, host_key, make_disk, make_key, renew_disk
from tests.real.hosts.host import Host
from tests.real.hosts.network import Network
from tests.real.hosts.servers import require_servers

FIRST_ADDRESS = 11


class Lan:
    """Hosts by name, running from ``with`` on; afterwards nothing of them is left.

    Entering raises MissingServerError when this machine lacks a server or a program.
    """

    def __init__(self, names: Sequence[str] = ("db1", "db2", "db3")) -> None:
        self.names = tuple(names)
        self.hosts: tuple[Host, ...] = ()

    def __enter__(self) -> Lan:
        require_servers()
        with ExitStack() as undo:
            self.claim = claim_network()
            undo.callback(self.close)
            atexit.register(self.close)
            self.network = Network(self.claim)
            self.network.create()
            self.hosts = tuple(self._make_hosts())
            self.boot()
            undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[self.names.index(name)]

    def __iter__(self) -> Iterator[Host]:
        return iter(self.hosts)

    @property
    def identity_file(self) -> Path:
        """The private key that every login of every host accepts."""
        return self.claim.folder / "identity"

    @property
    def known_hosts(self) -> str:
        """The text of a known_hosts file with the key of every host."""
        return "".join(f"{host.address} {host_key(host.disk)}\n" for host in self.hosts)

    def boot(self) -> None:
        """Switch on whatever is off, all at once."""
        booting = [host for host in self.hosts if not host.powered]
        for host in booting:
            host.start_boot()
        for host in booting:
            host.await_boot()

    def wipe(self) -> None:
        """Back to hosts as if newly installed: on, plugged in, sshd running, and nothing of PostgreSQL."""
        self.power_off()
        for host in self.hosts:
            empty_disk(host.disk)
        self.boot()

    def renew(self) -> None:
        """``wipe``, and /etc is new too; the keys stay."""
        self.power_off()
        for host in self.hosts:
            renew_disk(host.disk)
        self.boot()

    def power_off(self) -> None:
        for host in self.hosts:
            if host.powered:
                host.power_cut()

    def close(self) -> None:
        """End everything of this Lan; may be called again."""
        atexit.unregister(self.close)
        hosts, self.hosts = self.hosts, ()
        with ExitStack() as rest:
            rest.callback(self.claim.release)
            for host in hosts:
                if host.powered:
                    rest.callback(host.power_cut)

    def _make_hosts(self) -> Iterator[Host]:
        key = make_key(self.identity_file)
        addresses = {name: self.network.address(FIRST_ADDRESS + place) for place, name in enumerate(self.names)}
        for name, address in addresses.items():
            disk = self.claim.folder / name
            make_disk(disk, addresses, key)
            yield Host(name, address, disk, self.network)
