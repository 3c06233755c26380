"""The network between the hosts: one bridge, a cable to each host, and one to the operator's machine.

The bridge has a network namespace of its own, so that neither the machine's packet filter nor its routing touches
what passes between hosts. Addresses are of 198.18.0.0/15, which RFC 2544 keeps for tests.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.real.hosts.claims import NAMESPACES, Claim, interface_name


@dataclass(frozen=True)
class Network:
    """The bridge of one LAN, by the claim on its number."""

    claim: Claim

    @property
    def cidr(self) -> str:
        return f"198.18.{self.claim.number}.0/24"

    @property
    def operator_address(self) -> str:
        """The address that hosts see the operator's machine at."""
        return self.address(1)

    def address(self, last: int) -> str:
        return f"198.18.{self.claim.number}.{last}"

    @property
    def bridge_namespace(self) -> str:
        return self.claim.namespace("bridge")

    def create(self) -> None:
        """Make the bridge and connect the machine to it."""
        interface = interface_name(self.claim.number)
        run_ip([f"netns add {self.bridge_namespace}"])
        run_ip(
            [
                "link add lan type bridge",
                "link set lan up",
                f"link add operator type veth peer name {interface} netns {os.getpid()}",
                "link set operator master lan up",
            ],
            namespace=self.bridge_namespace,
        )
        run_ip([f"addr add {self.operator_address}/24 dev {interface}", f"link set {interface} up"])

    def connect(self, name: str, address: str) -> None:
        """Give the host ``name`` a fresh network stack, with a cable to the bridge. Its MAC address stays the same
        over reboots, so that its neighbours need not learn it again."""
        namespace = self.claim.namespace(name)
        if (NAMESPACES / namespace).exists():  # seen once right after its deletion
            self.forget(name)
        last = int(address.rsplit(".", 1)[1])
        mac = f"02:12:00:00:{self.claim.number:02x}:{last:02x}"
        run_ip([f"netns add {namespace}"])
        run_ip(
            [
                f"link add name {name} type veth peer name eth0 address {mac} netns {namespace}",
                f"link set dev {name} master lan up",
            ],
            namespace=self.bridge_namespace,
        )
        run_ip(["link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up"], namespace=namespace)

    def disconnect(self, name: str) -> None:
        """Take the cable away for good: nothing that the host still sends arrives."""
        run_ip([f"link delete dev {name}"], namespace=self.bridge_namespace)

    def forget(self, name: str) -> None:
        """Delete the network stack of a host whose processes are gone."""
        run_ip([f"netns delete {self.claim.namespace(name)}"])

    def set_cable(self, name: str, state: str) -> None:
        """``state`` is ``up`` or ``down``."""
        run_ip([f"link set dev {name} {state}"], namespace=self.bridge_namespace)


def run_ip(commands: Sequence[str], namespace: str | None = None) -> None:
    """Run several commands of ip(8) by one process. Raises RuntimeError with ip's own words."""
    where = ["-n", namespace] if namespace else []
    batch = "".join(f"{command}\n" for command in commands)
    done = subprocess.run(["ip", *where, "-batch", "-"], input=batch, text=True, check=False, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(where)}: {done.stderr.strip()}: {batch}")
