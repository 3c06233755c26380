"""Whether a switchover may begin: both roles are swapped in imagination, and every reason why not is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from replctl.model.facts import NodeFacts, Primary, ProblemKind, Replica, Silent, Stopped, Unreachable
from replctl.model.plan import Refusal
from replctl.model.values import NodeName
from replctl.planning.situation import (
    Situation,
    later_timeline,
    needs_host,
    refuse_second_primary,
    refuse_silent,
    refuse_unreachable,
)
from replctl.planning.states import settings_at_start, settings_in_force, too_low
from replctl.planning.synchronous import check_synchronous
from replctl.planning.topology import is_ours, streams_from_primary, walsender_of
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.conninfo import parse_upstream
from replctl.postgres.standby_names import STANDBY_NAMES

STALE_REPLY_MS = 15_000
"""A standby reports every wal_receiver_status_interval, 10 s by default; one that is silent for longer is stuck."""
MAX_ARCHIVE_BACKLOG = 10
"""WAL segments. The old primary's postmaster ends only once the archiver has caught up."""
MAX_UNREPLAYED_BYTES = 1 << 30
"""More than this has to be replayed while writes are down."""
AUTO_CONF = "postgresql.auto.conf"
GLIBC_FREE_LOCALES = ("C", "POSIX", "C.UTF-8", "C.utf8")


def check_candidate(situation: Situation, old: Primary, name: NodeName) -> list[Refusal]:
    """Every reason why NODE cannot take over from the running primary."""
    facts = situation.facts.nodes[name]
    if isinstance(facts, Unreachable):
        return [refuse_unreachable(name, facts.ssh)]
    if isinstance(facts, Silent):
        return [refuse_silent(name, facts.sql)]
    if not isinstance(facts, Replica):
        return [_refuse("not-a-replica", name, f"{name} is no running replica", f"`replctl add-replica {name}` first.")]
    return [
        *needs_host(facts),
        *_check_link(situation, old, facts),
        *_check_replay(facts, old),
        *_check_swap(situation, old, facts),
        *_check_logins(situation, name),
        *_check_stop(old),
        *_check_collation(situation, old, facts),
        *_check_writable(old),
        *_check_writable(facts),
        *check_synchronous(situation, old, facts),
    ]


def check_continuation(situation: Situation, old: Stopped, facts: NodeFacts) -> list[Refusal]:
    """Every reason why an interrupted switchover to this node cannot go on."""
    name = facts.node
    if isinstance(facts, Unreachable):
        return [refuse_unreachable(name, facts.ssh)]
    if isinstance(facts, Silent):
        return [refuse_silent(name, facts.sql)]
    if not isinstance(facts, Replica):
        return [
            _refuse(
                "not-a-replica",
                name,
                f"{name} is no running replica",
                f"`replctl promote {old.node}` starts {old.node} again.",
            )
        ]
    refusals = needs_host(facts)
    if (
        facts.server.timeline != old.control.timeline
        or facts.replayed is None
        or facts.replayed <= old.control.checkpoint
    ):
        refusals.append(
            _refuse(
                "not-caught-up",
                name,
                f"{name} has not replayed the last thing that {old.node} wrote (its shutdown record begins at "
                f"{old.control.checkpoint}, {name} is at {facts.replayed})",
                f"`replctl promote {old.node}` starts {old.node} again as the primary; then switch over anew.",
            )
        )
    return [
        *refusals,
        *check_read_only(facts),
        *refuse_second_primary(situation, old),
        *_check_same_candidate(situation, old, name),
    ]


def check_beside(situation: Situation, old: Replica, candidate: Replica) -> list[Refusal]:
    """Every reason why an interrupted switchover cannot go on after its old primary was started as a standby."""
    name, timeline = candidate.node, candidate.server.timeline
    refusals = [*needs_host(candidate), *needs_host(old), *check_read_only(candidate)]
    received, replayed = old.received, candidate.replayed
    if old.server.timeline != timeline or received is None or replayed is None or replayed < received:
        refusals.append(
            _refuse(
                "not-caught-up",
                name,
                f"{name} has not replayed all that {old.node} has, which was the primary ({old.node} is at {received}, "
                f"{name} at {replayed})",
                f"Wait until {name} has caught up, or promote {old.node}.",
            )
        )
    later = later_timeline(situation, timeline, name)
    return [
        *refusals,
        *(
            _refuse(
                "later-timeline",
                other,
                f"{other} is on a later timeline than {name} ({timeline}): it went on without it",
                f"Promote {other} instead, or look at it: `replctl status` shows who is ahead.",
            )
            for other in later
        ),
    ]


