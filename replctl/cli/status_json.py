"""``status -o json``: the document of docs/status.schema.json, key by key in the contract's order."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from replctl.model.drill import LastDrill
from replctl.model.report import (
    Finding,
    Health,
    NodeReport,
    NodeRole,
    NodeState,
    Severity,
    SlotReport,
    StatusReport,
    Unlisted,
)

SCHEMA_VERSION = 1


def status_document(report: StatusReport) -> dict[str, Any]:
    """Plain values for ``json.dumps``, whose default of escaping all but ASCII keeps terminals safe as well."""
    return {
        "schema": SCHEMA_VERSION,
        "cluster": report.cluster,
        "health": report.health.value,
        "primary": report.primary,
        "system_identifier": report.system_identifier,
        "timeline": report.timeline,
        "nodes": [_node(node) for node in report.nodes],
        "unlisted": [_unlisted(unlisted) for unlisted in report.unlisted],
        "findings": [_finding(finding) for finding in report.findings],
        "wal_bytes_per_s": report.wal_bytes_per_s,
        "last_drill": None if report.last_drill is None else _drill(report.last_drill),
    }


def _node(node: NodeReport) -> dict[str, Any]:
    return {
        "name": node.name,
        "host": node.host,
        "port": node.port,
        "role": node.role.value,
        "state": node.state.value,
        "timeline": node.timeline,
        "upstream": node.upstream,
        "unreceived_bytes": node.unreceived_bytes,
        "unreplayed_bytes": node.unreplayed_bytes,
        "lag_ms": node.lag_ms,
        "lag_is_lower_bound": node.lag_is_lower_bound,
        "sync_state": node.sync_state,
        "slot": None if node.slot is None else _slot(node.slot),
        "in_env": node.in_env,
        "wal_free_bytes": node.wal_free_bytes,
        "fork_lsn": None if node.fork_lsn is None else str(node.fork_lsn),
    }


def _slot(slot: SlotReport) -> dict[str, Any]:
    return {
        "name": slot.name,
        "active": slot.active,
        "retained_bytes": slot.retained_bytes,
        "wal_status": slot.wal_status,
        "limit_bytes": slot.limit_bytes,
        "full_in_s": slot.full_in_s,
    }


def _unlisted(unlisted: Unlisted) -> dict[str, Any]:
    return {"kind": unlisted.kind, "name": unlisted.name, "detail": unlisted.detail}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity.value,
        "code": finding.code,
        "node": finding.node,
        "message": finding.message,
        "hint": finding.hint,
    }


def _drill(drill: LastDrill) -> dict[str, Any]:
    return {
        "at": drill.at,
        "to": drill.to,
        "write_outage_ms": list(drill.write_outage_ms),
        "read_outage_ms": drill.read_outage_ms,
        "rows": drill.rows,
        "lost": drill.lost,
    }


def status_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the document. Later versions may add keys, and drop or change none."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "replctl status -o json",
        **_object(
            {
                "schema": {"const": SCHEMA_VERSION},
                "cluster": _text("The cluster's name in the inventory."),
                "health": _one_of(Health, "Exit code 0, 10 or 11."),
                "primary": _or_null(_text("Null unless exactly one node that answers has role primary.")),
                "system_identifier": _or_null(_text("The cluster's identity; null while the nodes do not agree.")),
                "timeline": _or_null(_count("The primary's timeline.")),
                "nodes": {"type": "array", "items": _node_schema()},
                "unlisted": {"type": "array", "items": _unlisted_schema()},
                "findings": {"type": "array", "items": _finding_schema()},
                "wal_bytes_per_s": _or_null(
                    _count("WAL that the primary writes, in bytes a second, over the last minute or longer.")
                ),
                "last_drill": _or_null(_drill_schema()),
            }
        ),
    }


def _drill_schema() -> dict[str, Any]:
    ms = {"type": "number", "minimum": 0}
    return _object(
        {
            "at": _text("When the last drill of this cluster from this folder ended: UTC, as ISO 8601."),
            "to": _text("The node that was the primary meanwhile."),
            "write_outage_ms": {
                "type": "array",
                "items": ms,
                "minItems": 2,
                "maxItems": 2,
                "description": "Milliseconds, there and back: from one primary's last row to the other's first.",
            },
            "read_outage_ms": _or_null({**ms, "description": "The longest time without an answer to a read."}),
            "rows": _count("Rows whose COMMIT was acknowledged."),
            "lost": _count("Of these, the rows that were not there in the end."),
        }
    )


def _node_schema() -> dict[str, Any]:
    return _object(
        {
            "name": _text("The node's name in the inventory; rows stand in the inventory's order."),
            "host": _text("As written in the inventory."),
            "port": {"type": "integer", "minimum": 1, "maximum": 65535},
            "role": _one_of(NodeRole, "primary: running and not in recovery, nothing else."),
            "state": _one_of(NodeState, "The first that holds, in this order."),
            "timeline": _or_null(_count("Null when it is unknown.")),
            "upstream": _or_null(_text("A node's name, else host:port.")),
            "unreceived_bytes": _or_null(_count("Bytes of WAL that the primary has and this replica has not flushed.")),
            "unreplayed_bytes": _or_null(
                _count("Bytes of WAL that the primary has and this replica has not replayed.")
            ),
            "lag_ms": _or_null({"type": "number", "minimum": 0, "description": "Milliseconds; 0.0 with all replayed."}),
            "lag_is_lower_bound": {"type": "boolean", "description": "PostgreSQL measured no lag: it may be more."},
            "sync_state": _or_null(_text("As pg_stat_replication of the upstream has it.")),
            "slot": _or_null(_slot_schema()),
            "in_env": _or_null({"type": "boolean", "description": "The env file sends the application here."}),
            "wal_free_bytes": _or_null(_count("Bytes free on the disk of pg_wal.")),
            "fork_lsn": _or_null(_text("Where a diverged node's WAL left the primary's, as PostgreSQL writes an LSN.")),
        }
    )


def _slot_schema() -> dict[str, Any]:
    properties = {
        "name": _text("The node's own slot, on its upstream."),
        "active": {"type": "boolean"},
        "retained_bytes": _or_null(_count("WAL that the slot keeps, in bytes; null when it reserves none.")),
        "wal_status": _or_null(_text("As pg_replication_slots has it; null when it reserves no WAL.")),
        "limit_bytes": _or_null(_count("max_slot_wal_keep_size of the upstream in bytes; null without a limit.")),
        "full_in_s": _or_null(
            _count(
                "Seconds until the slot's limit or the disk is reached at wal_bytes_per_s, were nothing taken from it."
            )
        ),
    }
    return _object(properties)


def _unlisted_schema() -> dict[str, Any]:
    kind = {"enum": ["walsender", "slot"]}
    return _object({"kind": kind, "name": _text("As the server has it."), "detail": _text("Where, and in what state.")})


def _finding_schema() -> dict[str, Any]:
    return _object(
        {
            "severity": _one_of(Severity, "info never changes health."),
            "code": {"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$", "description": "A stable name for scripts."},
            "node": _or_null(_text("Null for a finding about the whole cluster.")),
            "message": {"type": "string", "minLength": 1},
            "hint": {"type": "string", "minLength": 1, "description": "What to do about it."},
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _count(description: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "description": description}


def _one_of(kind: type[StrEnum], description: str) -> dict[str, Any]:
    return {"enum": [member.value for member in kind], "description": description}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}
