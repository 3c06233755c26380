"""One host: a machine of its own to everything that runs on it, and processes to the test that drives it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from replctl.remote.waiting import NeverCancelled, SystemClock, Waiting
from tests.real.hosts.disk import DEPLOY, SSHD_PID_FILE
from tests.real.hosts.network import Network, run_ip

__all__ = ["DEPLOY", "Host", "HostProcess", "PowerError"]

BOOT = Path(__file__).with_name("boot.sh")
BOOT_SECONDS = 20.0


class PowerError(Exception):
    """A host did not come up, or is off when it should be on."""


@dataclass(frozen=True)
class HostProcess:
    """A process of a host. ``pid`` is the machine's number for it, ``host_pid`` the number in the host."""

    pid: int
    host_pid: int
    uid: int
    argv: tuple[str, ...]
    environ: Mapping[str, str]


@dataclass(eq=False)
class Host:
    """A host of a Lan. ``address`` is reached from the operator's machine and from every other host."""

    name: str
    address: str
    disk: Path
    network: Network
    _machine: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def powered(self) -> bool:
        return self._machine is not None

    def power_on(self) -> None:
        """Boot, and return once sshd listens. Data directories are as they were; /run and /dev/shm are empty."""
        self.start_boot()
        self.await_boot()

    def start_boot(self) -> None:
        """Boot without waiting for sshd."""
        if self._machine is not None:
            raise PowerError(f"{self.name} is on already")
        self.network.connect(self.name, self.address)
        enter = ("nsenter", f"--net=/run/netns/{self.network.claim.namespace(self.name)}")
        # With slave propagation a network namespace that is deleted outside also goes away in here.
        unshare = ("unshare", "--mount", "--propagation", "slave", "--pid", "--ipc", "--uts", "--fork", "--mount-proc")
        with (self.disk / "boot.log").open("ab") as log:
            self._machine = subprocess.Popen(
                [*enter, *unshare, "--kill-child", "sh", BOOT, self.disk / "fstab", self.name],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def await_boot(self) -> None:
        """Wait until sshd listens. Raises PowerError with the boot log when it does not."""
        waiting = Waiting(SystemClock(), NeverCancelled(), timeout=BOOT_SECONDS, poll=0.005)
        if waiting.until(lambda: True if self._boot_ended() else None) is None or not self._sshd_listens():
            raise PowerError(f"{self.name} did not boot: {(self.disk / 'boot.log').read_text()}{self.sshd_log()}")

    def power_cut(self) -> None:
        """Everything on the host dies at this moment, and no peer hears of it. Its disk stays."""
        machine = self._require_machine()
        first = first_child(machine.pid)
        # The cable first: the kernel would otherwise close the connections of dying processes in good order.
        self.network.disconnect(self.name)
        self._machine = None
        entrances = [pid for pid in processes_entering(first) if pid != machine.pid] if first else []
        # The first process rather than unshare: unshare then ends after the kernel has ended all the others.
        os.kill(first or machine.pid, signal.SIGKILL)
        # The kernel waits until the parents of what run() started have seen their end, and nsenter had stopped
        # along with a child that was frozen.
        for pid in entrances:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        machine.stdin.close()
        machine.wait(30)
        self.network.forget(self.name)

    def unplug(self) -> None:
        """Pull the cable: packets vanish in both directions, connections stay open until they time out."""
        self.network.set_cable(self.name, "down")

    def plug(self) -> None:
        self.network.set_cable(self.name, "up")

    def block(self, peer: Host) -> None:
        """Have everything that this host sends to ``peer`` vanish on the way, so that no connection between the two
        gets anywhere; both are still reached from elsewhere."""
        run_ip([f"neigh replace {peer.address} lladdr 02:ff:ff:ff:ff:ff dev eth0 nud permanent"], self._namespace)

    def unblock(self, peer: Host) -> None:
        run_ip([f"neigh delete {peer.address} dev eth0"], self._namespace)

    @property
    def _namespace(self) -> str:
        return self.network.claim.namespace(self.name)

    def command(self, argv: Sequence[str | Path], user: str = "postgres") -> list[str]:
        """The command line that runs ``argv`` on this host as ``user``, for a Popen of one's own."""
        target = first_child(self._require_machine().pid)
        # --root: entering a mount namespace alone leads to its first root, which in a chroot is not the host's.
        enter = ("nsenter", "--target", str(target), "--mount", "--root", "--uts", "--ipc", "--net", "--pid")
        become = (
            "setpriv",
            f"--reuid={user}",
            f"--regid={user}",
            "--init-groups",
            "--reset-env",
            "--pdeathsig",
            "KILL",
        )
        return [*enter, *become, "env", "--chdir=/", "LANG=C.UTF-8", *map(str, argv)]

    def run(
        self, argv: Sequence[str | Path], user: str = "postgres", stdin: bytes = b"", *, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command on this host, not over SSH. Raises AssertionError with its stderr when it fails."""
        done = subprocess.run(self.command(argv, user), input=stdin, capture_output=True, timeout=120, check=False)
        if check and done.returncode != 0:
            output = (done.stdout + done.stderr).decode("utf-8", "replace")
            raise AssertionError(f"{self.name}: {argv} ended with {done.returncode}: {output}")
        return done

    def path(self, path: str | Path) -> Path:
        """The place on this machine of a file that lies on the host's own disk, powered or not."""
        return self.disk / str(path).lstrip("/")

    def read(self, path: str | Path) -> str:
        """The text of any file of the running host. Raises FileNotFoundError."""
        return Path(f"/proc/{first_child(self._require_machine().pid)}/root{path}").read_text()

    def sshd_log(self) -> str:
        log = self.path("/var/log/sshd.log")
        return log.read_text() if log.exists() else ""

    def stop_sshd(self) -> None:
        """End the listening sshd; sessions that are open stay."""
        self.run(["sh", "-c", f"kill $(cat {SSHD_PID_FILE}); while [ -e {SSHD_PID_FILE} ]; do :; done"], "root")

    def start_sshd(self) -> None:
        """Start sshd with the present /etc/ssh/sshd_config."""
        self.run(["/usr/sbin/sshd", "-E", "/var/log/sshd.log"], "root")
        self.await_boot()

    def processes(self) -> list[HostProcess]:
        """Every process of the host but its first one."""
        first = first_child(self._require_machine().pid)
        return [process for process in namespace_processes(first) if process.pid != first]

    def pids(self, word: str = "") -> list[int]:
        """The machine's numbers of the processes whose command line contains ``word``."""
        return [process.pid for process in self.processes() if word in " ".join(process.argv)]

    def cmdlines(self) -> dict[int, str]:
        return {process.pid: " ".join(process.argv) for process in self.processes()}

    def postmaster(self, data_dir: str | Path) -> int:
        """The machine's number of the postmaster of a data directory. Raises LookupError without one."""
        host_pid = int(self.read(f"{data_dir}/postmaster.pid").splitlines()[0])
        for process in self.processes():
            if process.host_pid == host_pid:
                return process.pid
        raise LookupError(f"{self.name}: no process {host_pid}")

    def freeze(self, pid: int) -> None:
        """Stop a process where it is; ``pid`` is the machine's number."""
        os.kill(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        """Have a frozen process go on, and the nsenter that started it, if one did: it had stopped along with it."""
        os.kill(pid, signal.SIGCONT)
        parent = int(read_status(Path(f"/proc/{pid}"))["PPid"])
        if parent in processes_entering(pid):
            os.kill(parent, signal.SIGCONT)

    def _require_machine(self) -> subprocess.Popen[bytes]:
        if self._machine is None:
            raise PowerError(f"{self.name} is off")
        return self._machine

    def _boot_ended(self) -> bool:
        return self._require_machine().poll() is not None or self._sshd_listens()

    def _sshd_listens(self) -> bool:
        first = first_child(self._require_machine().pid)
        return first is not None and Path(f"/proc/{first}/root{SSHD_PID_FILE}").exists()


def first_child(pid: int) -> int | None:
    """The oldest child of a process, or None."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return None
    return int(children[0]) if children else None


def namespace_processes(member: int) -> Iterator[HostProcess]:
    """The processes in the PID namespace of ``member``; one that ends while we look is left out."""
    for entry in _entries_with("ns/pid", member):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield read_process(entry)


def processes_entering(member: int) -> list[int]:
    """The processes outside the PID namespace of ``member`` whose children are in it."""
    inside = set(_entries_with("ns/pid", member))
    links = _entries_with("ns/pid_for_children", member)
    return [int(entry.name) for entry in links if entry not in inside]


def _entries_with(link: str, member: int) -> Iterator[Path]:
    """The folders in /proc of processes whose ``link`` is the PID namespace of ``member``.

    The machine's own first process may be closed even to root; it is none of ours.
    """
    namespace = Path(f"/proc/{member}/ns/pid").readlink()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                if (entry / link).readlink() == namespace:
                    yield entry


def read_status(entry: Path) -> dict[str, str]:
    """/proc/PID/status by name."""
    return dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines() if ":\t" in line)


def read_process(entry: Path) -> HostProcess:
    """One process by its folder in /proc."""
    status = read_status(entry)
    environ = (entry / "environ").read_bytes().decode("utf-8", "replace")
    return HostProcess(
        pid=int(entry.name),
        host_pid=int(status["NSpid"].split()[-1]),
        uid=int(status["Uid"].split()[0]),
        argv=tuple((entry / "cmdline").read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0")),
        environ=dict(item.split("=", 1) for item in environ.split("\0") if "=" in item),
    )
