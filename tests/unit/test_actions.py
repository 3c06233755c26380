"""Every action has a handler, is plain and holds no secret."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass
from typing import get_args, get_type_hints

import pytest

from replctl.execution.handlers.registry import HANDLERS
from replctl.model import actions, repair_actions
from replctl.model.actions import Action
from replctl.model.secret import Secret
from replctl.model.transfer import Transfer
from replctl.model.values import Lsn, Timeline, WalRange

KINDS = get_args(Action)


def test_every_action_has_a_handler_and_every_handler_an_action() -> None:
    assert set(HANDLERS) == set(KINDS)
    dataclasses = {kind for kind in vars(actions).values() if isinstance(kind, type) and is_dataclass(kind)}
    assert dataclasses - {actions.ConfigFile, Transfer, WalRange} == set(KINDS)


def an_example(kind: type) -> object:
    """A value of each field's type."""
    values = {
        "Place": actions.Place.LIVE,
        "Autostart": actions.Autostart.OFF,
        "Promise": repair_actions.Promise.NO_COMMIT,
        "Pending": actions.Pending.PLANNED,
        "RoleKind": actions.RoleKind.APP,
        "Transfer": Transfer("50M", "server-lz4"),
        "tuple[ConfigFile, ...]": (actions.ConfigFile("pg_hba.conf", "text"),),
        "tuple[NodeName, ...]": ("db1", "db2"),
        "tuple[int, ...]": (1, 2),
        "tuple[WalRange, ...]": (WalRange(Timeline(1), Lsn(96)),),
        "NodeName": "db1",
        "NodeName | None": "db1",
        "str": "text",
        "str | None": None,
    }
    return kind(**{field.name: values[str(field.type)] for field in fields(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_action_is_plain_and_holds_no_secret(kind: type) -> None:
    action = an_example(kind)
    assert json.loads(json.dumps(asdict(action))) == json.loads(json.dumps(asdict(an_example(kind))))
    assert kind.__dataclass_params__.frozen
    hash(action)
    assert Secret not in {part for hint in get_type_hints(kind).values() for part in (hint, *get_args(hint))}
