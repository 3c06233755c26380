"""Fence debts: notes in ``.replctl`` of old primaries that could not be reached. They remind; they are never evidence.

Every note carries the system identifier of its cluster; one of another cluster is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from replctl.execution.state_dir import open_private, readable_state_dir, writable_state_dir
from replctl.model.facts import FenceDebt
from replctl.model.values import NodeName, SystemIdentifier

DEBTS = "fence-debts.json"
Note = dict[str, str]
_KEYS = ("system_identifier", "node", "promoted", "since")


def read_debts(state_dir: Path, system_identifier: SystemIdentifier | None) -> tuple[FenceDebt, ...]:
    """The debts of a cluster; none for an unknown one, and none where the file cannot be read."""
    try:
        with readable_state_dir(state_dir) as folder:
            notes = _read(folder)
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
        old = _read(folder)
        new = change(old)
        if new != old:
            _write(folder, new)
        return new != old


def _read(folder: int) -> list[Note]:
    try:
        descriptor = open_private(folder, DEBTS, os.O_RDONLY)
    except FileNotFoundError:
        return []
    with os.fdopen(descriptor, "rb") as file:
        text = file.read()
    try:
        found: object = json.loads(text)
    except ValueError:
        return []
    return list(_notes(cast("list[object]", found))) if isinstance(found, list) else []


def _notes(found: list[object]) -> Iterable[Note]:
    for one in found:
        note = cast("dict[str, object]", one) if isinstance(one, dict) else {}
        if all(isinstance(note.get(key), str) for key in _KEYS):
            yield {key: str(note[key]) for key in _KEYS}


def _write(folder: int, notes: list[Note]) -> None:
    """Durable before the promotion that it belongs to: a crash must not forget it."""
    temporary = f"{DEBTS}.new"
    descriptor = open_private(folder, temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(descriptor, "w") as file:
        json.dump(notes, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, DEBTS, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)
