"""How far ahead a worker may claim: only what starts soon, so that long jobs are never hoarded."""

from __future__ import annotations

AHEAD_SECONDS = 0.1
AHEAD_MOST = 1000


class Pace:
    """Learns run times: quickly that jobs are slow, slowly that they are fast."""

    __slots__ = ("_mean", "_slots")

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._mean: float | None = None

    def ran(self, seconds: float) -> None:
        """Take note of how long a job ran."""
        mean = self._mean
        if mean is None:
            self._mean = seconds
        else:
            self._mean = mean + (seconds - mean) * (0.5 if seconds > mean else 0.0625)

    def forget(self) -> None:
        """What was learned misled: claim nothing ahead until the next job has ended."""
        self._mean = None

    @property
    def ahead(self) -> int:
        """Jobs that are likely to start within a tenth of a second; 0 until something is known."""
        if self._mean is None:
            return 0
        return min(AHEAD_MOST, int(self._slots * AHEAD_SECONDS / max(self._mean, 1e-6)))
