"""What every planner starts from, and the refusals that several of them share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from replctl.model.actions import (
    Action,
    ConfigFile,
    Pending,
    Place,
    PublishEnv,
    ReloadConfig,
    WriteConfig,
    WritePassfile,
)
from replctl.model.errors import ExitCode
from replctl.model.facts import (
    ClusterFacts,
    Foreign,
    NodeFacts,
    Primary,
    Problem,
    Replica,
    Silent,
    Stopped,
    Unreachable,
)
from replctl.model.host import HostFacts
from replctl.model.inventory import Inventory, Node
from replctl.model.plan import OnFailure, Plan, Refusal, Refused, Stage, Step
from replctl.model.values import NodeName, Timeline
from replctl.planning.commits import with_synchronous
from replctl.planning.publishing import with_pushes
from replctl.planning.topology import proven_replicas, upstream_of
from replctl.postgres.adopted import CONF, adopted_config, adopted_settings, inheritable, inherited_settings
from replctl.postgres.conf_syntax import parse_conf
from replctl.postgres.layout import layout_of
from replctl.postgres.ownership import is_rendered_by_us
from replctl.postgres.render import POSTGRESQL_CONF, Renderer, Templates
from replctl.postgres.settings import socket_dir

HBA = "pg_hba.conf"
IN_PRODUCTION = "in production"
"""pg_control's word for a server that runs, or crashed, outside of recovery; beside standby.signal it is a copy's."""


@dataclass(frozen=True)
class Situation:
    """Inventory, facts and templates: all that a planner looks at beside the intent."""

    inventory: Inventory
    facts: ClusterFacts
    templates: Templates

    def node(self, name: NodeName) -> Node:
        return self.inventory.nodes[name]

    def host_of(self, name: NodeName) -> HostFacts | None:
        """What SSH said of a node; None when it did not answer."""
        return self.facts.host_of(name)

    def rendered(self, name: NodeName, major: int) -> tuple[ConfigFile, ...]:
        """The node's configuration files as the inventory has them now. A file of somebody else's keeps what it has."""
        key = (name, major)
        if key not in self._rendered:
            self._rendered[key] = self._render(name, major)
        return self._rendered[key]

    @cached_property
    def _rendered(self) -> dict[tuple[NodeName, int], tuple[ConfigFile, ...]]:
        return {}

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.inventory, self.templates)

    def _render(self, name: NodeName, major: int) -> tuple[ConfigFile, ...]:
        host = self.host_of(name)
        node = self.node(name)
        files: Mapping[str, str] = host.files if host is not None else {}
        theirs = files.get(POSTGRESQL_CONF)
        inherited = inherited_settings(theirs) if theirs is not None else self._inherited
        rendered = self._renderer.config(
            node,
            major=major,
            socket_dir=socket_dir(node, can_link=host is not None and host.can_link_socket_dir),
            places=layout_of(node, host).places if host is not None else {},
            inherited=inherited,
        )
        if host is None or theirs is None or is_rendered_by_us(files):
            return rendered
        checksums = host.control is not None and host.control.checksums
        settings = adopted_settings(self.inventory, node, self._live(name, files), checksums=checksums)
        return adopted_config(files, settings, next(file.text for file in rendered if file.name == HBA))

    @cached_property
    def _inherited(self) -> dict[str, str]:
        """What a new node takes over from a primary that somebody else configured."""
        return inheritable(self.facts.file_settings, self.inventory)

    def _live(self, name: NodeName, files: Mapping[str, str]) -> Mapping[str, str]:
        facts = self.facts.nodes[name]
        if isinstance(facts, Primary | Replica):
            return {key: setting.value for key, setting in facts.server.settings.items()}
        return parse_conf(files.get(CONF, ""))

    def changed_config(self, name: NodeName, major: int, only: Iterable[str] = ()) -> tuple[ConfigFile, ...]:
        """The rendered files that differ from what stands in the node's data directory."""
        host = self.host_of(name)
        wanted = tuple(only)
        return tuple(
            file
            for file in self.rendered(name, major)
            if (not wanted or file.name in wanted) and (host is None or host.files.get(file.name) != file.text)
        )

    def plan(
        self, command: str, stages: Sequence[Stage], *, notes: Iterable[str] = (), unfinished: Iterable[str] = ()
    ) -> Plan:
        """A plan of the stages that hold at least one step, with ids made unique."""
        seen: Counter[str] = Counter()

        def named(one: Step) -> Step:
            seen[one.id] += 1
            return one if seen[one.id] == 1 else replace(one, id=f"{one.id}-{seen[one.id]}")

        stages = with_synchronous(self.inventory, self.facts, command, stages)
        kept = [Stage(lanes, s.on_failure) for s in stages if (lanes := tuple(lane for lane in s.lanes if lane))]
        stages = tuple(
            Stage(tuple(tuple(named(s) for s in lane) for lane in stage.lanes), stage.on_failure)
            for stage in with_pushes(self.inventory.app.publish, kept)
        )
        return Plan(command, self.inventory.cluster, stages, tuple(notes), tuple(unfinished))

    def refuse(self, command: str, refusals: Iterable[Refusal]) -> Refused:
        return Refused(command, self.inventory.cluster, tuple(refusals))


