"""What the operator should know of a server that is taken over, beside the changed lines of its files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from replctl.model.actions import ConfigFile
from replctl.model.facts import Primary, ServerFacts
from replctl.model.host import HostFacts
from replctl.model.inventory import Inventory
from replctl.model.values import NodeName
from replctl.planning.adopt_checks import COMMAND_LINE, KEEP, KEEP_UNIT, amount, given_options, limited_slots
from replctl.planning.situation import HBA, Situation
from replctl.postgres.adopted import block_of, said_later, without_block
from replctl.postgres.hba_syntax import displaced


@dataclass(frozen=True, slots=True)
class Override:
    """A setting of ours that is not what the server will have, and what says otherwise."""

    name: str
    wanted: str
    where: str
    way: str


def overrides(server: ServerFacts, host: HostFacts, wanted: Mapping[str, str]) -> Sequence[Override]:
    """Of our settings, those that something that is read later says otherwise: ``ALTER SYSTEM``, the command line."""
    later = said_later(host.files)
    found = list[Override]()
    for name, value in wanted.items():
        live = server.settings.get(name)
        if live is not None and live.source == COMMAND_LINE:
            if not _equal(name, live.value, value):
                found.append(Override(name, value, "its command line", "take it out of what starts the server"))
        elif name in later and not _equal(name, later[name].value, value):
            line = later[name]
            auto = line.file == "postgresql.auto.conf"
            way = f"`ALTER SYSTEM RESET {name}`" if auto else "take that line out"
            found.append(Override(name, value, f"{line.file}:{line.number}", way))
    return found


def _equal(name: str, text: str, other: str) -> bool:
    """pg_settings has amounts in the setting's unit."""
    unit = KEEP_UNIT if name == KEEP else "B"
    amounts = amount(text, unit), amount(other, unit)
    return text.lower() == other.lower() if None in amounts else amounts[0] == amounts[1]


def told_overrides(name: NodeName, found: Sequence[Override]) -> Iterator[str]:
    """What to do about each."""
    for one in found:
        yield f"{name}: {one.where} overrides {one.name} = {one.wanted}; {one.way}, and run this again"


def told_of_others(situation: Situation, primary: Primary, host: HostFacts, wanted: Mapping[str, str]) -> Iterator[str]:
    """What changes for those who use the server today. ``wanted`` are our settings."""
    name = primary.node
    yield from _told_options(situation, primary.server, name)
    yield from _told_rules(name, host, situation.changed_config(name, primary.server.major))
    yield from _told_passwords(situation.inventory, primary)
    yield from _told_slots(primary, wanted)


def _told_options(situation: Situation, server: ServerFacts, name: NodeName) -> Iterator[str]:
    """Options that no restart by replctl gives the server again."""
    if options := given_options(situation, server, name):
        yield (
            f"{name} was started with options that a restart by replctl leaves out: {', '.join(options)}; write into "
            "postgresql.conf those that it needs"
        )


def _told_passwords(inventory: Inventory, primary: Primary) -> Iterator[str]:
    """Roles that are there already and change for those who use them today."""
    users = (inventory.admin.user, inventory.replication.user, inventory.app.user)
    for role in primary.server.roles:
        if role.name not in users:
            continue
        if not role.password_matches:
            yield (
                f"{role.name} on {primary.node} gets the inventory's password: any other one that it has now lets "
                "nobody in any more"
            )
        if not role.can_login:
            yield (
                f"{role.name} on {primary.node} lets nobody in today, and will: it has NOLOGIN, CONNECTION LIMIT 0 or "
                "a VALID UNTIL that is past"
            )


def _told_rules(name: NodeName, host: HostFacts, changed: Collection[ConfigFile]) -> Iterator[str]:
    """Rules that decided about our roles until now: ours come first."""
    new = next((file.text for file in changed if file.name == HBA), None)
    if new is None:
        return
    for rule in displaced(block_of(new), without_block(host.files.get(HBA, ""))):
        yield (
            f"{HBA}:{rule.line} of {name}, `{rule.text}`, no longer decides about {', '.join(rule.users)} where a rule "
            "of replctl's fits: that asks for the inventory's password, with TLS or without"
        )


def _told_slots(primary: Primary, wanted: Mapping[str, str]) -> Iterator[str]:
    """What our limit means for slots that are not ours."""
    if slots := limited_slots(primary, wanted):
        names = ", ".join(slot.name for slot in slots)
        yield (
            f"slots of others on {primary.node} ({names}) are lost once they keep more than {KEEP} = {wanted[KEEP]}; "
            "raise it in postgres.parameters if that is too little"
        )
