"""What a dead primary's own setting proves: whether a standby that answers has every commit that waited for others."""

from __future__ import annotations

from collections.abc import Sequence

from replctl.model.facts import ClusterFacts, Stopped
from replctl.model.values import NodeName
from replctl.planning.commits import names_set
from replctl.postgres.standby_names import parse_standby_names


def acknowledged_note(facts: ClusterFacts, candidate: NodeName, old: Stopped, ahead: Sequence[object]) -> str | None:
    """A commit that waited has been flushed by as many of the names as the setting asks for. When fewer than these are
    out of sight, one of those that answer has it; and the candidate has all that these have, unless some are ahead."""
    setting = names_set(facts, old.node)
    wanted = parse_standby_names(setting)
    if not wanted.number:
        return None
    seen = [node.node for node in facts.replicas]
    missing = [name for name in wanted.names if name not in seen]
    whom = f"commits on {old.node} waited for {setting}"
    if "*" not in wanted.names and len(missing) < wanted.number and not ahead:
        return f"{whom}, and {candidate} has all that those who answer have: no commit that waited for them is lost"
    return f"{whom}, and too few of these answer: commits that waited for them may be lost"
