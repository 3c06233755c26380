"""postgresql.conf and pg_hba.conf from the templates."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from replctl.model.actions import ConfigFile
from replctl.model.errors import InventoryError
from replctl.model.inventory import Inventory, Node
from replctl.postgres.conf_syntax import parse_conf, quote_hba_host, quote_hba_name
from replctl.postgres.ownership import marked
from replctl.postgres.settings import RAISABLE, is_loopback, managed_settings
from replctl.postgres.templates import Templates

if TYPE_CHECKING:
    from replctl.postgres.filling import Form

POSTGRESQL_CONF = "postgresql.conf"
PG_HBA_CONF = "pg_hba.conf"

LOOPBACK = ("127.0.0.1/32", "::1/128")


def render_config(
    inventory: Inventory,
    node: Node,
    templates: Templates,
    *,
    major: int,
    socket_dir: str,
    places: Mapping[str, str] | None = None,
    inherited: Mapping[str, str] | None = None,
) -> tuple[ConfigFile, ...]:
    """Both files of one node, as ``Renderer.config`` makes them for many."""
    renderer = Renderer(inventory, templates)
    return renderer.config(node, major=major, socket_dir=socket_dir, places=places, inherited=inherited)


@dataclass(frozen=True)
class Renderer:
    """The files of an inventory's nodes; what is the same on many of them is made once."""

    inventory: Inventory
    templates: Templates

    def config(
        self,
        node: Node,
        *,
        major: int,
        socket_dir: str,
        places: Mapping[str, str] | None = None,
        inherited: Mapping[str, str] | None = None,
    ) -> tuple[ConfigFile, ...]:
        """Both files of a node. Nothing in them depends on the moment: rendering twice gives the same text.

        ``places`` are the settings that name files, for a node whose configuration is outside of its data directory;
        ``inherited`` what a replica takes over from a primary that somebody else configured.
        Raises InventoryError when a template fails, naming it and the line.
        """
        parameters = {name: value for name, value in node.postgres.parameters.items() if name not in RAISABLE}
        settings: dict[str, Mapping[str, str]] = {
            "managed": managed_settings(self.inventory, node, socket_dir=socket_dir),
            "places": places or {},
            "inherited": inherited or {},
            "parameters": parameters,
        }
        key = tuple(tuple(some.items()) for some in settings.values())
        conf = self._filled(self._conf, node, major, key, lambda: settings)
        _check_written(self.inventory, conf, {**settings["inherited"], **settings["places"]})
        key = (node.postgres.os_user, node.postgres.allow)
        hba = self._filled(self._hba, node, major, key, lambda: hba_values(self.inventory, node))
        return ConfigFile(POSTGRESQL_CONF, conf), ConfigFile(PG_HBA_CONF, hba)

    def _filled(
        self, form: Form, node: Node, major: int, key: Hashable, values: Callable[[], Mapping[str, object]]
    ) -> str:
        """Nodes of one ``key`` have the same values, and differ by their name and host where the template uses these.
        pg_hba.conf has a line for every node, on every node: it is filled in once."""
        own = {"cluster": self.inventory.cluster, "node": str(node.name), "host": node.host, "major": major}
        place = (form.name, key, *(value for name, value in own.items() if name in form.uses))
        if place not in self._texts:
            self._texts[place] = marked(form.filled({**own, **values()}))
        return self._texts[place]

    @cached_property
    def _texts(self) -> dict[tuple[Hashable, ...], str]:
        return {}

    @cached_property
    def _conf(self) -> Form:
        return _form(self.inventory, POSTGRESQL_CONF, self.templates.postgresql_conf)

    @cached_property
    def _hba(self) -> Form:
        return _form(self.inventory, PG_HBA_CONF, self.templates.pg_hba_conf)


def _form(inventory: Inventory, name: str, text: str) -> Form:
    from replctl.postgres.filling import Form  # noqa: PLC0415 - Jinja2, for the commands that render

    return Form(inventory, f"{name}.j2", text)


def _check_written(inventory: Inventory, text: str, needed: Mapping[str, str]) -> None:
    """A template of the operator's own may be older than a node whose configuration is elsewhere, or inherited."""
    written = parse_conf(text) if needed else {}
    missing = [name for name in needed if name.lower() not in written]
    if missing:
        shown = inventory.templates / f"{POSTGRESQL_CONF}.j2" if inventory.templates else f"{POSTGRESQL_CONF}.j2"
        raise InventoryError(
            f"{shown}: does not set {', '.join(missing)}, which this node needs",
            hint="Have it write every item of `places` and of `inherited`, as the shipped template does.",
        )


def hba_values(inventory: Inventory, node: Node) -> dict[str, object]:
    """What the pg_hba.conf template works with: names and addresses, already in that file's syntax.

    Raises InventoryError for a name that pg_hba.conf cannot hold.
    """
    peers = _unique(address for peer in inventory.nodes.values() for address in hba_addresses(peer.host))
    return {
        "admin": quote_hba_name(inventory.admin.user),
        # peer compares with the OS user's name; that user owns the files and needs no password to read them.
        "admin_local_method": "peer" if inventory.admin.user == node.postgres.os_user else "scram-sha-256",
        "replication": quote_hba_name(inventory.replication.user),
        "app": quote_hba_name(inventory.app.user),
        "app_database": quote_hba_name(inventory.app.database),
        "peers": peers,
        "admin_networks": _unique((*LOOPBACK, *map(_network, inventory.admin.allow))),
        "app_networks": _unique((*LOOPBACK, *peers, *map(_network, node.postgres.allow))),
    }


def hba_addresses(host: str) -> tuple[str, ...]:
    """The addresses that a node's connections come from, as pg_hba.conf has them.

    Connections to any 127.0.0.0/8 address come from 127.0.0.1, whatever the node's own loopback address is. A name is
    kept: PostgreSQL looks it up both ways when a client connects.
    """
    if is_loopback(host):
        return {"localhost": LOOPBACK, "::1": LOOPBACK[1:]}.get(host.lower(), LOOPBACK[:1])
    try:
        return (str(ip_network(ip_address(host))),)
    except ValueError:
        return (quote_hba_host(host),)


def _network(allowed: str) -> str:
    try:
        return str(ip_network(allowed, strict=False))
    except ValueError as error:
        raise InventoryError(
            f"not a network: {allowed!r}", hint="Write an address or a network such as 10.0.5.0/24."
        ) from error


def _unique(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(addresses))
