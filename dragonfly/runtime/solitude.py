"""A job at its last chance runs alone in its process, so that one is failed only for its own crash.

Whoever meets such a job, and only that process, empties itself for it: no worker claims, what no
slot has started goes back, what runs ends. Then the job is claimed, and until its end is durable
nothing is claimed beside it. Two processes that do so for one job lose a little time: the claim
decides.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from dragonfly.events import Events, JobAlone, SolitudePutOff, SolitudeSought
from dragonfly.job import Claim
from dragonfly.queue.fragments import ANY_CRASHES
from dragonfly.settings import Settings
from dragonfly.worker import Worker

# A process waits for its jobs to end as long as for a heartbeat, twice as long each time that was
# in vain, up to this many heartbeats: jobs of five minutes get their turn by default.
PATIENCE_MOST = 32
# and serves nine times as long in between, so that jobs that never end cost a tenth of its service
SERVICE_SHARE = 9


class Returning(Protocol):
    """What a worker holds."""

    def give_back(self) -> bool:
        """Return what no slot has started."""


class Holder(Protocol):
    """A start of a worker of this process."""

    worker: Worker
    wound_down: asyncio.Event

    @property
    def ledger(self) -> Returning: ...

    @property
    def holds_nothing(self) -> bool:
        """No handler runs, and every end is durable."""


class Solitude:
    """When a process may claim, and which of the jobs that were in flight at a crash.

    All workers of the process share it. Times in seconds.
    """

    def __init__(
        self, settings: Settings, events: Events, ring: Callable[[], None], *, seeks: bool
    ) -> None:
        self.last_chance = max(1, settings.crash_budget)  # so many crashes, and no more
        self._least = settings.heartbeat_seconds
        self._events = events
        self._ring = ring
        self._seeks = seeks
        self._crew: list[Holder] = []
        self._alone: int | None = None  # the token of the job that runs alone
        self._seeker: str | None = None  # the worker for which the process is being emptied
        self._since = -math.inf  # when either began
        self._patience = self._least
        self._rest_until = -math.inf
        self._owed: set[str] = set()  # workers whose turn comes before the next one alone

    def join(self, holder: Holder) -> None:
        """From now on the process is empty only if this start of a worker is."""
        self._crew.append(holder)

    @property
    def is_empty(self) -> bool:
        """The process holds nothing at all."""
        self._crew = [
            each for each in self._crew if not (each.wound_down.is_set() and each.holds_nothing)
        ]
        return all(each.holds_nothing for each in self._crew)

    # --- who may claim --------------------------------------------------------------------------

    @property
    def is_kept(self) -> bool:
        """The process is being emptied, or a job runs alone in it."""
        return self._alone is not None or self._seeker is not None

    @property
    def seconds_left(self) -> float | None:
        """How long the process is being emptied at most; None: it is not."""
        return None if self._seeker is None else self._since + self._patience - time.monotonic()

    def lets(self, worker: str) -> bool:
        """Whether this worker may claim now: all may, or it alone for the job it has met."""
        if self._seeker == worker and self.is_empty:
            return True
        if self._seeker is not None and (self.seconds_left or 0.0) <= 0:
            self._put_off()
        if self.is_kept:
            return False
        if worker in self._owed:
            self._owed.discard(worker)
            self._ring()  # who waits for that
        return True

    def is_sought_by(self, worker: str) -> bool:
        """The process has been emptied for this worker."""
        return self._seeker == worker

    @property
    def is_put_off(self) -> bool:
        """Jobs at their last chance are to wait, for the others have their turn."""
        return time.monotonic() < self._rest_until

    def crashes_for(self, worker: str, *, idle: bool) -> tuple[int, int]:
        """How many crashes a job may have that this worker takes now, from the least to the most.

        ``idle``: for this worker nothing else is due.
        """
        least, most = ANY_CRASHES
        if self._seeker == worker:
            return self.last_chance, most
        others_first = self.is_put_off and (not idle or bool(self._owed))
        return (least, self.last_chance - 1 if others_first or not self.is_empty else most)

    # --- what has become of it ------------------------------------------------------------------

    def seek(self, worker: str) -> None:
        """A job at its last chance waits: empty the process for it, unless others have a turn."""
        if not self._seeks or self.is_kept or self.is_put_off:
            return
        self._seeker, self._since = worker, time.monotonic()
        self._events.emit(SolitudeSought(worker, self._patience))
        for each in self._crew:
            each.ledger.give_back()

    def took(self, worker: str, claim: Claim) -> None:
        """Such a job was claimed; at its last chance it keeps the process for itself."""
        if claim.crashes < self.last_chance:
            return
        self._since = time.monotonic() if self._seeker is None else self._since
        self._seeker, self._alone, self._patience = None, claim.lock_token, self._least
        living = (each.worker.name for each in self._crew if not each.wound_down.is_set())
        self._owed = {name for name in living if name != worker}
        self._events.emit(JobAlone(worker, claim.id, claim.job_type))

    def forgo(self, worker: str) -> None:
        """The job is somebody else's by now, or this worker cannot take it any more."""
        if self._seeker == worker:
            self._open(SERVICE_SHARE)

    def stirred(self, claims: Sequence[Claim]) -> bool:
        """Jobs came to their end: whether the workers should look again because of that."""
        if self._alone is not None and any(c.lock_token == self._alone for c in claims):
            self._open(1)
        return self._seeker is not None and self.is_empty

    def idled(self) -> None:
        """A worker's slots are all idle: a job that was lost ends without another word."""
        if self._seeker is not None:
            self._ring()

    def _put_off(self) -> None:
        lasted, worker = self._patience, self._seeker or ""
        self._patience = min(2 * self._patience, PATIENCE_MOST * self._least)
        self._open(SERVICE_SHARE)
        self._events.emit(SolitudePutOff(worker, lasted, SERVICE_SHARE * lasted))

    def _open(self, share: int) -> None:
        """Let all claim again, and the others have their turn for ``share`` times as long."""
        now = time.monotonic()
        self._seeker = self._alone = None
        if self._seeks:
            self._rest_until = now + share * max(now - self._since, self._least)
        self._ring()
