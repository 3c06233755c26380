"""How fast a copy goes, and how long it still takes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from replctl.cli.text import human_bytes, human_duration

_WINDOW_SECONDS = 10.0


@dataclass(slots=True)
class CopyMeter:
    """Measures one copy over the last ten seconds. All times are in seconds, by one clock."""

    _samples: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def add(self, now: float, done_bytes: int) -> None:
        if self._samples and done_bytes < self._samples[-1][1]:
            self._samples.clear()  # it began anew
        self._samples.append((now, done_bytes))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def bytes_per_second(self) -> float | None:
        """None until it can be told."""
        if len(self._samples) < 2:
            return None
        (began, first), (now, last) = self._samples[0], self._samples[-1]
        return (last - first) / (now - began) if now > began else None


def copy_text(done_bytes: int, total_bytes: int | None, bytes_per_second: float | None) -> str:
    """``1.2 GiB of 3.4 GiB (35 %), 110 MiB/s, 20 s left``: what is not known is left out."""
    parts = [human_bytes(done_bytes)]
    if total_bytes:
        # The total is an estimate, made before the copy: it may be passed.
        parts = [f"{parts[0]} of {human_bytes(total_bytes)} ({min(100, done_bytes * 100 // total_bytes)} %)"]
    if bytes_per_second:
        parts.append(f"{human_bytes(round(bytes_per_second))}/s")
        if total_bytes and done_bytes < total_bytes:
            parts.append(f"{human_duration((total_bytes - done_bytes) / bytes_per_second * 1000)} left")
    return ", ".join(parts)
