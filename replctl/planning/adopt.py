"""Plans ``init-primary --adopt``: a running primary that somebody else made becomes the cluster's.

It keeps all that it has. Roles come first and pg_hba.conf after them, so that no login is refused in between. A
restart happens only when it was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from replctl.model.facts import Primary, Replica
from replctl.model.host import HostFacts
from replctl.model.plan import Plan, Refusal, Refused, Step
from replctl.model.values import NodeName
from replctl.planning.add_replica import join_running
from replctl.planning.clone_target import SUPPORTED
from replctl.planning.role_change import restarted_primary
from replctl.planning.services import check_service, starts_with_host
from replctl.planning.situation import (
    Situation,
    needs_host,
    publish_again,
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
    """What makes a running primary this cluster's: its roles, our settings beside its own, the env file."""
    name, host = primary.node, primary.host
    refusals = needs_host(primary)
    if refusals or host is None:
        return situation.refuse(COMMAND, refusals)
    refusals = [*_check(situation, primary), *check_service(situation.node(name), host)]
    if refusals:
        return situation.refuse(COMMAND, refusals)
    changed = situation.changed_config(name, primary.server.major)
    waiting = _waiting(primary, changed)
    restart = restarted_primary(name) if waiting and adoption is Adoption.WITH_RESTART else ()
    replicas = _replicas(situation, primary)
    stages = [
        sequence(
            *_roles(situation, primary),
            write_passfile(situation, name),
            *write_config(name, host, changed, Pending.PLANNED),
            *restart,
            *starts_with_host(situation, name),
        ),
        side_by_side(_adopt_replica(situation, primary, replica) for replica in replicas),
        sequence(publish_again(situation, name, [replica.node for replica in replicas])),
    ]
    return situation.plan(
        COMMAND,
        stages,
        notes=[
            *_diffs(name, host, changed),
            *(note for replica in replicas for note in _diffs_of(situation, replica)),
            *_told(primary, waiting, adoption),
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
    if server.hba_errors:
        yield Refusal(
            "config-invalid",
            name,
            f"{name}: pg_hba.conf has lines that the server cannot use: {'; '.join(server.hba_errors)}",
            "Mend them first: a reload would not take effect.",
        )


def _roles(situation: Situation, primary: Primary) -> Iterator[Step]:
    name, inventory = primary.node, situation.inventory
    whys = {
        RoleKind.ADMIN: f"replctl logs in as {inventory.admin.user} from now on",
        RoleKind.REPLICATION: f"replicas log in as {inventory.replication.user}",
        RoleKind.APP: f"the application logs in as {inventory.app.user}",
    }
    for kind, why in whys.items():
        yield step(f"role-{kind.value}", name, CreateRole(kind), why)
    owner, app = primary.server.databases.get(inventory.app.database), inventory.app
    if owner != app.user:
        had = f"; it was {owner}'s" if owner else ""
        yield step("database", name, CreateDatabase(), f"{app.database} belongs to {app.user}{had}")
    if not primary.server.rewind_granted:
        why = f"{inventory.replication.user} can serve pg_rewind when a node has to rejoin"
        yield step("grant-rewind", name, GrantRewind(), why)


def _waiting(primary: Primary, changed: tuple[ConfigFile, ...]) -> tuple[str, ...]:
    """Of our settings, those that would differ from the running server's until a restart."""
    ours = next((file for file in changed if file.name == CONF), None)
    wanted = parse_conf(ours.text) if ours is not None else {}
    differing = {name for name in AT_RESTART & wanted.keys() if wanted[name] != primary.server.setting(name)}
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
