"""Plans ``rotate-password``: a role's new password, which stands in the inventory's place for it already.

PostgreSQL keeps one verifier a role. Sessions that are open stay; a new login needs the new password from the moment
on that the primary has it, and on a standby from the moment on that it has replayed it. So the primary is first, and
who reads the password from a file of ours finds it there right after.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from replctl.model.actions import (
    AwaitPassword,
    AwaitStreaming,
    CheckLogin,
    RestorePassword,
    RoleKind,
    SetPassword,
)
from replctl.model.facts import Foreign, NoInstance, Primary, ProblemKind, Replica, ServerFacts
from replctl.model.plan import Plan, Refusal, Refused, Stage, Step
from replctl.model.values import NodeName
from replctl.planning.role_change import wake
from replctl.planning.situation import (
    Situation,
    needs_primary,
    publish,
    sequence,
    side_by_side,
    step,
    unreachable_notes,
    write_passfile,
)
from replctl.planning.topology import proven_replicas, streams_from_primary, upstream_of

COMMAND = "rotate-password"


def plan_rotate_password(situation: Situation, kind: RoleKind) -> Plan | Refused:
    """What ends with every server, passfile and env file at the password that the inventory has."""
    primary = situation.facts.primary
    refusals = needs_primary(situation, COMMAND)
    if refusals or primary is None:
        return situation.refuse(COMMAND, [_with_way_in(refusal, kind) for refusal in refusals])
    refusals = [*_no_role(situation, primary, kind), *_paused(situation, kind)]
    if refusals:
        return situation.refuse(COMMAND, refusals)
    new = not _knows_it(primary.server, _user(situation, kind))
    stages = [sequence(_set(situation, primary, kind) if new else None), *_spread(situation, primary, kind, new=new)]
    notes = [*([_MEANWHILE[kind]] if new else []), *unreachable_notes(situation, [primary.node])]
    return situation.plan(COMMAND, stages, notes=notes, unfinished=_unfinished(situation, kind))


_MEANWHILE = {
    RoleKind.REPLICATION: "what streams now goes on; a standby that connects again before its passfile is written is "
    "refused, and tries again by itself",
    RoleKind.APP: "open connections stay; a new one with the old password is refused until the application has read "
    "the env file again",
    RoleKind.ADMIN: "other programs that log in as the admin are refused until they have the new password",
}


def _with_way_in(refusal: Refusal, kind: RoleKind) -> Refusal:
    """The inventory has a password that no server knows yet, and the host did not let the OS user in either."""
    if kind is not RoleKind.ADMIN or refusal.code not in {ProblemKind.SQL, ProblemKind.SQL_AUTH}:
        return refusal
    return replace(refusal, hint=f"{refusal.hint} Or pass the admin's old password: --old-password-file FILE.")


def _user(situation: Situation, kind: RoleKind) -> str:
    inventory = situation.inventory
    users = {
        RoleKind.ADMIN: inventory.admin.user,
        RoleKind.REPLICATION: inventory.replication.user,
        RoleKind.APP: inventory.app.user,
    }
    return users[kind]


def _knows_it(server: ServerFacts, user: str) -> bool:
    return any(role.name == user and role.password_matches is True for role in server.roles)


def _set(situation: Situation, primary: Primary, kind: RoleKind) -> Step:
    user = _user(situation, kind)
    why = f"{user} logs in with the password that the inventory has now"
    return step("password", primary.node, SetPassword(kind), why, undo=RestorePassword(kind))


def _spread(situation: Situation, primary: Primary, kind: RoleKind, *, new: bool) -> list[Stage]:
    match kind:
        case RoleKind.REPLICATION:
            streaming = _streaming(situation)
            names = _with_passfile(situation)
            return [side_by_side(_follows(situation, primary, name, streaming, new=new) for name in names)]
        case RoleKind.APP:
            env = publish(situation, primary.node, proven_replicas(situation.inventory, situation.facts))
            return [Stage(_knowing(situation, kind, new=new)), sequence(env)]
        case RoleKind.ADMIN:
            login = _knows(primary.node, kind) if new else None
            return [sequence(login), Stage(_knowing(situation, kind, new=new))]


def _with_passfile(situation: Situation) -> list[NodeName]:
    return [
        name
        for name, seen in situation.facts.nodes.items()
        if situation.host_of(name) is not None and not isinstance(seen, NoInstance | Foreign)
    ]


def _follows(
    situation: Situation, primary: Primary, name: NodeName, streaming: Set[NodeName], *, new: bool
) -> tuple[Step, ...]:
    """Its passfile, the login with what stands there, and the link that went on meanwhile."""
    passfile = write_passfile(situation, name)
    if passfile is None and not new:
        return ()
    found = [] if passfile is None else [passfile]
    if name != primary.node:
        found.append(step("login", name, CheckLogin(primary.node), f"{name} must be let in at {primary.node} with it"))
    return (*found, *_link(situation, primary, name, streaming))


def _link(situation: Situation, primary: Primary, name: NodeName, streaming: Set[NodeName]) -> tuple[Step, ...]:
    replica = situation.facts.nodes[name]
    if not isinstance(replica, Replica):
        return ()
    upstream = upstream_of(situation.inventory, situation.facts, replica)
    if upstream is None or upstream.node != primary.node:
        return ()
    again = step("streaming", name, AwaitStreaming(primary.node), f"{name} follows {primary.node} as before")
    return (again,) if name in streaming else (wake(name), again)


def _knowing(situation: Situation, kind: RoleKind, *, new: bool) -> tuple[tuple[Step, ...], ...]:
    """The standbys that have still to replay it; what replays late by order is not waited for."""
    user, streaming = _user(situation, kind), _streaming(situation)
    return tuple(
        (_knows(replica.node, kind),)
        for replica in situation.facts.replicas
        if replica.node in streaming and not _replays_late(replica) and (new or not _knows_it(replica.server, user))
    )


def _knows(name: NodeName, kind: RoleKind) -> Step:
    return step("known", name, AwaitPassword(kind), f"{name} must let in whoever has the new password")


def _streaming(situation: Situation) -> Set[NodeName]:
    facts = situation.facts
    return {replica.node for replica in facts.replicas if streams_from_primary(situation.inventory, facts, replica)}


def _replays_late(replica: Replica) -> bool:
    return replica.paused != "not paused" or replica.server.setting("recovery_min_apply_delay") not in {"", "0"}


def _no_role(situation: Situation, primary: Primary, kind: RoleKind) -> list[Refusal]:
    user = _user(situation, kind)
    if any(role.name == user for role in primary.server.roles):
        return []
    return [
        Refusal(
            "no-role",
            primary.node,
            f"{primary.node}: there is no role {user} whose password could be changed",
            f"`replctl init-primary {primary.node}` makes the roles that are missing.",
        )
    ]


def _paused(situation: Situation, kind: RoleKind) -> list[Refusal]:
    """A standby that replays nothing would be listed in the env file with a password that it does not know."""
    if kind is not RoleKind.APP:
        return []
    return [
        Refusal(
            "paused",
            replica.node,
            f"{replica.node}: replay is paused, and the application would be refused there with its new password",
            f"`SELECT pg_wal_replay_resume();` on {replica.node}, then run this again.",
        )
        for replica in situation.facts.replicas
        if replica.paused != "not paused"
    ]


def _unfinished(situation: Situation, kind: RoleKind) -> list[str]:
    """Whoever is away comes back with the old password in its passfile."""
    if kind is not RoleKind.REPLICATION:
        return []
    return [
        f"When {name} can be reached again: `replctl rotate-password replication`."
        for name, seen in situation.facts.nodes.items()
        if situation.host_of(name) is None and not isinstance(seen, Foreign)
    ]
