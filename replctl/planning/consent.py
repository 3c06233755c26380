"""What an operator has to state in so many words; ``--yes`` says none of it."""

from __future__ import annotations

from enum import StrEnum


class Consent(StrEnum):
    """By the flag that states it."""

    FENCED = "--old-primary-fenced"
    DATA_LOSS = "--accept-data-loss"
    DISCARD = "--discard-diverged"
    RECLONE = "--reclone"