def stuck_walsenders(old: Primary) -> tuple[int, ...]:
    """Walsenders whose standby has not answered for so long that the stop would wait for them."""
    return tuple(w.pid for w in old.server.walsenders if w.reply_age_ms is not None and w.reply_age_ms > STALE_REPLY_MS)


def switchover_notes(situation: Situation, old: Primary, candidate: Replica) -> list[str]:
    """What the operator should know before saying yes."""
    notes: list[str] = []
    if old.server.archive_backlog:
        notes.append(
            f"{old.node} still has {old.server.archive_backlog} WAL segments to archive before it can come back"
        )
    if old.server.prepared_transactions:
        notes.append(f"{old.server.prepared_transactions} prepared transactions go on to exist on {candidate.node}")
    if situation.inventory.sync is None and candidate.server.setting(STANDBY_NAMES):
        notes.append(
            f"synchronous_standby_names is set on {candidate.node}: commits wait for the standbys that it names"
        )
    notes.extend(
        f"{login.source}: the login at {login.target} could not be tried beforehand: {login.problem.message}"
        for login in situation.facts.logins
        if login.problem is not None and login.problem.kind is ProblemKind.FORWARDING
    )
    return notes


def _refuse(code: str, node: NodeName, message: str, hint: str) -> Refusal:
    return Refusal(code, node, message, hint)


def _check_link(situation: Situation, old: Primary, candidate: Replica) -> list[Refusal]:
    name = candidate.node
    walsender = walsender_of(situation.inventory, old.server, candidate)
    if not streams_from_primary(situation.inventory, situation.facts, candidate) or walsender is None:
        return [
            _refuse(
                "not-streaming",
                name,
                f"{name} does not stream from {old.node}",
                f"`replctl status` says why; `replctl add-replica {name}` mends a node that follows another.",
            )
        ]
    if walsender.state != "streaming":
        return [
            _refuse(
                "catching-up",
                name,
                f"{name} is still catching up ({walsender.state})",
                "Wait until `replctl status` shows it as streaming.",
            )
        ]
    if walsender.pid in stuck_walsenders(old):
        return [
            _refuse(
                "silent-standby",
                name,
                f"{name} has not reported its position for {(walsender.reply_age_ms or 0) / 1000:.0f} s",
                "It is frozen, or its link is dead: mend that, or promote another node.",
            )
        ]
    return []


def _check_replay(candidate: Replica, old: Primary) -> list[Refusal]:
    name, server = candidate.node, candidate.server
    refusals: list[Refusal] = []
    if candidate.paused != "not paused":
        refusals.append(
            _refuse("paused", name, f"{name}: replay is paused", f"Run `SELECT pg_wal_replay_resume();` on {name}.")
        )
    if server.setting("recovery_min_apply_delay") not in ("", "0"):
        refusals.append(
            _refuse(
                "delayed",
                name,
                f"{name} replays with a delay on purpose",
                "Promote a node without recovery_min_apply_delay.",
            )
        )
    if server.timeline != old.server.timeline:
        refusals.append(
            _refuse(
                "timeline",
                name,
                f"{name} is on timeline {server.timeline}, {old.node} on {old.server.timeline}",
                "Wait until it follows, or promote another node.",
            )
        )
    if candidate.replayed is not None and old.current - candidate.replayed > MAX_UNREPLAYED_BYTES:
        behind = (old.current - candidate.replayed) >> 20
        refusals.append(
            _refuse(
                "far-behind",
                name,
                f"{name} has {behind} MiB left to replay",
                "Wait until it has caught up: writes would be down meanwhile.",
            )
        )
    return [*refusals, *check_read_only(candidate)]


def check_read_only(candidate: Replica) -> list[Refusal]:
    if candidate.server.setting("default_transaction_read_only") != "on":
        return []
    return [
        _refuse(
            "read-only",
            candidate.node,
            f"{candidate.node}: default_transaction_read_only is on, so it would refuse writes as the primary",
            "Set it to off there and reload.",
        )
    ]


