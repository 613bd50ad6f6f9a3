"""Slots: long-lived places in which jobs run one after the other."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Protocol

import anyio

from dragonfly.job import Claim, Job
from dragonfly.retries import Retries
from dragonfly.runtime.execution import WorkerDesk
from dragonfly.runtime.outcomes import (
    COMPLETED,
    Ending,
    HandlerTimeout,
    Verdict,
    ending_of,
    released,
    succeeded,
)
from dragonfly.worker import Handler


class Interruption(Enum):
    """Why a running handler is cancelled."""

    TIMEOUT = auto()
    STOP = auto()
    LOST = auto()  # cancelled by an operator, or another holder: there is nothing left to write


class Feed(Protocol):
    """Where a slot gets its jobs, and who hears how they ended."""

    def next(self) -> Claim | None:
        """A job to start now, if there is one; it may also hold one back to let others run."""

    async def more(self) -> bool:
        """Wait until it is worth asking again; False when the worker closes."""

    def completed(self, claim: Claim, seconds: float, *, committed: bool) -> None:
        """The handler succeeded; there is only that to write, or its own commit has said it."""

    def ended(self, slot: Slot, claim: Claim, ending: Ending, seconds: float) -> None:
        """Any other end."""


class Slot:
    """Runs one job at a time.

    Its cancel scope lives on from job to job (a scope per job would cost more than a short job)
    and is replaced only after it was cancelled.
    """

    __slots__ = ("_deadlines", "_desk", "_feed", "_handlers", "_job", "_scope", "cause", "claim",
                 "deadline", "started", "task")  # fmt: skip

    def __init__(
        self, handlers: Mapping[str, Handler], desk: WorkerDesk, deadlines: Deadlines, feed: Feed
    ) -> None:
        self._handlers = handlers
        self._desk = desk
        self._deadlines = deadlines
        self._feed = feed
        self._scope = anyio.CancelScope()
        self._job: Job[Any] | None = None
        self.claim: Claim | None = None
        self.cause: Interruption | None = None
        self.started = 0.0
        self.deadline = math.inf
        self.task: asyncio.Task[Any] | None = None  # in which its handlers run

    async def run(self) -> None:
        """Serve until the worker has nothing more to give."""
        self.task = task = asyncio.current_task()
        while task is not None:
            self._scope, self.cause = anyio.CancelScope(), None
            try:
                with self._scope:
                    await self._serve(task)
            except asyncio.CancelledError:
                if anyio.current_effective_deadline() == -math.inf:
                    raise
                await _forget_strays(task)
            else:
                if self.cause is None:
                    return

    async def _serve(self, task: asyncio.Task[Any]) -> None:
        feed = self._feed
        while self.cause is None:
            claim = feed.next()
            if claim is not None:
                await self._execute(claim, self._handlers[claim.job_type])
                if task.cancelling() and not self._is_cancelled():
                    await _forget_strays(task)
            elif not await feed.more():
                return

    def interrupt(self, cause: Interruption) -> None:
        """Cancel the handler that runs here."""
        if self.cause is None:
            self.cause = cause
            self._scope.cancel()

    async def _execute(self, claim: Claim, handler: Handler) -> None:
        self.claim, self.started = claim, time.perf_counter()
        if handler.timeout is not None:
            self._deadlines.watch(self, handler.timeout)
        ending = COMPLETED
        try:
            self._job = job = self._desk.open(handler, claim)
            if handler.is_async:
                result = await handler.function(job)
            else:
                result = await self._desk.in_thread(handler, job)
            if result is not None and not job.finished:
                ending = succeeded(claim, result)
        except asyncio.CancelledError as error:
            if self._is_cancelled():
                self._close(claim, self._interrupted(claim, handler))
                raise
            # the handler let somebody else's cancellation out
            ending = self._ending(claim, handler.retries, error)
        except BaseException as error:  # noqa: BLE001 - every failure has its row in the table
            # KeyboardInterrupt too: real ones go to the process as signals, this one is a handler's
            ending = self._ending(claim, handler.retries, error)
        self._close(claim, ending)

    def _is_cancelled(self) -> bool:
        return self._scope.cancel_called or anyio.current_effective_deadline() == -math.inf

    def _close(self, claim: Claim, ending: Ending) -> None:
        seconds = time.perf_counter() - self.started
        finished = self._job is not None and self._job.finished
        self.claim, self._job, self.deadline = None, None, math.inf
        if ending is COMPLETED:
            self._feed.completed(claim, seconds, committed=finished)
        else:
            self._feed.ended(self, claim, ending, seconds)

    def _ending(self, claim: Claim, retries: Retries, error: BaseException) -> Ending:
        if self._job is not None and self._job.finished:
            # its effects are committed: what went wrong afterwards can only be told
            return Ending(
                None, Verdict.SUCCESS, "completed", ending_of(claim, error, retries).reason
            )
        return ending_of(claim, error, retries)

    def _interrupted(self, claim: Claim, handler: Handler) -> Ending:
        if self._job is not None and self._job.finished:
            return COMPLETED
        if self.cause is Interruption.TIMEOUT:
            return ending_of(claim, HandlerTimeout(handler.timeout or 0.0), handler.retries)
        if self.cause is Interruption.LOST:
            return Ending(None, Verdict.NEUTRAL, "lost")
        return Ending(released(claim), Verdict.NEUTRAL, "released")


async def _forget_strays(task: asyncio.Task[Any]) -> None:
    """Take back what a handler, or what it left behind, cancelled, for the task counts it for ever.

    An anyio scope that was open then lets even its own cancellation out, and so does each task
    group of asyncio after it.
    """
    while task.uncancel():
        pass
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(0)  # one that has not come yet


class Rest:
    """The idle slots of a worker; who came last is roused first.

    One event for all would wake each of ten for a lone job: 29 µs of the processor instead of 8.
    """

    def __init__(self) -> None:
        self._bells: list[asyncio.Event] = []

    def __len__(self) -> int:
        return len(self._bells)

    async def until_roused(self) -> None:
        """Be idle."""
        bell = asyncio.Event()
        self._bells.append(bell)
        try:
            await bell.wait()
        finally:
            if not bell.is_set():  # cancelled: the call is another's
                self._bells.remove(bell)

    def rouse(self, most: int) -> None:
        """Let up to so many look for work."""
        for _ in range(min(most, len(self._bells))):
            self._bells.pop().set()


class Deadlines:
    """One timer for all slots of a worker: it looks for handlers that ran too long."""

    def __init__(self) -> None:
        self._slots: set[Slot] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, slot: Slot, timeout: float) -> None:
        """Interrupt the job that starts now in ``slot`` after ``timeout`` seconds."""
        slot.deadline = asyncio.get_running_loop().time() + timeout
        self._slots.add(slot)
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
