"""postgresql.conf and pg_hba.conf from the templates."""

from __future__ import annotations

from dataclasses import dataclass

from replctl.model.actions import ConfigFile
from replctl.model.inventory import Inventory, Node


@dataclass(frozen=True, slots=True)
class Templates:
    """The text of the two templates, the shipped ones or the operator's own."""

    postgresql_conf: str
    pg_hba_conf: str


def render_config(
    inventory: Inventory, node: Node, templates: Templates, *, major: int, socket_dir: str
) -> tuple[ConfigFile, ...]:
    """Both files of a node. Nothing in them depends on the moment: rendering twice gives the same text.

    Raises InventoryError when a template fails, naming it and the line.
    """
    raise NotImplementedError
