"""Forgets ended jobs when their time is over: by status, or as their handler says."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable

from dragonfly.events import JobsForgotten
from dragonfly.job import JobStatus
from dragonfly.postgres.failures import TROUBLE
from dragonfly.queue.maintenance import Keep, prune_step
from dragonfly.runtime.process import Process
from dragonfly.settings import Settings
from dragonfly.worker import Worker

DAY_SECONDS = 86400.0
SWEEP_EVERY_SECONDS = 3600.0
LEAST_PAUSE_SECONDS = 0.02
# between two steps, as a part of the time that the last one took: a server that is busy, or slow,
# is left alone for longer, and a sweep still forgets as fast as jobs can end (benchmark SOAK)
BREATH = 0.25
# from the first row on a sweep begins for no more than a fiftieth of the time, as far as it finds
# nothing there: else it goes on where jobs were forgotten last
WHOLE_SHARE = 50
ENDED = (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED)


def keeps_of(settings: Settings, workers: Iterable[Worker]) -> tuple[Keep, ...]:
    """The rules of a process: one for each status, and those of its handlers."""
    days = (
        settings.keep_completed_days,
        settings.keep_cancelled_days,
        settings.keep_failed_days,
    )
    by_status = [Keep(status, n * DAY_SECONDS) for status, n in zip(ENDED, days, strict=True)]
    by_type = [
        Keep(status, handler.keep_days * DAY_SECONDS, handler.job_type)
        for worker in workers
        for handler in worker.handlers.values()
        if handler.keep_days is not None
        for status in ENDED
    ]
    return (*by_status, *by_type)


class Sweeper:
    """Sweeps hourly, or ten times in the shortest time that anything is kept.

    Every process may sweep: what one has locked, another passes over.
    """

    def __init__(self, process: Process, workers: Iterable[Worker]) -> None:
        self._process = process
        self._keeps = keeps_of(process.settings, workers)
        self._front = 0  # after which id the last step began that forgot anything
        self._patience = 1  # so many steps in vain end a sweep that began there
        self._whole_at = -math.inf
        self._vain_seconds = 0.0  # what the last sweep from the first row on spent in vain

    async def run(self) -> None:
        """Sweep until cancelled; a database that is away is left for the next sweep."""
        pause = min(SWEEP_EVERY_SECONDS, min(keep.seconds for keep in self._keeps) / 10)
        while True:
            await asyncio.sleep(max(pause, LEAST_PAUSE_SECONDS))
            try:
                forgotten = await self._sweep()
            except TROUBLE:
                continue
            if forgotten:
                self._process.events.emit(JobsForgotten(forgotten))

    async def _sweep(self) -> int:
        """Jobs end about in the order of their ids: those that are over lie together, mostly.

        The others are found from the first row on. A sweep that forgot nothing lets the next one
        look twice as far, past whatever came to stay in front.
        """
        now = time.monotonic()
        if now - self._whole_at >= WHOLE_SHARE * self._vain_seconds:
            forgotten, self._vain_seconds = await self._walk(0, math.inf)
            self._whole_at = now
            return forgotten
        forgotten, _ = await self._walk(self._front, self._patience)
        self._patience = 1 if forgotten else 2 * self._patience
        return forgotten

    async def _walk(self, after: int, patience: float) -> tuple[int, float]:
        """Until so many steps in a row forgot nothing: the rows, and the seconds of such steps."""
        forgotten, in_vain, vain_seconds = 0, 0, 0.0
        while True:
            # the heartbeat, whose connection this borrows, gets its turn between two steps
            async with self._process.heartbeats.use() as conn:
                began = time.monotonic()
                step = await prune_step(conn, self._keeps, after)
            took = time.monotonic() - began
            forgotten += step.forgotten
            if step.forgotten:
                self._front, in_vain = after, 0
            else:
                in_vain, vain_seconds = in_vain + 1, vain_seconds + took
            if step.last_id is None or in_vain >= patience:
                return forgotten, vain_seconds
            after = step.last_id
            await asyncio.sleep(took * BREATH)
