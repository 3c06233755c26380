"""What stands in the way of taking over a server that somebody else set up: told before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import PurePosixPath

from replctl.model.configuration import LiveSetting
from replctl.model.facts import Primary, Replica, ServerFacts, Slot
from replctl.model.host import HostFacts
from replctl.model.inventory import Node, ServiceManager
from replctl.model.plan import Refusal
from replctl.model.values import NodeName
from replctl.planning.situation import HBA, Situation
from replctl.planning.topology import is_ours
from replctl.postgres.adopted import is_listened
from replctl.postgres.layout import layout_of
from replctl.postgres.render import POSTGRESQL_CONF
from replctl.postgres.setting_values import comparable

COMMAND_LINE = "command line"
"""Source of a setting in pg_settings: an option of the postmaster."""
KEEP = "max_slot_wal_keep_size"
KEEP_UNIT = "MB"
_NAMED_BY_LAYOUT = ("config_file",)
"""Options that replctl gives a server that it starts."""


def check_taken_over(
    situation: Situation, primary: Primary, host: HostFacts, wanted: Mapping[str, str]
) -> Iterator[Refusal]:
    """Of a primary, with a restart and without one. ``wanted`` are our settings."""
    yield from _check_instance(situation, primary)
    yield from _check_rules(primary.node, primary.server)
    yield from _check_files(situation.node(primary.node), primary.server, host)
    yield from _check_writes(primary)
    yield from _check_database(primary)
    yield from _check_slots(primary, wanted)


def _check_instance(situation: Situation, primary: Primary) -> Iterator[Refusal]:
    """A session by the local socket may have come to another server of the host: it is told by its port alone."""
    name, server, host = primary.node, primary.server, primary.host
    if host is None or host.control is None or host.postmaster is None:
        return
    port, wanted = host.postmaster.port, situation.node(name).postgres
    if server.setting("port") != str(wanted.port):
        return
    if host.control.system_identifier != server.system_identifier or port not in (None, wanted.port):
        yield Refusal(
            "other-instance",
            name,
            f"{name}: the server that answers at port {server.setting('port')} is not the one in {wanted.data_dir}, "
            f"which listens on port {port}",
            f"Mend postgres.port or postgres.data_dir of {name} in the inventory.",
        )


def _check_files(node: Node, server: ServerFacts, host: HostFacts) -> Iterator[Refusal]:
    """Our settings and rules go where the server reads its own, into files that we can replace as they are."""
    layout = layout_of(node, host)
    for setting, file in (("config_file", POSTGRESQL_CONF), ("hba_file", HBA)):
        read, written = server.setting(setting), f"{layout.config_dir}/{file}"
        if read and (not _same_file(node, server, read, written) or file not in host.files):
            yield Refusal(
                "config-elsewhere",
                node.name,
                f"{node.name}: {setting} is {read}, and replctl keeps to {written}",
                f"Move it there and restart the server: {POSTGRESQL_CONF} and {HBA} have to be in one folder, the data "
                "directory or the one that the server is started with as `-c config_file`.",
            )
    for why in host.fixed_files:
        yield Refusal(
            "config-not-writable",
            node.name,
            f"{node.name}: {why}",
            f"Mend that there: replctl replaces files as {node.postgres.os_user}, and keeps owner, group and mode.",
        )


def _same_file(node: Node, server: ServerFacts, read: str, written: str) -> bool:
    """The server may know its data directory by another path, through a symbolic link."""
    path = PurePosixPath(read)
    if path.is_relative_to(server.data_directory):
        path = node.postgres.data_dir / path.relative_to(server.data_directory)
    return path == PurePosixPath(written)


def _check_rules(name: NodeName, server: ServerFacts) -> Iterator[Refusal]:
    """A pg_hba.conf that is in error is not loaded, with our block in it or without."""
    if server.hba_errors:
        yield Refusal(
            "config-invalid",
            name,
            f"{name}: pg_hba.conf has lines that the server cannot use: {'; '.join(server.hba_errors)}",
            "Mend them first: a reload would not take effect.",
        )


def _check_writes(primary: Primary) -> Iterator[Refusal]:
    """Neither we nor the application could change anything there."""
    found = primary.server.settings.get("default_transaction_read_only")
    if found is not None and found.value == "on":
        yield Refusal(
            "read-only",
            primary.node,
            f"{primary.node}: default_transaction_read_only is on ({found.sourcefile or found.source}): every "
            "transaction would be refused its writes",
            "Set it to off there and reload; `SELECT pg_reload_conf()` does.",
        )


def _check_database(primary: Primary) -> Iterator[Refusal]:
    """The env file would name a database that nobody gets into."""
    for database in primary.server.closed_databases:
        yield Refusal(
            "database-closed",
            primary.node,
            f"{primary.node}: the database {database} takes no connections",
            f"`ALTER DATABASE {database} ALLOW_CONNECTIONS true`, or name another one as app.database.",
        )


def _check_slots(primary: Primary, wanted: Mapping[str, str]) -> Iterator[Refusal]:
    """A slot that keeps more WAL than our limit allows is lost at the next checkpoint, and its consumer with it."""
    for slot in limited_slots(primary, wanted):
        kept, limit = slot.retained_bytes or 0, amount(wanted[KEEP], KEEP_UNIT) or 0
        if kept > limit * 2**20:
            yield Refusal(
                "slot-limit",
                primary.node,
                f"slot {slot.name} on {primary.node} keeps {kept // 2**20} MB of WAL, more than {KEEP} = "
                f"{wanted[KEEP]} would leave it: it would be lost",
                f"Have its consumer catch up, drop it, or raise {KEEP} in postgres.parameters (-1: no limit).",
            )


def amount(text: str, unit: str) -> int | None:
    """A written amount in a unit of PostgreSQL's; None for what is none."""
    value = comparable(text, LiveSetting("", text, text, unit, "integer", "", "", ""))
    return int(value) if isinstance(value, Decimal) else None


