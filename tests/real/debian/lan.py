"""The bridge with its Debian hosts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.real.debian.disk import install_host
from tests.real.debian.host import DebianHost
from tests.real.debian.image import base_image
from tests.real.debian.layout import DEBIAN, Layout
from tests.real.debian.mounts import Mounts
from tests.real.hosts import Lan
from tests.real.hosts.disk import make_key
from tests.real.hosts.lan import FIRST_ADDRESS


class DebianLan(Lan):
    """Debian hosts by name, running from ``with`` on; afterwards nothing of them is left.

    A host has no cluster until ``make_cluster()`` makes one.
    """

    def __init__(self, names: Sequence[str] = ("db1", "db2", "db3"), layout: Layout = DEBIAN) -> None:
        super().__init__(names)
        self.layout = layout
        self._mounts: Mounts | None = None

    def wipe(self) -> None:
        """Back to hosts as if newly installed: on, plugged in, and nothing on their disks that was not there then."""
        self.power_off()
        for host in self.hosts:
            self._mounts.renew(host.name)
        self.boot()

    renew = wipe

    def keep(self) -> None:
        """Shut down in good order, have ``restore`` bring back the disks as they are then, and boot.

        Once after ``with`` or ``wipe``.
        """
        for host in self.hosts:
            host.shutdown()
            self._mounts.keep(host.name)
        self.boot()

    def restore(self) -> None:
        """Back to what was kept: on, plugged in, and nothing on their disks that was not there then."""
        self.power_off()
        for host in self.hosts:
            self._mounts.restore(host.name)
        self.boot()

    def close(self) -> None:
        """End everything of this Lan; may be called again."""
        super().close()
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None

    def _make_hosts(self) -> Iterator[DebianHost]:
        self._mounts = mounts = Mounts(self.claim, base_image())
        key = make_key(self.identity_file)
        addresses = {name: self.network.address(FIRST_ADDRESS + place) for place, name in enumerate(self.names)}
        for name, address in addresses.items():
            mounts.install(name)
            install_host(mounts.disk(name), name, addresses, key, self.layout)
            mounts.renew(name)
            yield DebianHost(name, address, mounts.disk(name), self.network, layout=self.layout, mounts=mounts)
