"""Vacuums ``ops.jobs`` under loads for which autovacuum, looking once a minute, comes too late.

A job leaves three dead rows. Until a vacuum makes their room usable the table grows, and the larger
it is the longer the vacuum takes: at tens of thousands of jobs a second a minute late is a minute
longer (benchmark SOAK).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import anyio
import asyncpg

from dragonfly.events import JobsVacuumed, VacuumForbidden
from dragonfly.postgres.database import close
from dragonfly.postgres.failures import TROUBLE
from dragonfly.queue.maintenance import VACUUM, Litter, is_waited_for, litter
from dragonfly.runtime.process import Process

LOOK_SECONDS = 1.0
# of its own jobs a process has so many end before it asks how the table is: an idle one never asks
ENDED_JOBS = 100_000
# dead rows, and their part of the living, that are worth a vacuum; the part is autovacuum's own
DEAD_ROWS = 200_000
DEAD_SHARE = 0.05
# What a vacuum cannot remove, something still sees, be it only an ANALYZE of seconds: pauses double
# until it is tried as seldom as autovacuum would.
IN_VAIN_SECONDS = 60.0
# a table for which this is not enough is autovacuum's affair for a while, and so is one that
# somebody alters: the server, too, cuts its own vacuum off for him after a second
VACUUM_SECONDS = 60.0
MAKE_WAY_SECONDS = 1.0
CUT_OFF_SECONDS = 600.0
# What was written within seconds is in the system's memory: reading ahead by other processes costs
# more than it saves (benchmark SOAK).
VACUUM_SESSION = {"maintenance_io_concurrency": "0"}


class Vacuumer:
    """Of all processes, and autovacuum, one vacuums at a time; a stop cuts it off."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._looked_at = 0  # so many jobs had ended here then
        self._vain_seconds = LOOK_SECONDS  # the pause after the last one in vain

    async def run(self) -> None:
        """Look and vacuum until cancelled, or until it turns out that this role may not."""
        scale = self._process.settings.backoff_scale
        pause: float | None = LOOK_SECONDS
        while pause is not None:
            await asyncio.sleep(pause * scale)
            pause = LOOK_SECONDS
            if self._process.settled - self._looked_at < ENDED_JOBS:
                continue
            try:
                pause = await self._look()
            except* TROUBLE:
                pause = IN_VAIN_SECONDS
        self._process.events.emit(VacuumForbidden())

    async def _look(self) -> float | None:
        """Vacuum if that pays; the seconds until the next look, None if this role may not."""
        ended, found = self._process.settled, await self._litter()
        if not found.may_vacuum:
            return None
        if found.dead < max(DEAD_ROWS, found.live * DEAD_SHARE):
            self._looked_at = ended
            return LOOK_SECONDS
        began = time.monotonic()
        if not await self._vacuum():
            return CUT_OFF_SECONDS
        took, left = time.monotonic() - began, await self._litter()
        if left.vacuums == found.vacuums:
            return LOOK_SECONDS  # somebody else is at it
        self._looked_at = ended
        self._process.events.emit(JobsVacuumed(found.dead, took))
        if left.dead > found.dead / 2:
            self._vain_seconds = min(IN_VAIN_SECONDS, 2 * max(self._vain_seconds, took))
            return self._vain_seconds
        self._vain_seconds = LOOK_SECONDS
        # no longer than it took, or the next one takes longer still: the table grows in a pause
        return max(LOOK_SECONDS, took)

    async def _litter(self) -> Litter:
        async with self._process.heartbeats.use() as conn:
            return await litter(conn)

    async def _vacuum(self) -> bool:
        """Whether it came to its end; closing the connection tells the server if it is cut off."""
        conn, done = await self._process.connect("vacuum", VACUUM_SESSION), False
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._bound, group.cancel_scope)
                with suppress(asyncpg.QueryCanceledError):
                    await conn.execute(VACUUM)
                    done = True
                group.cancel_scope.cancel()
        finally:
            await close(conn)
        return done

    async def _bound(self, vacuum: anyio.CancelScope) -> None:
        """Cut it off when its time is over, or somebody waits for the table."""
        with anyio.move_on_after(VACUUM_SECONDS):
            waited = False
            while not waited:
                await anyio.sleep(MAKE_WAY_SECONDS)
                async with self._process.heartbeats.use() as conn:
                    waited = await is_waited_for(conn)
        vacuum.cancel()
