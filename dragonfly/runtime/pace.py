"""How far ahead a worker may claim: only what starts soon, so that long jobs are never hoarded."""

from __future__ import annotations

from collections.abc import Sequence

from dragonfly.job import Claim

AHEAD_SECONDS = 0.1
# fewer and larger statements: 4000 cost a tenth less processor time than 2000 (benchmark W3)
AHEAD_MOST = 4000
# what large payloads may take of the memory, all jobs ahead together
AHEAD_LETTERS = 16_000_000
# below this run time a message to the server is a good part of it
QUICK_SECONDS = 0.01


class Pace:
    """Learns run times and sizes: quickly that jobs are slow or large, slowly that they are not."""

    __slots__ = ("_letters", "_mean", "_slots")

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._mean: float | None = None
        self._letters = 1.0

    def took(self, claims: Sequence[Claim]) -> None:
        """Take note of how large these payloads are."""
        mean = sum([len(claim.payload) for claim in claims]) / len(claims)
        rise = mean - self._letters
        self._letters += rise if rise > 0 else rise / 4

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
    def is_quick(self) -> bool:
        """The next job is likely to be over within moments of its start."""
        return self._mean is not None and self._mean < QUICK_SECONDS

    @property
    def ahead(self) -> int:
        """Jobs that are likely to start within a tenth of a second; 0 until something is known."""
        if self._mean is None:
            return 0
        soon = int(self._slots * AHEAD_SECONDS / max(self._mean, 1e-6))
        return min(AHEAD_MOST, int(AHEAD_LETTERS / max(self._letters, 1.0)), soon)
