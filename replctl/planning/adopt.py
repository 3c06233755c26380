"""Plans ``init-primary --adopt``: a running primary that somebody else made becomes the cluster's.

It keeps all that it has. Roles come first and pg_hba.conf after them, so that no login is refused in between. A
restart happens only when it was asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from difflib import unified_diff
from enum import StrEnum

from replctl.model.actions import (
    ConfigFile,
    CreateDatabase,
    CreateRole,
    GrantRewind,
    Pending,
    RoleKind,
)
from replctl.model.facts import Primary, Replica, ServerFacts
from replctl.model.host import HostFacts
from replctl.model.inventory import Inventory
from replctl.model.plan import Plan, Refusal, Refused, Step
from replctl.model.values import NodeName
from replctl.planning.add_replica import join_running
from replctl.planning.adopt_checks import check_reach, check_replica, check_restart, check_taken_over
from replctl.planning.adopt_notes import overrides, told_of_others, told_overrides
from replctl.planning.clone_target import SUPPORTED
from replctl.planning.role_change import restarted_primary
from replctl.planning.services import check_service, starts_with_host
from replctl.planning.situation import (
    Situation,
    needs_host,
    publish,
    sequence,
    side_by_side,
    step,
    unreachable_notes,
    waiting_for,
    write_config,
    write_passfile,
)
from replctl.postgres.adopted import AT_RESTART, CONF
from replctl.postgres.conf_syntax import parse_conf

COMMAND = "init-primary"


class Adoption(StrEnum):
    """What init-primary may do to a primary that replctl did not make."""

    REFUSED = "refused"
    WITHOUT_RESTART = "without restart"
    WITH_RESTART = "with restart"


def plan_adopt(situation: Situation, primary: Primary, adoption: Adoption) -> Plan | Refused:
    """What makes a running primary this cluster's: its roles, our settings beside its own, the env file.

    A run that was broken off has left some of it done: nothing of the rest, the restart least of all, is forgotten.
    """
    name, host = primary.node, primary.host
    refusals = needs_host(primary)
    if refusals or host is None:
        return situation.refuse(COMMAND, refusals)
    replicas = _replicas(situation, primary)
    rendered = situation.rendered(name, primary.server.major)
    ours = "".join(file.text for file in rendered if file.name == CONF)
    wanted = parse_conf(ours)
    overridden = overrides(primary.server, host, wanted)
    waiting = _waiting(primary, wanted, [one.name for one in overridden])
    restart = restarted_primary(name) if waiting and adoption is Adoption.WITH_RESTART else ()
    refusals = [
        *_check(situation, primary),
        *check_taken_over(situation, primary, host, wanted),
        *(check_restart(situation, primary.server, name) if restart else check_reach(situation, primary)),
        *(refusal for replica in replicas for refusal in check_replica(situation, replica)),
        *check_service(situation.node(name), host),
    ]
    if refusals:
        return situation.refuse(COMMAND, refusals)
    changed = situation.changed_config(name, primary.server.major)
    stages = [
        sequence(
            *_roles(situation, primary),
            write_passfile(situation, name),
            *write_config(name, host, changed, Pending.PLANNED),
            *restart,
            *starts_with_host(situation, name),
        ),
        side_by_side(_adopt_replica(situation, primary, replica) for replica in replicas),
        sequence(publish(situation, name, [replica.node for replica in replicas])),
    ]
    return situation.plan(
        COMMAND,
        stages,
        notes=[
            *_diffs(name, host, changed),
            *(note for replica in replicas for note in _diffs_of(situation, replica)),
            *_told(primary, waiting, adoption),
            *told_overrides(name, overridden),
            *told_of_others(situation, primary, host, wanted),
            *_limits(primary, host),
            *unreachable_notes(situation, [name]),
        ],
    )


def _replicas(situation: Situation, primary: Primary) -> list[Replica]:
    """Standbys of the inventory that stream from it already, whatever slots they use."""
    following = waiting_for(situation, primary.node)
    return [replica for replica in situation.facts.replicas if replica.node in following]


def _adopt_replica(situation: Situation, primary: Primary, replica: Replica) -> tuple[Step, ...]:
    """Its own configuration stays, as the primary's does; it streams by a slot and a name of its own from now on."""
    assert replica.host is not None
    changed = situation.changed_config(replica.node, replica.server.major)
    return (
        *write_config(replica.node, replica.host, changed),
        *join_running(situation, primary, replica),
    )


