"""One Debian host: systemd, sshd and PostgreSQL as a distribution's packages run them."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from replctl.remote.waiting import NeverCancelled, SystemClock, Waiting
from tests.real.debian.disk import PACKAGE_SERVER
from tests.real.debian.layout import DEBIAN, RPM, Layout
from tests.real.debian.mounts import Mounts
from tests.real.hosts import Host, PowerError, pg_install
from tests.real.hosts.host import first_child

BOOT = Path(__file__).with_name("boot.sh")
BOOT_SECONDS = 180.0
SHUTDOWN_SECONDS = 180.0


@dataclass(eq=False)
class DebianHost(Host):
    """A host of a DebianLan. What ``run()`` starts belongs to no unit and no session, unlike what SSH starts."""

    layout: Layout = field(default=DEBIAN, kw_only=True)
    mounts: Mounts = field(kw_only=True, repr=False)

    def start_boot(self) -> None:
        """Boot without waiting for sshd."""
        if self._machine is not None:
            raise PowerError(f"{self.name} is on already")
        self.network.connect(self.name, self.address)
        with self.boot_log.open("ab") as log:
            self._machine = subprocess.Popen(
                [*self.mounts.enter, "sh", BOOT, *self.mounts.groups(self.name), "--", *self._nspawn()],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Debian has cgroups of version 2 alone, whatever this machine has, and /tmp on its disk.
                env={
                    "PATH": os.environ["PATH"],
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                    "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
                },
                start_new_session=True,
            )

    def await_boot(self) -> None:
        """Wait until everybody may log in. Raises PowerError with the boot log when that does not come."""
        waiting = Waiting(SystemClock(), NeverCancelled(), timeout=BOOT_SECONDS, poll=0.02)
        if waiting.until(lambda: self._boot_ended() or None) is None or not self._sshd_listens():
            raise PowerError(f"{self.name} did not boot: {self.boot_log.read_text(errors='replace')}{self.sshd_log()}")

    def shutdown(self) -> None:
        """Shut down in good order: systemd stops every unit. Raises PowerError when it does not end."""
        self._require_machine().send_signal(signal.SIGTERM)
        self._await_end()

    def reboot(self) -> None:
        """Shut down in good order and boot again at once; returns when everybody may log in."""
        self.run(["systemctl", "reboot"], "root", check=False)  # the system may be gone before it has answered
        self._await_end()
        self.power_on()

    def systemctl(self, *args: str, check: bool = True) -> str:
        """What systemctl says, as root."""
        return self.run(["systemctl", *args], "root", check=check).stdout.decode().strip()

    def unit_state(self) -> str:
        """What the unit of PostgreSQL is: ``active``, ``inactive``, ``failed``, ``activating``, ``deactivating``."""
        return self.systemctl("is-active", self.layout.unit, check=False)

    def make_cluster(self, data_dir: str | None = None) -> None:
        """A new cluster of the layout, not started: Debian's is called ``main``, wherever its data directory is."""
        locale = ("--encoding=UTF8", "--locale=C.UTF-8")
        if self.layout == RPM:
            # What the RPMs' server has built in, or in its postgresql.conf.
            settings = ("-c", "unix_socket_directories=/run/postgresql,/tmp", "-c", "logging_collector=on")
            self.run([f"{self.layout.bin_dir}/initdb", "-D", self.layout.data_dir, *locale, *settings])
            return
        place = ("--datadir", data_dir) if data_dir else ()
        self.run(["pg_createcluster", *locale, *place, str(self.layout.major), "main"], "root")
        self.systemctl("daemon-reload")

    def stop_sshd(self) -> None:
        """End the listening sshd; sessions that are open stay."""
        self.systemctl("stop", "ssh.service")

    def start_sshd(self) -> None:
        """Start sshd with its present configuration."""
        self.systemctl("start", "ssh.service")
        self.await_boot()

    @property
    def boot_log(self) -> Path:
        """The console of all boots of this host."""
        return self.network.claim.folder / self.name / "boot.log"

    def _nspawn(self) -> list[str | Path]:
        claim = self.network.claim
        options = [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={self.mounts.root(self.name)}",
            f"--machine={claim.namespace(self.name)}",
            f"--network-namespace-path=/run/netns/{claim.namespace(self.name)}",
            # This machine needs no systemd of its own.
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=read-only",
        ]
        return [*options, *self._servers()] if self.layout == RPM else options

    def _servers(self) -> list[str]:
        """Package and libraries keep their places relative to each other: see tests.real.hosts.servers."""
        package = pg_install(self.layout.major).parent
        libraries = package.with_name(f"{package.name}.libs")
        mounts = [f"--bind-ro={package}:{PACKAGE_SERVER}"]
        return [*mounts, f"--bind-ro={libraries}:{PACKAGE_SERVER}.libs"] if libraries.exists() else mounts

    def _await_end(self) -> None:
        machine = self._require_machine()
        try:
            machine.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            raise PowerError(f"{self.name} did not shut down: {self.boot_log.read_text(errors='replace')}") from None
        self._machine = None
        machine.stdin.close()
        self.network.disconnect(self.name)
        self.network.forget(self.name)

    def _sshd_listens(self) -> bool:
        """sshd runs, and pam_nologin lets ordinary users in."""
        first = first_child(self._require_machine().pid)
        run = Path(f"/proc/{first}/root/run")
        return first is not None and (run / "sshd.pid").exists() and not (run / "nologin").exists()