def limited_slots(primary: Primary, wanted: Mapping[str, str]) -> Sequence[Slot]:
    """Slots of others for which our limit is less than they have today."""
    limit = amount(wanted.get(KEEP, ""), KEEP_UNIT)
    live = amount(primary.server.setting(KEEP), KEEP_UNIT)
    if limit is None or live is None or limit < 0 or 0 <= live <= limit:
        return ()
    return tuple(slot for slot in primary.server.slots if not slot.temporary and not is_ours(slot))


def check_reach(situation: Situation, primary: Primary) -> Iterator[Refusal]:
    """Without a restart a server goes on listening where it does: replctl could not even restart it by itself."""
    node, listens = situation.node(primary.node), primary.server.setting("listen_addresses")
    if primary.node in situation.facts.by_psql and not is_listened(node, listens):
        yield Refusal(
            "listen-addresses",
            node.name,
            f"{node.name}: listen_addresses is '{listens}', where replctl does not reach it by SQL before a restart",
            "Add --restart.",
        )


def check_restart(situation: Situation, server: ServerFacts, name: NodeName) -> Iterator[Refusal]:
    """pg_ctl starts a server without the options that somebody gave it by hand."""
    options = given_options(situation, server, name)
    if options:
        yield Refusal(
            "command-line",
            name,
            f"{name} was started with options that a restart would leave out: {', '.join(options)}",
            f"Write them into {POSTGRESQL_CONF}, or leave out --restart and restart it by hand.",
        )


def given_options(situation: Situation, server: ServerFacts, name: NodeName) -> Sequence[str]:
    """Settings, of those that are looked at, that stand on the postmaster's command line and nowhere in a service."""
    if situation.node(name).postgres.service is not ServiceManager.PG_CTL:
        return ()
    return tuple(
        sorted(
            f"{key} = {setting.value}"
            for key, setting in server.settings.items()
            if setting.source == COMMAND_LINE and key not in _NAMED_BY_LAYOUT
        )
    )


def check_replica(situation: Situation, replica: Replica) -> Iterator[Refusal]:
    """The same of a standby that is taken over along with its primary."""
    yield from _check_rules(replica.node, replica.server)
    if replica.host is not None:
        yield from _check_files(situation.node(replica.node), replica.server, replica.host)