def step(kind: str, node: NodeName | None, action: Action, why: str, undo: Action | None = None) -> Step:
    """A step whose id names the kind of change and the node."""
    return Step(f"{kind}:{node}" if node else kind, node, action, why, undo)


def forward_only(one: Step) -> Step:
    """The step, from whose beginning on its lane is not undone: what it asks for may happen even if it fails."""
    return replace(one, point_of_no_return=True)


def sequence(*steps: Step | None) -> Stage:
    """One lane of the steps that are needed; a failure ends the plan."""
    return Stage((tuple(s for s in steps if s is not None),))


def side_by_side(lanes: Iterable[tuple[Step, ...]]) -> Stage:
    """Independent lanes, one node each: one that fails does not stop the others."""
    return Stage(tuple(lanes), OnFailure.GO_ON)


def refuse_unreachable(node: NodeName, problem: Problem) -> Refusal:
    """A node that the command needs did not answer."""
    return Refusal(problem.kind.value, node, problem.message, problem.hint, ExitCode.UNREACHABLE)


def refuse_silent(node: NodeName, problem: Problem) -> Refusal:
    """PostgreSQL runs and does not let us in. A wrong password is the inventory's; nothing was changed."""
    return Refusal(problem.kind.value, node, problem.message, problem.hint)


def needs_host(facts: NodeFacts) -> list[Refusal]:
    """SSH has to answer for any change on a node."""
    if isinstance(facts, Unreachable | Primary | Replica) and facts.ssh is not None:
        return [refuse_unreachable(facts.node, facts.ssh)]
    return []


def needs_primary(situation: Situation, command: str) -> list[Refusal]:
    """Exactly one reachable node has to run as the primary."""
    facts = situation.facts
    if facts.primary is not None:
        return needs_host(facts.primary)
    if len(facts.primaries) > 1:
        return [_two_primaries(facts.primaries)]
    unknown = [
        refuse_unreachable(node.node, node.ssh) if isinstance(node, Unreachable) else refuse_silent(node.node, node.sql)
        for node in facts.nodes.values()
        if isinstance(node, Unreachable | Silent)
    ]
    if unknown:
        return unknown
    return [
        Refusal(
            "no-primary",
            None,
            f"no node runs as primary, and {command} needs one",
            "See `replctl status`: `replctl init-primary NODE` starts a stopped primary again.",
        )
    ]


def _two_primaries(primaries: Sequence[Primary]) -> Refusal:
    names = " and ".join(primary.node for primary in primaries)
    if len({primary.server.system_identifier for primary in primaries}) == 1:
        return Refusal(
            "two-primaries",
            None,
            f"{names} both run as primary",
            "Stop the one that the application does not write to, after comparing what each holds: `replctl status` "
            "shows their timelines.",
        )
    each = ", ".join(f"{primary.node} has {primary.server.system_identifier}" for primary in primaries)
    return Refusal(
        "two-primaries",
        None,
        f"{names} both run as primary, of different clusters (system identifiers: {each})",
        "Pin the one that is meant as `system_identifier` in the inventory: the other node is then foreign, and left "
        "alone.",
    )


def unreachable_notes(situation: Situation, needed: Iterable[NodeName]) -> list[str]:
    """Nodes that the command can do without, but the operator should know of."""
    skip = set(needed)
    return [
        f"{node.node} cannot be reached and stays as it is: {node.ssh.message}"
        for node in situation.facts.nodes.values()
        if isinstance(node, Unreachable) and node.node not in skip
    ]


def refresh_hba(situation: Situation, name: NodeName) -> tuple[Step, ...]:
    """Bring a running node's pg_hba.conf to the inventory's nodes: every node may have to stream from it one day."""
    facts = situation.facts.nodes[name]
    host = situation.host_of(name)
    if host is None or host.major is None or isinstance(facts, Unreachable):
        return ()
    return write_config(name, host, situation.changed_config(name, host.major, only=(HBA,)))


def write_config(
    name: NodeName, host: HostFacts, changed: tuple[ConfigFile, ...], pending: Pending = Pending.WARN
) -> tuple[Step, ...]:
    """Replace files of a running node and have it read them, or nothing when none differs."""
    if not changed:
        return ()
    old = tuple(ConfigFile(file.name, host.files[file.name]) for file in changed if file.name in host.files)
    names = " and ".join(file.name for file in changed)
    return (
        step(
            "write-config",
            name,
            WriteConfig(Place.LIVE, changed),
            f"{names} must say what the inventory says",
            undo=WriteConfig(Place.LIVE, old),
        ),
        step("reload", name, ReloadConfig(pending), "the server has to read the new files", undo=ReloadConfig(pending)),
    )


