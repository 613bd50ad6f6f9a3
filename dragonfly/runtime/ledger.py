"""Every claim of one start of a worker, from its arrival to the moment its end is durable."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable

import anyio

from dragonfly.events import JobFinished, JobLockLost, JobsClaimed
from dragonfly.job import Claim, Finish, JobStatus
from dragonfly.runtime.acks import Ack, Acks
from dragonfly.runtime.outcomes import Ending, Verdict, released
from dragonfly.runtime.process import Process

_GIVEN_BACK = Ending(None, Verdict.NEUTRAL, "released")


class Ledger:
    """What is held: waiting for a slot, running, or ended and not yet written.

    Everything in ``held`` is renewed by the heartbeat.
    """

    def __init__(self, process: Process, worker: str, worker_id: str, acks: Acks) -> None:
        self.held: dict[int, Claim] = {}
        self.unhappy = False  # an attempt failed, or will be retried after an error
        self._process = process
        self._worker = worker
        self._worker_id = worker_id
        self._acks = acks
        self._tells_finishes = process.events.wanted(JobFinished)
        self._waiting: deque[tuple[float, Claim]] = deque()
        self._endings: dict[int, tuple[Claim, Ending, float]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waiting(self) -> int:
        """How many claims no slot has started."""
        return len(self._waiting)

    def accept(self, claims: Iterable[Claim]) -> None:
        """These are ours now."""
        self._empty.clear()
        now = time.monotonic()
        for claim in claims:
            self.held[claim.id] = claim
            self._endings.pop(claim.id, None)  # of an earlier claim whose lock ran out
            self._waiting.append((now, claim))
        if self._process.events.wanted(JobsClaimed):
            ids = tuple(claim.id for claim in claims)
            self._process.events.emit(JobsClaimed(self._worker, ids))

    def start(self) -> Claim:
        """The claim that has waited longest."""
        return self._waiting.popleft()[1]

    def conclude(self, claim: Claim, ending: Ending, finish: Finish | None, seconds: float) -> None:
        """Its handler is done, after ``seconds``: pass on what is to be written."""
        if self.held.get(claim.id) is not claim:
            return  # it was lost meanwhile
        self._endings[claim.id] = (claim, ending, seconds)
        if finish is not None:
            self._acks.put(Ack(finish, self._worker_id, self._settled))
        else:
            done = ending.verdict is Verdict.SUCCESS
            self._settle(claim.id, JobStatus.COMPLETED if done else None)

    def give_back(self, job_type: str | None = None, *, waiting_longer_than: float = 0.0) -> bool:
        """Return what no slot has started: all, of a type, or what waits longer than (seconds).

        True if there was any.
        """
        before = time.monotonic() - waiting_longer_than
        kept: deque[tuple[float, Claim]] = deque()
        for accepted, claim in self._waiting:
            if accepted <= before and job_type in {None, claim.job_type}:
                self._endings[claim.id] = (claim, _GIVEN_BACK, 0.0)
                self._acks.put(Ack(released(claim), self._worker_id, self._settled))
            else:
                kept.append((accepted, claim))
        any_returned = len(kept) < len(self._waiting)
        self._waiting = kept
        return any_returned

    def lose(self, job_ids: set[int]) -> None:
        """These have another holder by now, or none: forget them, unless their end is under way."""
        self._waiting = deque(item for item in self._waiting if item[1].id not in job_ids)
        for job_id in (job_ids & self.held.keys()) - self._endings.keys():
            self._settle(job_id, None)

    async def settled_within(self, seconds: float) -> bool:
        """Wait until every end is durable; False if that took longer."""
        with anyio.move_on_after(seconds):
            await self._empty.wait()
        return not self.held

    def _settled(self, finish: Finish, status: JobStatus | None) -> None:
        claim = self.held.get(finish.job_id)
        if claim is not None and claim.lock_token == finish.lock_token:
            self._settle(finish.job_id, status)

    def _settle(self, job_id: int, status: JobStatus | None) -> None:
        """The end is durable; a status of None says that the lock was lost before."""
        claim = self.held.pop(job_id, None)
        ending = self._endings.pop(job_id, None)
        if claim is None:
            return
        if status is None:
            self._process.events.emit(JobLockLost(self._worker, job_id, claim.job_type))
        elif ending is not None:
            self._report(*ending, status)
        if not self.held:
            self._empty.set()
        self._process.settle(self._worker, claim, last=not self.held)

    def _report(self, claim: Claim, ending: Ending, seconds: float, status: JobStatus) -> None:
        outcome = ending.outcome if status is JobStatus.PENDING else status.value
        if outcome in {"failed", "retried"} or ending.verdict is Verdict.CONFIGURATION:
            self.unhappy = True
        if self._tells_finishes:
            event = JobFinished(
                self._worker,
                claim.id,
                claim.job_type,
                outcome,
                seconds,
                claim.attempt,
                ending.reason,
            )
            self._process.events.emit(event)
