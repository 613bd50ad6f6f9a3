"""The pause after a failure: 1 s, doubled each time, at most 60 s, ±10 %; ten are a crash loop."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

INITIAL_SECONDS = 1.0
FACTOR = 2.0
CAP_SECONDS = 60.0
JITTER = 0.1
CRASH_LOOP_THRESHOLD = 10


def pause_seconds(
    failures: int, scale: float = 1.0, draw: Callable[[float, float], float] = random.uniform
) -> float:
    """Seconds to pause after this many failures in a row (1 or more)."""
    plain = min(INITIAL_SECONDS * FACTOR ** min(failures - 1, 30), CAP_SECONDS)
    return plain * draw(1 - JITTER, 1 + JITTER) * scale


@dataclass(slots=True)
class BackoffState:
    """Counts failures in a row, of which those in flight together count as one.

    Times are seconds of one monotonic clock.
    """

    scale: float = 1.0
    draw: Callable[[float, float], float] = random.uniform
    consecutive_failures: int = field(default=0, init=False)
    pause_until: float = field(default=0.0, init=False)
    _counted_at: float = field(default=float("-inf"), init=False)

    def record_failure(self, *, claimed_at: float, now: float) -> float | None:
        """The pause in seconds, or None if this failure was in flight with one already counted."""
        if claimed_at <= self._counted_at:
            return None
        self._counted_at = now
        self.consecutive_failures += 1
        pause = pause_seconds(self.consecutive_failures, self.scale, self.draw)
        self.pause_until = now + pause
        return pause

    def record_success(self) -> bool:
        """Reset the count and end the pause; True if there was anything to reset."""
        if not self.consecutive_failures:
            return False
        self.consecutive_failures = 0
        self.pause_until = 0.0
        return True

    @property
    def crash_looping(self) -> bool:
        return self.consecutive_failures >= CRASH_LOOP_THRESHOLD
