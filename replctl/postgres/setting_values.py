"""Values of settings as PostgreSQL compares them: ``16MB`` in a file is 2048 in pg_settings where the unit is 8kB."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from replctl.model.configuration import LiveSetting

_NUMBER = re.compile(r"\s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<unit>[A-Za-z]*)\s*")
_BASE = re.compile(r"(?P<count>\d*)(?P<unit>[A-Za-z]+)")
_FACTORS = {
    **{unit: 1024**power for power, unit in enumerate(("B", "kB", "MB", "GB", "TB"))},
    "us": 1,
    "ms": 1000,
    "s": 10**6,
    "min": 60 * 10**6,
    "h": 3600 * 10**6,
    "d": 86400 * 10**6,
}
"""Bytes and microseconds (PostgreSQL docs, 20.1.1)."""
_BOOLEANS: Mapping[str, str] = {
    "on": "on",
    "true": "on",
    "yes": "on",
    "1": "on",
    "off": "off",
    "false": "off",
    "no": "off",
    "0": "off",
}
_CASELESS = frozenset({"datestyle", "log_timezone", "timezone"})
"""String settings whose value the server spells its own way."""


def comparable(text: str, setting: LiveSetting) -> Decimal | str:
    """A written value in the setting's base unit, or in the spelling of pg_settings.

    What is no value of the setting's kind is returned as it is written.
    """
    match setting.kind:
        case "integer" | "real":
            return _number(text, setting)
        case "bool" | "enum":
            return _BOOLEANS.get(text.lower(), text.lower())
        case _:
            return re.sub(r"\s", "", text).lower() if setting.name in _CASELESS else text


def _number(text: str, setting: LiveSetting) -> Decimal | str:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    unit, base = match["unit"], _base_factor(setting.unit)
    if unit and (unit not in _FACTORS or base is None):
        return text
    number = Decimal(match["number"])
    if unit and base is not None:
        number = number * _FACTORS[unit] / base
    return number.to_integral_value(ROUND_HALF_EVEN) if setting.kind == "integer" else number


def _base_factor(unit: str | None) -> int | None:
    match = _BASE.fullmatch(unit or "")
    if match is None or match["unit"] not in _FACTORS:
        return None
    return int(match["count"] or 1) * _FACTORS[match["unit"]]
