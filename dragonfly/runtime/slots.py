"""Slots: long-lived places in which jobs run one after the other."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum, auto
from typing import Any

import anyio

from dragonfly.job import Claim, Finish, Job, RetryPolicy
from dragonfly.runtime.execution import WorkerDesk
from dragonfly.runtime.outcomes import (
    Ending,
    HandlerTimeout,
    Verdict,
    ending_of,
    released,
)
from dragonfly.worker import Handler, Worker

# every success shares it: making one a job would be a tenth of a short job's cost
COMPLETED = Ending(None, Verdict.SUCCESS, "completed")


class Interruption(Enum):
    """Why a running handler is cancelled."""

    TIMEOUT = auto()
    STOP = auto()
    LOST = auto()  # cancelled by an operator, or another holder: there is nothing left to write


class Slot:
    """Runs one job at a time.

    Its cancel scope lives on from job to job (a scope per job would cost more than a short job)
    and is replaced only after it was cancelled.
    """

    __slots__ = ("_desk", "_ended", "_job", "_scope", "_take", "_worker", "cause", "claim",
                 "deadline", "started")  # fmt: skip

    def __init__(
        self,
        worker: Worker,
        desk: WorkerDesk,
        take: Callable[[Slot], Awaitable[Claim | None]],
        ended: Callable[[Slot, Claim, Ending, Finish | None, float], None],
    ) -> None:
        self._worker = worker
        self._desk = desk
        self._take = take
        self._ended = ended
        self._scope = anyio.CancelScope()
        self._job: Job[Any] | None = None
        self.claim: Claim | None = None
        self.cause: Interruption | None = None
        self.started = 0.0
        self.deadline = math.inf

    async def run(self) -> None:
        """Serve until the worker has nothing more to give."""
        while True:
            self._scope, self.cause = anyio.CancelScope(), None
            with self._scope:
                await self._serve()
            if self.cause is None:
                return

    async def _serve(self) -> None:
        while self.cause is None and (claim := await self._take(self)) is not None:
            await self._execute(claim)

    def interrupt(self, cause: Interruption) -> None:
        """Cancel the handler that runs here."""
        if self.cause is None:
            self.cause = cause
            self._scope.cancel()

    async def _execute(self, claim: Claim) -> None:
        handler = self._worker.handlers[claim.job_type]
        self.claim, self.started = claim, time.perf_counter()
        try:
            self._job = job = self._desk.open(handler, claim)
            finish = await self._desk.run(handler, job)
            ending = COMPLETED
        except asyncio.CancelledError as error:
            if not self._is_cancelled():  # the handler let somebody else's cancellation out
                ending = self._ending(claim, handler.retry, error)
            else:
                ending = self._interrupted(claim, handler)
                self._close(claim, ending, ending.finish)
                raise
            finish = ending.finish
        except (Exception, SystemExit) as error:  # noqa: BLE001 - every failure has its row in the table
            ending = self._ending(claim, handler.retry, error)
            finish = ending.finish
        self._close(claim, ending, finish)

    def _is_cancelled(self) -> bool:
        return self._scope.cancel_called or anyio.current_effective_deadline() == -math.inf

    def _close(self, claim: Claim, ending: Ending, finish: Finish | None) -> None:
        self.claim, self._job, self.deadline = None, None, math.inf
        self._ended(self, claim, ending, finish, time.perf_counter() - self.started)

    def _ending(self, claim: Claim, retry: RetryPolicy, error: BaseException) -> Ending:
        if self._job is not None and self._job.finished:
            # its effects are committed: what went wrong afterwards can only be told
            return Ending(None, Verdict.SUCCESS, "completed", ending_of(claim, error, retry).reason)
        return ending_of(claim, error, retry)

    def _interrupted(self, claim: Claim, handler: Handler) -> Ending:
        if self._job is not None and self._job.finished:
            return COMPLETED
        if self.cause is Interruption.TIMEOUT:
            return ending_of(claim, HandlerTimeout(handler.timeout or 0.0), handler.retry)
        if self.cause is Interruption.LOST:
            return Ending(None, Verdict.NEUTRAL, "lost")
        return Ending(released(claim), Verdict.NEUTRAL, "released")


class Deadlines:
    """One timer for all slots of a worker: it looks for handlers that ran too long."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._slots = list(slots)
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, slot: Slot, timeout: float) -> None:
        """Interrupt the job that starts now in ``slot`` after ``timeout`` seconds."""
        slot.deadline = asyncio.get_running_loop().time() + timeout
        if self._timer is None or slot.deadline < self._timer.when():
            self._arm(slot.deadline)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        self.close()
        self._timer = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        self._timer = None
        for slot in self._slots:
            if slot.deadline <= now:
                slot.deadline = math.inf
                slot.interrupt(Interruption.TIMEOUT)
        soonest = min(slot.deadline for slot in self._slots)
        if soonest < math.inf:
            self._arm(soonest)
