"""Every claim of one start of a worker, from its arrival to the moment its end is durable."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Container, Sequence

import anyio

from dragonfly.events import JobFinished, JobLockLost, JobsClaimed
from dragonfly.job import Claim, Finish, JobStatus
from dragonfly.runtime.acks import Acks
from dragonfly.runtime.outcomes import COMPLETED, GIVEN_BACK, Ending, Verdict, completed, released
from dragonfly.runtime.process import Process


class Ledger:
    """What is held: waiting for a slot, running, or ended and not yet written.

    Everything in ``held`` is renewed by the heartbeat; ``waiting`` is the part that no slot has
    started, in the order in which it will.
    """

    def __init__(self, process: Process, worker: str, worker_id: str, acks: Acks) -> None:
        self.held: dict[int, Claim] = {}
        self.waiting: deque[Claim] = deque()
        self.worker_id = worker_id
        self.arrived = 0.0  # when (monotonic) the last of them were claimed, or a little later
        self.unhappy = False  # an attempt failed, or will be retried after an error
        self._process = process
        self._worker = worker
        self._acks = acks
        self._tells_claims = process.events.wanted(JobsClaimed)
        self._tells_finishes = process.events.wanted(JobFinished)
        self._arrivals: deque[tuple[int, float]] = deque()  # tokens of claims, and when they came
        self._ended: dict[int, tuple[Ending, float]] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def accept(self, claims: Sequence[Claim]) -> None:
        """These are ours now."""
        self._empty.clear()
        self.arrived = now = time.monotonic()
        for token in dict.fromkeys([claim.lock_token for claim in claims]):
            self._arrivals.append((token, now))
        self.held.update([(claim.id, claim) for claim in claims])
        if self._ended:
            for job_id in self._ended.keys() & {claim.id for claim in claims}:
                del self._ended[job_id]  # of an earlier claim whose lock ran out
        self.waiting.extend(claims)
        if self._tells_claims:
            ids = tuple(claim.id for claim in claims)
            self._process.events.emit(JobsClaimed(self._worker, ids))

    def complete(self, claim: Claim, seconds: float, *, committed: bool) -> None:
        """Its handler succeeded, after ``seconds``, without a result that is still to be written.

        ``committed``: nor is its end, for that was part of its own transaction.
        """
        if self.held.get(claim.id) is not claim:
            return  # it was lost meanwhile
        self._ended[claim.id] = (COMPLETED, seconds)
        if committed:
            self._settle(claim, JobStatus.COMPLETED)
        elif claim.lock_token in self._process.keyed:
            self._acks.put(completed(claim), self)  # the statement that rings for its key
        else:
            self._acks.complete(claim, self)

    def conclude(self, claim: Claim, ending: Ending, seconds: float) -> None:
        """Its handler is done, after ``seconds``: pass on what is to be written."""
        if self.held.get(claim.id) is not claim:
            return  # it was lost meanwhile
        self._ended[claim.id] = (ending, seconds)
        if ending.finish is not None:
            self._acks.put(ending.finish, self)
        else:
            done = ending.verdict is Verdict.SUCCESS
            self._settle(claim, JobStatus.COMPLETED if done else None)

    def give_back(self, job_type: str | None = None, *, waiting_longer_than: float = 0.0) -> bool:
        """Return what no slot has started: all, of a type, or what waits longer than (seconds).

        True if there was any.
        """
        before = time.monotonic() - waiting_longer_than
        late = {token for token, arrived in self._arrivals if arrived <= before}
        kept: deque[Claim] = deque()
        for claim in self.waiting:
            if claim.lock_token in late and job_type in {None, claim.job_type}:
                self._ended[claim.id] = (GIVEN_BACK, 0.0)
                self._acks.put(released(claim), self)
            else:
                kept.append(claim)
        any_returned = len(kept) < len(self.waiting)
        self.waiting = kept
        self._forget_arrivals()
        return any_returned

    def _forget_arrivals(self) -> None:
        waiting = {claim.lock_token for claim in self.waiting}
        self._arrivals = deque(item for item in self._arrivals if item[0] in waiting)

    def lose(self, tokens: Container[tuple[int, int]]) -> None:
        """These (id, token) have another holder by now: forget them, unless their end is under way.

        A job that was claimed anew meanwhile has another token, and stays.
        """
        lost = [claim for claim in self.held.values() if (claim.id, claim.lock_token) in tokens]
        self.waiting = deque(
            claim for claim in self.waiting if (claim.id, claim.lock_token) not in tokens
        )
        for claim in lost:
            if claim.id not in self._ended:
                self._settle(claim, None)

    def last_ends(self) -> list[Finish]:
        """What to write of each held job if the process ended now; may be asked by any thread.

        A job whose end is not known goes back, for a second later: by then its handler is gone.
        """
        ended = self._ended.copy()
        finishes = []
        for claim in self.held.copy().values():
            ending, _ = ended.get(claim.id, (None, 0.0))
            if ending is None:
                finishes.append(released(claim)._replace(delay=1.0))
            elif ending is COMPLETED:
                finishes.append(completed(claim))
            else:
                finishes.append(ending.finish or released(claim))
        return finishes

    async def settled_within(self, seconds: float) -> bool:
        """Wait until every end is durable; False if that took longer."""
        with anyio.move_on_after(seconds):
            await self._empty.wait()
        return not self.held

    # --- what the acks tell ---------------------------------------------------------------------

    def settled(self, finish: Finish, status: JobStatus | None) -> None:
        """A finish was written; a status of None says that the lock was lost before."""
        claim = self.held.get(finish.job_id)
        if claim is not None and claim.lock_token == finish.lock_token:
            self._settle(claim, status)

    def completed(self, claims: Sequence[Claim]) -> None:
        """Ordinary successes are durable."""
        held, ended = self.held, self._ended
        ours = [claim for claim in claims if held.get(claim.id) is claim]
        for claim in ours:
            del held[claim.id]
            ending, seconds = ended.pop(claim.id)
            if self._tells_finishes:
                self._report(claim, ending, seconds, JobStatus.COMPLETED)
        self._conclude(ours)

    def _settle(self, claim: Claim, status: JobStatus | None) -> None:
        del self.held[claim.id]
        ended = self._ended.pop(claim.id, None)
        if status is None:
            self._process.events.emit(JobLockLost(self._worker, claim.id, claim.job_type))
        elif ended is not None:
            self._report(claim, *ended, status)
        self._conclude([claim])

    def _conclude(self, claims: Sequence[Claim]) -> None:
        if not self.held:
            self._empty.set()
        self._process.settle(self._worker, claims, last=not self.held)

    def _report(self, claim: Claim, ending: Ending, seconds: float, status: JobStatus) -> None:
        outcome = ending.outcome if status is JobStatus.PENDING else str(status)
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