def _check_swap(situation: Situation, old: Primary, candidate: Replica) -> list[Refusal]:
    """Slots and walsenders for the topology afterwards; the ordered settings with the roles swapped."""
    name, server = candidate.node, candidate.server
    followers = len(situation.inventory.nodes) - 1
    refusals: list[Refusal] = []
    foreign = sum(1 for slot in server.slots if not is_ours(slot))
    for setting, used in (("max_replication_slots", foreign), ("max_wal_senders", 0)):
        if int(server.setting(setting) or 0) < followers + used:
            refusals.append(
                _refuse(
                    "budget",
                    name,
                    f"{name}: {setting} is {server.setting(setting)}, and {followers + used} would be needed",
                    "Raise it under postgres.parameters and restart the node.",
                )
            )
    then = settings_at_start(old)
    refusals += _check_ordered(old.node, then, candidate, f"`replctl config apply {old.node}` writes it.")
    for follower in (replica for replica in situation.facts.replicas if replica.node != name):
        now = settings_in_force(follower)
        refusals += _check_ordered(follower.node, now, candidate, f"`replctl config apply {follower.node} --restart`.")
    return [*refusals, *_check_logical_slots(old)]


def _check_ordered(
    follower: NodeName, theirs: Mapping[str, str], candidate: Replica, restarted: str
) -> Iterator[Refusal]:
    """A hot standby whose value is below its primary's cannot replay, and does not start (PostgreSQL docs, 27.4.3)."""
    for setting, (own, wanted) in too_low(theirs, settings_in_force(candidate)).items():
        yield _refuse(
            "ordered-setting",
            follower,
            f"{follower}: {setting} is {own}, below the {wanted} of {candidate.node}",
            f"Give both the same value under postgres.parameters: {restarted}",
        )


def _check_logical_slots(old: Primary) -> list[Refusal]:
    return [
        _refuse(
            "logical-slot",
            old.node,
            f"{old.node} has the logical slot {slot.name}, which does not move: its subscriber would stop",
            "End that subscription and drop the slot first.",
        )
        for slot in old.server.slots
        if slot.kind == "logical" and not slot.temporary
    ]


def _check_logins(situation: Situation, name: NodeName) -> list[Refusal]:
    return [
        _refuse(
            "replication-login",
            login.source,
            f"{login.source} cannot log in at {name} for replication: {login.problem.message}",
            login.problem.hint,
        )
        for login in situation.facts.logins
        if login.target == name and login.problem is not None and login.problem.kind is not ProblemKind.FORWARDING
    ]


def _check_stop(old: Primary) -> list[Refusal]:
    if old.server.archive_backlog <= MAX_ARCHIVE_BACKLOG:
        return []
    return [
        _refuse(
            "archive-backlog",
            old.node,
            f"{old.node} has {old.server.archive_backlog} WAL segments waiting for archive_command",
            "Mend archiving first: the old primary could not come back until they are archived.",
        )
    ]


def _check_writable(node: Primary | Replica) -> list[Refusal]:
    """What makes a primary a standby, and a standby the primary, are files in their data directories."""
    if node.host is None or node.host.directory.can_write:
        return []
    return [
        _refuse(
            "read-only-directory",
            node.node,
            f"{node.node}: the OS user cannot make files in {node.host.directory.path}, so that its role could not "
            "be changed",
            "Give the directory back to the OS user (mode 0700), or mount its file system for writing.",
        )
    ]


def _check_collation(situation: Situation, old: Primary, candidate: Replica) -> list[Refusal]:
    """Text indexes sorted by one glibc's rules are corrupt under another's."""
    if old.host is None or candidate.host is None or old.host.glibc == candidate.host.glibc:
        return []
    if situation.node(candidate.node).postgres.locale in GLIBC_FREE_LOCALES:
        return []
    return [
        _refuse(
            "collation",
            candidate.node,
            f"{candidate.node} has {candidate.host.glibc}, {old.node} has {old.host.glibc}: text sorts differently",
            "Bring both hosts to the same release of the operating system first.",
        )
    ]


def _check_same_candidate(situation: Situation, old: Stopped, name: NodeName) -> list[Refusal]:
    """The old primary is made to follow the candidate right before the promote request: that one may still be carried
    out, even if the candidate is in recovery now, or cannot be seen."""
    auto_conf = parse_conf(old.host.files.get(AUTO_CONF, ""))
    promised = parse_upstream(auto_conf.get("primary_conninfo", ""))
    node = situation.node(name)
    if not old.host.standby_signal or promised == (node.host, node.postgres.port):
        return []
    other = next((n for n in situation.inventory.nodes.values() if (n.host, n.postgres.port) == promised), None)
    if other is None:
        return []
    return [
        _refuse(
            "other-candidate",
            other.name,
            f"a switchover from {old.node} to {other.name} was interrupted, and {other.name} may have been promoted",
            f"`replctl promote {other.name}` finishes it; `replctl promote {old.node}` calls it off if it was not.",
        )
    ]
