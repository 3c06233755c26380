"""Checks of what is in force on a server: settings, roles, archiving, recovery."""

from __future__ import annotations

from collections.abc import Iterator

from replctl.model.checkup import Check
from replctl.model.facts import Primary, Stopped
from replctl.planning.check_case import Case
from replctl.planning.commits import wanted_names
from replctl.planning.config_diff import Needs, SettingDifference, compare, look_at
from replctl.planning.on_node import as_os_user, by_psql
from replctl.planning.states import settings_in_force, too_low
from replctl.planning.switchover_checks import MAX_ARCHIVE_BACKLOG
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.standby_names import STANDBY_NAMES

AUTO_CONF = "postgresql.auto.conf"


def settings(case: Case) -> Iterator[Check]:
    """Files and settings beside what the inventory makes of them; file and line of what says otherwise."""
    if case.running is None:
        return
    looked = look_at(case.situation, [case.name])
    if not looked.nodes:
        yield from (case.failed("settings", other.message, other.hint) for other in looked.others)
        return
    yield from case.told("rules", ("hba-error",), "pg_hba.conf has no errors")
    found = compare(case.situation, case.name)
    told = [_setting(case, one) for one in found.settings]
    if found.files and not told:
        names = " and ".join(one.path for one in found.files)
        detail = f"{names} {'is' if len(found.files) == 1 else 'are'} not as the inventory makes it"
        told.append(case.failed("settings", detail, f"replctl config apply {case.name}"))
    yield from told or [case.ok("settings", "as the inventory makes them")]


def _setting(case: Case, one: SettingDifference) -> Check:
    is_now = f"is {one.live}" if one.becomes is None else f"is to be {one.becomes} after a restart"
    detail = f"{one.name} {is_now}, and not {one.wanted}: {one.where}"
    apply = f"replctl config apply {case.name}"
    match one.needs:
        case Needs.RELOAD:
            return case.failed("settings", detail, apply)
        case Needs.RESTART:
            detail = f"{one.name} is {one.live}, and waits for a restart to be {one.wanted}"
            if isinstance(case.seen, Primary):
                return case.warning("restart", detail, "replctl config apply --restart --restart-primary")
            return case.warning("restart", detail, f"{apply} --restart")
        case Needs.OVERRIDE:
            return case.failed("settings", detail, _override(case, one))


def _override(case: Case, one: SettingDifference) -> str:
    if one.source is not None and one.source.endswith(f"/{AUTO_CONF}"):
        orders = (f"alter system reset {one.name}", "select pg_reload_conf()")
        return by_psql(case.node, case.host, case.situation.inventory.admin, *orders)
    return f"Take that line out on {case.name}, then run `replctl config apply {case.name}`."


def restart(case: Case) -> Iterator[Check]:
    """Settings that nobody but a restart brings into force, beyond the inventory's own."""
    if case.running is not None:
        pending = case.findings("pending-restart")
        yield case.ok("restart", pending[0].message if pending else "no setting waits for one")


def ordered_settings(case: Case) -> Iterator[Check]:
    """A standby needs at least the primary's values: of today's primary, and of any that takes over."""
    running, primary = case.running, case.situation.facts.primary
    if running is None or primary is None:
        return
    others = [primary] if running is not primary else list(case.situation.facts.replicas)
    differ = [
        f"{name} is {own}, and {theirs} on {other.node}"
        for other in others
        for name, (own, theirs) in too_low(settings_in_force(running), settings_in_force(other)).items()
    ]
    if not differ:
        yield case.ok("ordered-settings", "at least the primary's" if running is not primary else "no replica has more")
    elif running is primary:
        detail = f"{'; '.join(differ)}: {case.name} could not follow after a switchover"
        yield case.warning("ordered-settings", detail, "replctl config apply --restart --restart-primary")
    else:
        detail = f"{'; '.join(differ)}: replay pauses, and it would not start"
        yield case.failed("ordered-settings", detail, f"replctl config apply {case.name} --restart")


