"""Notes in ``.replctl``: fence debts, which are old primaries that could not be reached, and the last drill. They
remind; they are never evidence.

Every note carries the system identifier of its cluster; one of another cluster is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

from replctl.execution.state_dir import open_private, readable_state_dir, writable_state_dir
from replctl.model.drill import LastDrill
from replctl.model.facts import FenceDebt
from replctl.model.values import NodeName, SystemIdentifier

DEBTS = "fence-debts.json"
DRILLS = "last-drills.json"
Note = dict[str, str]
_KEYS = ("system_identifier", "node", "promoted", "since")


def read_debts(state_dir: Path, system_identifier: SystemIdentifier | None) -> tuple[FenceDebt, ...]:
    """The debts of a cluster; none for an unknown one, and none where the file cannot be read."""
    try:
        with readable_state_dir(state_dir) as folder:
            notes = list(_notes(_read(folder, DEBTS)))
    except OSError:
        return ()
    return tuple(
        FenceDebt(NodeName(note["node"]), NodeName(note["promoted"]), note["since"])
        for note in notes
        if system_identifier is not None and note["system_identifier"] == system_identifier
    )


def note_debt(state_dir: Path, system_identifier: SystemIdentifier, debt: FenceDebt) -> bool:
    """Write it down; False when it stood there already. Raises OSError."""
    identity = (system_identifier, debt.node)
    note = {"system_identifier": system_identifier, "node": debt.node, "promoted": debt.promoted, "since": debt.since}
    return _change(state_dir, lambda notes: [*notes, note] if identity not in map(_identity, notes) else notes)


def settle_debt(state_dir: Path, system_identifier: SystemIdentifier, node: NodeName) -> bool:
    """Take it away; False when there was none. Raises OSError."""
    identity = (system_identifier, node)
    return _change(state_dir, lambda notes: [note for note in notes if _identity(note) != identity])


def _identity(note: Note) -> tuple[str, str]:
    return note["system_identifier"], note["node"]


def _change(state_dir: Path, change: Callable[[list[Note]], list[Note]]) -> bool:
    with writable_state_dir(state_dir) as folder:
        old = list(_notes(_read(folder, DEBTS)))
        new = change(old)
        if new != old:
            _write(folder, DEBTS, new)
        return new != old


def _notes(found: Iterable[dict[str, object]]) -> Iterator[Note]:
    for note in found:
        if all(isinstance(note.get(key), str) for key in _KEYS):
            yield {key: str(note[key]) for key in _KEYS}


def read_drill(state_dir: Path, system_identifier: SystemIdentifier | None) -> LastDrill | None:
    """The last drill of a cluster; None for an unknown one, and where the file cannot be read."""
    try:
        with readable_state_dir(state_dir) as folder:
            notes = _read(folder, DRILLS)
    except OSError:
        return None
    own = (note for note in notes if system_identifier is not None and _is_of(note, system_identifier))
    return next((drill for note in own if (drill := _drill(note)) is not None), None)


def note_drill(state_dir: Path, system_identifier: SystemIdentifier, drill: LastDrill) -> None:
    """Write it down in the place of the cluster's last one. Raises OSError."""
    note = {
        "system_identifier": system_identifier,
        "at": drill.at,
        "to": drill.to,
        "write_outage_ms": list(drill.write_outage_ms),
        "read_outage_ms": drill.read_outage_ms,
        "rows": drill.rows,
        "lost": drill.lost,
    }
    with writable_state_dir(state_dir) as folder:
        others = [other for other in _read(folder, DRILLS) if not _is_of(other, system_identifier)]
        _write(folder, DRILLS, [*others, note])


def _is_of(note: Mapping[str, object], system_identifier: SystemIdentifier) -> bool:
    return note.get("system_identifier") == system_identifier


def _drill(note: Mapping[str, object]) -> LastDrill | None:
    match note:
        case {
            "at": str(at),
            "to": str(to),
            "write_outage_ms": [int() | float() as there, int() | float() as back],
            "read_outage_ms": None | int() | float() as reads,
            "rows": int(rows),
            "lost": int(lost),
        } if _is_time(at):
            return LastDrill(at, NodeName(to), (there, back), reads, rows, lost)
        case _:
            return None


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _read(folder: int, name: str) -> list[dict[str, object]]:
    try:
        descriptor = open_private(folder, name, os.O_RDONLY)
    except FileNotFoundError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        text = file.read()
    try:
        found: object = json.loads(text)
    except ValueError:
        return []
    return [
        cast("dict[str, object]", one)
        for one in (cast("list[object]", found) if isinstance(found, list) else [])
        if isinstance(one, dict)
    ]


def _write(folder: int, name: str, notes: Sequence[Mapping[str, object]]) -> None:
    """Durable before what it belongs to goes on, such as a promotion: a crash must not forget it."""
    temporary = f"{name}.new"
    descriptor = open_private(folder, temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(descriptor, "w") as file:
        json.dump(notes, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
