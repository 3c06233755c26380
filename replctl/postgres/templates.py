"""The texts that postgresql.conf and pg_hba.conf are made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Templates:
    """The text of the two templates, the shipped ones or the operator's own."""

    postgresql_conf: str
    pg_hba_conf: str
