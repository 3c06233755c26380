"""Amounts in words: bytes and durations as the operator reads them."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def human_bytes(n: int) -> str:
    """``n`` bytes in binary units, three digits at most: ``0 B``, ``3 MiB``, ``1.4 GiB``."""
    amount, unit = float(n), 0
    while abs(amount) >= 999.5 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    rounded = f"{amount:.1f}" if abs(amount) < 9.95 else f"{amount:.0f}"
    return f"{rounded.removesuffix('.0')} {_UNITS[unit]}"


def human_duration(ms: float) -> str:
    """``ms`` milliseconds in the two largest units that matter: ``85 ms``, ``1.5 s``, ``3m 20s``, ``2d 4h``."""
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 59_950:
        return f"{ms / 1000:.1f}".removesuffix(".0") + " s"
    seconds = round(ms / 1000)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if hours == 0:
        return _pair(minutes, "m", seconds % 60, "s")
    if days == 0:
        return _pair(hours, "h", minutes % 60, "m")
    return _pair(days, "d", hours % 24, "h")


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit} {small}{small_unit}" if small else f"{large}{large_unit}"