def write_passfile(situation: Situation, name: NodeName) -> Step | None:
    """The passfile with every peer's line, unless it stands there already."""
    host = situation.host_of(name)
    if host is not None and host.passfile_current:
        return None
    return step("passfile", name, WritePassfile(), "a standby reads the replication password for its peers there")


def publish(situation: Situation, primary: NodeName, replicas: Iterable[NodeName]) -> Step | None:
    """The env file, unless it lists just these nodes already, and rightly so: one that is brought back by this very
    plan may fail to come back, and is left out then. What hosts of the application have is only seen by the push."""
    wanted = situation.inventory.reading_order(primary, set(replicas))
    env, app = situation.facts.env, situation.inventory.app
    proven = set(wanted) <= set(proven_replicas(situation.inventory, situation.facts))
    if proven and env.current and env.primary == primary and env.replicas == wanted and not app.publish:
        return None
    return publish_again(situation, primary, wanted)


def publish_again(situation: Situation, primary: NodeName, replicas: Iterable[NodeName]) -> Step:
    """The env file, whatever it lists now: an earlier step of the plan has written it."""
    wanted = situation.inventory.reading_order(primary, set(replicas))
    return step("env", None, PublishEnv(primary, wanted), "the application routes its reads and writes by this file")


def waiting_for(situation: Situation, name: NodeName) -> tuple[NodeName, ...]:
    """Running replicas that will stream from a stopped node once it is back: those that are configured to."""
    return tuple(
        replica.node
        for replica in situation.facts.replicas
        if not needs_host(replica)
        and (upstream := upstream_of(situation.inventory, situation.facts, replica)) is not None
        and upstream.node == name
    )


def later_timeline(situation: Situation, than: int, besides: NodeName) -> list[NodeName]:
    """Members that have seen a later timeline than the given one, running or not."""
    found: list[NodeName] = []
    for name, facts in situation.facts.nodes.items():
        if name == besides or isinstance(facts, Foreign):
            continue
        host = situation.host_of(name)
        seen = [timeline_on_disk(host)] if host is not None else []
        if isinstance(facts, Primary | Replica):
            seen.append(facts.server.timeline)
        if any(timeline > than for timeline in seen):
            found.append(name)
    return found


def timeline_on_disk(host: HostFacts) -> Timeline:
    """The timeline that a data directory went through last; 0 without one.

    pg_control has it only from the first checkpoint on the new timeline on, which a promoted server may not live to
    see: until then the promotion stands in its minimum recovery ending location and in the names of its segments.
    """
    control = host.control
    known = () if control is None else (control.timeline, control.min_recovery_timeline)
    return Timeline(max(timeline or 0 for timeline in (*known, host.wal_timeline)))


def cleanly_stopped_primary(situation: Situation) -> Stopped | None:
    """The one that was the primary last and was stopped cleanly: what was fenced or left behind before it stands on an
    earlier timeline. None when two are on the same."""
    clean = [
        (timeline_on_disk(facts.host), facts)
        for facts in situation.facts.nodes.values()
        if isinstance(facts, Stopped) and facts.control.cleanly_shut_down_primary
    ]
    latest = max((timeline for timeline, _ in clean), default=None)
    found = [facts for timeline, facts in clean if timeline == latest]
    return found[0] if len(found) == 1 else None


def refuse_unknown(situation: Situation, stopped: Stopped) -> list[Refusal]:
    """Nodes that nobody can ask whether they became the primary since ``stopped`` did."""
    return [
        Refusal(
            "others-unreachable",
            other.node,
            f"{other.node} cannot be reached, and may have become the primary since {stopped.node} stopped: "
            f"{other.ssh.message}",
            f"Bring {other.node} back, or mend the way to it, and run this again.",
        )
        for other in situation.facts.nodes.values()
        if isinstance(other, Unreachable)
    ]


def refuse_second_primary(situation: Situation, stopped: Stopped) -> list[Refusal]:
    """Members that went on without ``stopped``, or run now as no standby does: a primary beside them is the second."""
    timeline = timeline_on_disk(stopped.host)
    return [
        *(
            refuse_silent(other.node, other.sql)
            for other in situation.facts.nodes.values()
            if isinstance(other, Silent) and not (other.host.standby_signal and other.control.state != IN_PRODUCTION)
        ),
        *(
            Refusal(
                "later-timeline",
                other,
                f"{other} is on a later timeline than {stopped.node} (timeline {timeline}): it went on without it",
                f"`replctl status` shows who is ahead; {stopped.node} has to follow, not to lead.",
            )
            for other in later_timeline(situation, timeline, stopped.node)
        ),
    ]
