"""Plans ``env --write``: the env file as the cluster stands now."""

from __future__ import annotations

from replctl.model.plan import Plan, Refused
from replctl.planning.situation import Situation, needs_primary, publish, sequence, unreachable_notes
from replctl.planning.topology import proven_replicas

COMMAND = "env"


def plan_env_write(situation: Situation) -> Plan | Refused:
    """What makes the env file list the primary and every replica proven in its role now."""
    primary = situation.facts.primary
    if primary is None:
        return situation.refuse(COMMAND, needs_primary(situation, COMMAND))
    replicas = proven_replicas(situation.inventory, situation.facts)
    notes = unreachable_notes(situation, [primary.node])
    return situation.plan(COMMAND, [sequence(publish(situation, primary.node, replicas))], notes=notes)