def _check(situation: Situation, primary: Primary) -> Iterator[Refusal]:
    name, server, wanted = primary.node, primary.server, situation.node(primary.node).postgres
    if server.major not in SUPPORTED:
        yield Refusal(
            "version",
            name,
            f"{name} runs PostgreSQL {server.major}, which is not supported",
            f"Use PostgreSQL {SUPPORTED.start} to {SUPPORTED[-1]}.",
        )
    if server.setting("port") != str(wanted.port):
        yield Refusal(
            "other-instance",
            name,
            f"{name}: the server in {wanted.data_dir} listens on port {server.setting('port')}, not {wanted.port}",
            f"Mend postgres.port of {name} in the inventory: clients know the port that it has.",
        )


def _roles(situation: Situation, primary: Primary) -> Iterator[Step]:
    name, inventory = primary.node, situation.inventory
    whys = {
        RoleKind.ADMIN: f"replctl logs in as {inventory.admin.user} from now on",
        RoleKind.REPLICATION: f"replicas log in as {inventory.replication.user}",
        RoleKind.APP: f"the application logs in as {inventory.app.user}",
    }
    for kind, why in whys.items():
        if not role_fits(primary.server, inventory, kind):
            yield step(f"role-{kind.value}", name, CreateRole(kind), why)
    owner, app = primary.server.databases.get(inventory.app.database), inventory.app
    if owner != app.user:
        had = f"; it was {owner}'s" if owner else ""
        yield step("database", name, CreateDatabase(), f"{app.database} belongs to {app.user}{had}")
    if not primary.server.rewind_granted:
        why = f"{inventory.replication.user} can serve pg_rewind when a node has to rejoin"
        yield step("grant-rewind", name, GrantRewind(), why)


def role_fits(server: ServerFacts, inventory: Inventory, kind: RoleKind) -> bool:
    """Whether one of our roles is there and lets in whoever has the inventory's password."""
    users = {
        RoleKind.ADMIN: inventory.admin.user,
        RoleKind.REPLICATION: inventory.replication.user,
        RoleKind.APP: inventory.app.user,
    }
    found = next((role for role in server.roles if role.name == users[kind]), None)
    if found is None or not found.can_login or found.password_matches is not True:
        return False
    able = {RoleKind.ADMIN: found.superuser, RoleKind.REPLICATION: found.replication, RoleKind.APP: True}
    return able[kind]


def _waiting(primary: Primary, wanted: Mapping[str, str], overridden: Collection[str]) -> tuple[str, ...]:
    """Of our settings, those that would differ from the running server's until a restart, written already or not."""
    ours = (AT_RESTART & wanted.keys()).difference(overridden)
    differing = {name for name in ours if wanted[name] != primary.server.setting(name)}
    pending = {name for name, setting in primary.server.settings.items() if setting.pending_restart}
    return tuple(sorted(differing | pending))


def _told(primary: Primary, waiting: tuple[str, ...], adoption: Adoption) -> Iterator[str]:
    if not waiting:
        return
    names = ", ".join(waiting)
    if adoption is Adoption.WITH_RESTART:
        yield f"{primary.node} is restarted, for {names}: writes are refused meanwhile"
    else:
        yield (
            f"{names} take effect only with a restart of {primary.node}, which is left to you: "
            f"`replctl restart {primary.node}`, or --restart here"
        )


def _limits(primary: Primary, host: HostFacts) -> Iterator[str]:
    """What a cluster that was made differently will not be able to do."""
    control = host.control
    if control is not None and not control.checksums:
        yield (
            f"{primary.node} has no data checksums: broken pages are not noticed, and rejoin by pg_rewind needs "
            "wal_log_hints"
        )
    if primary.server.tablespaces:
        names = ", ".join(primary.server.tablespaces)
        yield f"{primary.node} has tablespaces ({names}): add-replica refuses to clone it"


def _diffs_of(situation: Situation, replica: Replica) -> Iterator[str]:
    if replica.host is not None:
        changed = situation.changed_config(replica.node, replica.server.major)
        yield from _diffs(replica.node, replica.host, changed)


def _diffs(name: NodeName, host: HostFacts, changed: tuple[ConfigFile, ...]) -> Iterator[str]:
    """Each file's changed lines, as diff(1) shows them."""
    for file in changed:
        old = host.files.get(file.name, "").splitlines()
        lines = list(unified_diff(old, file.text.splitlines(), lineterm="", n=1))[2:]
        yield "\n".join((f"{file.name} of {name} changes:", *lines))