def startable(case: Case) -> Iterator[Check]:
    """A stopped standby does not start with less than its primary has, and ALTER SYSTEM cannot be taken back by SQL."""
    stopped, primary = case.seen, case.situation.facts.primary
    if not isinstance(stopped, Stopped) or not stopped.host.standby_signal or primary is None:
        return
    said = parse_conf(stopped.host.files.get(AUTO_CONF, ""))
    low = too_low(said, settings_in_force(primary))
    if low:
        each = " and ".join(f"{name} = {own} (the primary has {theirs})" for name, (own, theirs) in low.items())
        detail = f"its {AUTO_CONF} says {each}: it would not start"
        orders = [part for name in low for part in ("-e", f"/^ *{name} *=/d")]
        path = f"{case.node.postgres.data_dir}/{AUTO_CONF}"
        yield case.failed("start", detail, as_os_user(case.node, ("sed", "-i", *orders, path)))


def recovery_settings(case: Case) -> Iterator[Check]:
    """A recovery target that was left behind stops a standby, or keeps a server from starting as one."""
    extra = case.extra
    if extra is None:
        return
    targets = {name: value for name, value in extra.recovery_settings.items() if name.startswith("recovery_target")}
    if not targets:
        kept = ", ".join(extra.recovery_settings)
        yield case.ok("recovery", f"{kept} set, and no target" if kept else "no setting of an old recovery")
        return
    detail = f"{', '.join(f'{name} = {value}' for name, value in targets.items())}: left from an old recovery"
    orders = [f"alter system reset {name}" for name in targets]
    fix = by_psql(case.node, case.host, case.situation.inventory.admin, *orders)
    yield case.failed("recovery", detail, fix)


def archiving(case: Case) -> Iterator[Check]:
    extra, running = case.extra, case.running
    if extra is None or running is None or not isinstance(running, Primary):
        return
    archiver, backlog = extra.archiver, running.server.archive_backlog
    if archiver is None:
        yield case.ok("archive", "archive_mode is off")
    elif archiver.failing_wal is not None:
        detail = f"archive_command fails with {archiver.failing_wal}; {backlog} segments wait: {archiver.command}"
        yield case.failed("archive", detail, f"Run it by hand on {case.name} as the OS user and mend what it says.")
    elif backlog > MAX_ARCHIVE_BACKLOG:
        detail = f"{backlog} segments wait for archive_command: a switchover would wait for them"
        yield case.warning("archive", detail, "Wait, or make archive_command faster.")
    else:
        yield case.ok("archive", f"{archiver.archived} segments archived, {backlog} wait")


def synchronous(case: Case) -> Iterator[Check]:
    if isinstance(case.seen, Primary):
        names, situation = case.seen.server.setting(STANDBY_NAMES), case.situation
        shown, sync = names or "commits wait for nobody", situation.inventory.sync
        wanted = names if sync is None else wanted_names(situation.inventory, situation.facts, sync, case.seen)
        if names == wanted or case.findings("commits-wait"):
            yield from case.told("synchronous", ("commits-wait", "synchronous-standbys"), shown)
        else:
            yield case.warning("synchronous", f"{shown}; by the inventory it is {wanted!r}", "replctl config apply")


def roles(case: Case) -> Iterator[Check]:
    """What the inventory's roles need: login, rights, today's password."""
    primary = case.seen
    if not isinstance(primary, Primary):
        return
    inventory = case.situation.inventory
    there = {role.name: role for role in primary.server.roles}
    wrong = [name for name in (inventory.replication.user, inventory.app.user) if name not in there]
    wrong += [role.name for role in there.values() if not role.can_login or role.password_matches is False]
    replication = there.get(inventory.replication.user)
    if replication is not None and not (replication.replication or replication.superuser):
        wrong.append(replication.name)
    if wrong:
        detail = f"{' and '.join(dict.fromkeys(wrong))}: missing, without login or rights, or with another password"
        yield case.failed("roles", detail, f"replctl init-primary {case.name}")
    else:
        yield case.ok("roles", "have the inventory's passwords")
