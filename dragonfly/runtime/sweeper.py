"""Forgets ended jobs when their time is over: by status, or as their handler says."""

from __future__ import annotations

import asyncio
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
        forgotten, after = 0, 0
        while True:
            # the heartbeat, whose connection this borrows, gets its turn between two steps
            async with self._process.heartbeats.use() as conn:
                began = time.monotonic()
                step = await prune_step(conn, self._keeps, after)
            forgotten += step.forgotten
            if step.last_id is None:
                return forgotten
            after = step.last_id
            await asyncio.sleep((time.monotonic() - began) * BREATH)
