"""Checks of a host: how it is reached, what stands on it, whether its server comes back by itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from replctl.model.checkup import Check
from replctl.model.facts import NoInstance, Primary, Replica, Stopped, Unreachable
from replctl.model.host import Aside, HostFacts
from replctl.model.inventory import Connection, ServiceManager
from replctl.planning.amounts import human_bytes, human_duration
from replctl.planning.check_case import Case
from replctl.planning.on_node import as_os_user, as_root
from replctl.planning.services import check_service
from replctl.planning.switchover_checks import GLIBC_FREE_LOCALES
from replctl.postgres.layout import layout_of

MAX_WAL_BYTES = 1 << 30
"""PostgreSQL's default for max_wal_size: so much WAL may be kept between two checkpoints."""
FULL_BYTES = 64 << 20
"""With less than a few segments the server is about to stop."""
CLOCK_OFFSET_S = 2.0
"""Seconds. Ages in status are corrected for it; logs and recovery targets are not."""


def reached(case: Case) -> Iterator[Check]:
    found = case.findings("unreachable", "sql-only")
    if found:
        yield from (case.of_finding("ssh", one) for one in found)
        return
    user = case.node.postgres.os_user
    here = case.node.connection is Connection.LOCAL
    yield case.ok("ssh", "on this machine" if here else f"{case.node.ssh_host} answers")
    yield case.ok("rights", f"commands run as {user}")


def service(case: Case) -> Iterator[Check]:
    """Whether the service manager may be used, and agrees with what runs."""
    if case.host is None or isinstance(case.seen, NoInstance):
        return
    refusals = check_service(case.node, case.host)
    yield from (case.failed("service", one.message, one.hint) for one in refusals)
    if not refusals:
        unit = f", unit {case.host.unit.name}" if case.host.unit is not None else ""
        yield from case.told("service", ("outside-unit", "service-differs"), f"{case.node.postgres.service}{unit}")


def instance(case: Case) -> Iterator[Check]:
    codes = (
        *("absent", "directory-not-empty", "directory-unreadable", "foreign", "later-timeline"),
        *("ssh-only", "starting", "stopped"),
    )
    running = case.running
    if running is not None:
        role = "primary" if isinstance(running, Primary) else "replica"
        yield from case.told("instance", codes, f"runs as {role}, timeline {running.server.timeline}")
    elif not isinstance(case.seen, Unreachable):
        yield from case.told("instance", codes, f"{case.row.state}")


def version(case: Case) -> Iterator[Check]:
    primary, running = case.situation.facts.primary, case.running
    if running is None:
        return
    other = primary.server if primary is not None else running.server
    if running.server.major != other.major:
        detail = f"PostgreSQL {running.server.version}, and {other.version} on the primary"
        fix = f"Install PostgreSQL {other.major} on {case.name}, then run `replctl rejoin {case.name} --reclone`."
        yield case.failed("version", detail, fix)
    elif running.server.version_num != other.version_num:
        detail = f"PostgreSQL {running.server.version}, and {other.version} on the primary"
        fix = "Bring all nodes to one minor release, then run `replctl restart --rolling`."
        yield case.warning("version", detail, fix)
    else:
        yield case.ok("version", f"PostgreSQL {running.server.version}")


def collation(case: Case) -> Iterator[Check]:
    """Text indexes sorted by one library's rules are corrupt under another's."""
    primary, host, extra = case.situation.facts.primary, case.host, case.extra
    if case.running is None or host is None:
        return
    theirs = case.situation.host_of(primary.node) if primary is not None else None
    if extra is not None and extra.collations:
        names = ", ".join(extra.collations)
        detail = f"{names} {'was' if len(extra.collations) == 1 else 'were'} made under another collation library"
        fix = "Rebuild the text indexes there (REINDEX), then ALTER DATABASE ... REFRESH COLLATION VERSION."
        yield case.failed("collation", detail, fix)
    elif theirs is not None and theirs.glibc != host.glibc and case.node.postgres.locale not in GLIBC_FREE_LOCALES:
        detail = f"{host.glibc}, and {theirs.glibc} on the primary: text sorts differently"
        yield case.failed("collation", detail, "Bring both hosts to the same release of the operating system.")
    else:
        yield case.ok("collation", host.glibc or "no glibc")


def disk(case: Case) -> Iterator[Check]:
    host = case.host
    known = (host.directory.free_bytes, host.wal_free_bytes) if host is not None else ()
    free = min((size for size in known if size is not None), default=None)
    if host is None or free is None:
        return
    detail = f"{human_bytes(free)} free for WAL and data"
    server = case.running.server if case.running is not None else None
    mebibytes = server.setting("max_wal_size") if server is not None else ""
    if free >= (int(mebibytes) << 20 if mebibytes.isdigit() else MAX_WAL_BYTES):
        yield case.ok("disk", detail)
        return
    if kept := _biggest_aside(host):
        detail += f"; {kept.path}, moved aside by an earlier run, takes {human_bytes(kept.size_bytes or 0)}"
    level = case.failed if free < FULL_BYTES else case.warning
    yield level("disk", detail, room(case))


def room(case: Case) -> str:
    """How there will be more: what an earlier run moved aside is the first that can go."""
    kept = _biggest_aside(case.host) if case.host is not None else None
    if kept is not None:
        return as_os_user(case.node, ("rm", "-rf", "--", kept.path))
    return f"Make room on the disk of {case.name}: `replctl status` tells what each slot keeps."


def _biggest_aside(host: HostFacts) -> Aside | None:
    return max((one for one in host.asides if one.size_bytes), key=lambda one: one.size_bytes or 0, default=None)


def clock(case: Case) -> Iterator[Check]:
    extra = case.extra
    if extra is None:
        return
    ahead = extra.clock_offset_s
    if abs(ahead) < CLOCK_OFFSET_S:
        yield case.ok("clock", "agrees with this machine's")
        return
    word = "ahead of" if ahead > 0 else "behind"
    detail = f"{human_duration(abs(ahead) * 1000)} {word} this machine's"
    yield case.warning(
        "clock", detail, f"Have both machines keep time: `chronyc tracking` on {case.name}, or timedatectl."
    )


def comes_back(case: Case) -> Iterator[Check]:
    """Whether the server starts with its host."""
    host = case.host
    if host is None or not isinstance(case.seen, Primary | Replica | Stopped):
        return
    layout = layout_of(case.node, host)
    match layout.autostart:
        case None:
            yield case.ok("boot", f"pg_ctl starts nothing by itself: after a reboot, replctl restart {case.name}")
        case True:
            yield case.ok("boot", "comes back with its host")
        case False:
            yield _stays_down(case, layout.debian.config_dir if layout.debian else None)


def _stays_down(case: Case, config_dir: str | None) -> Check:
    unit = case.host.unit if case.host is not None else None
    order = ("systemctl", "enable", unit.name if unit is not None else "postgresql")
    if case.node.postgres.service is ServiceManager.PG_CTLCLUSTER and config_dir is not None:
        order = ("sh", "-c", f"echo auto >{shlex.quote(config_dir + '/start.conf')}")
    return case.warning("boot", f"{case.name} stays down after a reboot of its host", as_root(case.node, order))


def leftovers(case: Case) -> Iterator[Check]:
    if case.host is not None and not isinstance(case.seen, NoInstance):
        found = case.findings("staging", "aside")
        yield from [case.of_finding("leftovers", one) for one in found] or [case.ok("leftovers", "none")]
