"""One node of the status report as cells of text: ``-`` does not apply, ``?`` is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from rich.text import Text

from replctl.cli.text import escape, human_bytes, human_duration
from replctl.model.report import NodeReport, NodeRole, NodeState
from replctl.planning.findings_wal import FAR_SECONDS


class Column(StrEnum):
    """The columns by their titles, in their order."""

    NODE = "NODE"
    ROLE = "ROLE"
    STATE = "STATE"
    TIMELINE = "TL"
    UPSTREAM = "UPSTREAM"
    UNRECEIVED = "UNRECEIVED"
    UNREPLAYED = "UNREPLAYED"
    AGE = "AGE"
    SYNC = "SYNC"
    SLOT = "SLOT"
    FREE = "FREE"
    ENV = "ENV"
    PROMOTE = "PROMOTE?"


COLUMNS = tuple(Column)
Cells = Mapping[Column, Text]

_GOOD, _UNEASY, _BAD = "green", "yellow", "red"
_CALM = frozenset({NodeState.READ_WRITE, NodeState.STREAMING})
_PASSING = frozenset({NodeState.STARTING, NodeState.CATCHUP, NodeState.DELAYED, NodeState.PAUSED, NodeState.SQL_ONLY})


def cells_of(node: NodeReport) -> Cells:
    """Every cell of a node's row, coloured by what it means."""
    # Only a node that replicates, or may, has a lag; for a primary and for no instance it does not apply.
    missing = "-" if node.role in (NodeRole.PRIMARY, NodeRole.NONE) else "?"
    return {
        Column.NODE: Text(escape(node.name), style="bold"),
        Column.ROLE: Text(node.role.value),
        Column.STATE: Text(node.state.value, style=_state_style(node.state)),
        Column.TIMELINE: Text(missing if node.timeline is None else str(node.timeline)),
        Column.UPSTREAM: Text(missing if node.upstream is None else escape(node.upstream)),
        Column.UNRECEIVED: _bytes(node.unreceived_bytes, missing),
        Column.UNREPLAYED: _bytes(node.unreplayed_bytes, missing),
        Column.AGE: _age(node, missing),
        Column.SYNC: Text(missing if node.sync_state is None else escape(node.sync_state)),
        Column.SLOT: _slot(node, _of_limit(node), _full_in(node)),
        Column.FREE: _free(node),
        Column.ENV: Text({True: "yes", False: "no", None: "?"}[node.in_env]),
        Column.PROMOTE: _promote(node.promote),
    }


def short_cells_of(node: NodeReport) -> Cells:
    """The same where room is scarce: what another cell or a finding says too is left out."""
    cells = cells_of(node)
    promote = cells[Column.PROMOTE]
    repeats_state = promote.plain == f"no: {node.state.value}"
    return {
        **cells,
        Column.SLOT: _slot(node),
        Column.PROMOTE: promote[:2] if repeats_state else promote,
    }


def tight_cells_of(node: NodeReport) -> Cells:
    """The shortest: why a node cannot be promoted is left to its state and to the findings."""
    cells = short_cells_of(node)
    promote = cells[Column.PROMOTE]
    return {**cells, Column.PROMOTE: promote[:2] if promote.plain.startswith("no:") else promote}


def _state_style(state: NodeState) -> str:
    if state in _CALM:
        return _GOOD
    return _UNEASY if state in _PASSING else _BAD


def _bytes(amount: int | None, missing: str) -> Text:
    return Text(missing) if amount is None else Text(human_bytes(amount), style="" if amount == 0 else _UNEASY)


def _age(node: NodeReport, missing: str) -> Text:
    if node.lag_ms is None:
        return Text(missing)
    return Text((">= " if node.lag_is_lower_bound else "") + human_duration(node.lag_ms))


def _of_limit(node: NodeReport) -> str:
    limit = node.slot.limit_bytes if node.slot else None
    return "" if limit is None else f" of {human_bytes(limit)}"


def _full_in(node: NodeReport) -> str:
    """Only of a slot that nobody takes WAL from: then it is a matter of time."""
    if node.slot is None or node.slot.active or node.slot.full_in_s is None or node.slot.full_in_s > FAR_SECONDS:
        return ""
    return f", full in {human_duration(node.slot.full_in_s * 1000)}"


def _slot(node: NodeReport, of_limit: str = "", full_in: str = "") -> Text:
    slot = node.slot
    if slot is None:
        return Text("-")
    if slot.wal_status == "lost":
        return Text("lost", style=_BAD)
    kept = "" if slot.retained_bytes is None else f", {human_bytes(slot.retained_bytes)}{of_limit}"
    if slot.active:
        return Text(f"active{kept}")
    return Text(f"inactive{kept}{full_in}", style=_UNEASY)


def _free(node: NodeReport) -> Text:
    if node.wal_free_bytes is None:
        return Text("-" if node.role is NodeRole.NONE else "?")
    return Text(human_bytes(node.wal_free_bytes))


def _promote(text: str) -> Text:
    if text.startswith("no"):
        return Text(escape(text), style="dim")
    style = {"yes": _GOOD, "": ""}.get(text, _UNEASY)
    return Text(escape(text) or "-", style=style)
