"""postgresql.conf and pg_hba.conf from the templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address, ip_network
from traceback import extract_tb

from jinja2 import FunctionLoader, StrictUndefined, TemplateError, TemplateRuntimeError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from replctl.model.actions import ConfigFile
from replctl.model.errors import InventoryError
from replctl.model.inventory import Inventory, Node
from replctl.postgres.conf_syntax import parse_conf, quote_hba_host, quote_hba_name, quote_setting
from replctl.postgres.ownership import marked
from replctl.postgres.settings import RAISABLE, is_loopback, managed_settings

POSTGRESQL_CONF = "postgresql.conf"
PG_HBA_CONF = "pg_hba.conf"

_TEMPLATE_FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What an expression of a template may end in."""

LOOPBACK = ("127.0.0.1/32", "::1/128")


@dataclass(frozen=True, slots=True)
class Templates:
    """The text of the two templates, the shipped ones or the operator's own."""

    postgresql_conf: str
    pg_hba_conf: str


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
    """Both files of a node. Nothing in them depends on the moment: rendering twice gives the same text.

    ``places`` are the settings that name files, for a node whose configuration is outside of its data directory;
    ``inherited`` what a replica takes over from a primary that somebody else configured.
    Raises InventoryError when a template fails, naming it and the line.
    """
    texts = {POSTGRESQL_CONF: templates.postgresql_conf, PG_HBA_CONF: templates.pg_hba_conf}
    about = {"cluster": inventory.cluster, "node": str(node.name), "host": node.host, "major": major}
    parameters = {name: value for name, value in node.postgres.parameters.items() if name not in RAISABLE}
    values: dict[str, Mapping[str, object]] = {
        POSTGRESQL_CONF: {
            "managed": managed_settings(inventory, node, socket_dir=socket_dir),
            "places": places or {},
            "inherited": inherited or {},
            "parameters": parameters,
        },
        PG_HBA_CONF: hba_values(inventory, node),
    }
    files = tuple(
        ConfigFile(name, marked(_render(inventory, f"{name}.j2", text, {**about, **values[name]})))
        for name, text in texts.items()
    )
    _check_written(inventory, files[0].text, {**(inherited or {}), **(places or {})})
    return files


def _check_written(inventory: Inventory, text: str, needed: Mapping[str, str]) -> None:
    """A template of the operator's own may be older than a node whose configuration is elsewhere, or inherited."""
    written = parse_conf(text)
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


def _render(inventory: Inventory, name: str, text: str, values: Mapping[str, object]) -> str:
    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(partial(_source, {name: text})),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["setting"] = _setting
    try:
        return environment.get_template(name).render(values)
    except _TEMPLATE_FAILURES as error:
        shown = inventory.templates / name if inventory.templates else name
        raise InventoryError(
            f"{shown}:{_line(error, name)}: {error}",
            hint="Mend the template; docs/configuration.md lists what it may use.",
        ) from error


def _source(sources: Mapping[str, str], name: str) -> tuple[str, str, None]:
    if name not in sources:
        raise TemplateRuntimeError(f"a template cannot include another file: {name}")
    return sources[name], name, None


def _setting(value: object) -> str:
    """The template filter ``setting``: a value in postgresql.conf's quoting."""
    return quote_setting(str(value))


def _line(error: Exception, name: str) -> int:
    """The line of the template that failed: Jinja2 maps the traceback's frames back to it."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    return next((frame.lineno or 0 for frame in reversed(extract_tb(error.__traceback__)) if frame.filename == name), 0)
