"""The pulse of a worker: it renews the locks of what the worker holds, and tells how it is."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import anyio

from dragonfly import __version__
from dragonfly.events import JobsRescued
from dragonfly.job import Claim, JobStatus
from dragonfly.postgres.failures import TROUBLE
from dragonfly.queue import heartbeats, store
from dragonfly.queue.heartbeats import Beat, Heartbeat, WorkerStatus
from dragonfly.runtime.loop import WorkerLoop
from dragonfly.runtime.process import Process

if TYPE_CHECKING:
    from asyncpg import Connection

LAST_WORD_SECONDS = 2.0
PRUNE_EVERY = timedelta(hours=1)


class Pulse:
    """Beats for one start of one worker, on a connection that jobs never use."""

    def __init__(self, process: Process, rescuer: Rescuer) -> None:
        self._process = process
        self._rescuer = rescuer
        self._nudged = asyncio.Event()
        self._over = False

    def nudge(self) -> None:
        """Beat now: something changed that people should see."""
        self._nudged.set()

    async def run(self, loop: WorkerLoop) -> None:
        """Beat until cancelled; a database that is away is tried again before a lease runs out."""
        settings = self._process.settings
        pause = min(settings.heartbeat_seconds, settings.lease_seconds / 4)
        while not self._over:
            self._nudged.clear()
            try:
                await self._beat(loop)
            except TROUBLE:
                # the claim loop meets the same database and tells about it
                await asyncio.sleep(pause)
                continue
            with anyio.move_on_after(pause):
                await self._nudged.wait()

    async def last_word(self, loop: WorkerLoop, status: WorkerStatus, reason: str | None) -> None:
        """Write how this start ended, if the database lets us within a bound."""
        self._over = True
        try:
            with anyio.fail_after(LAST_WORD_SECONDS, shield=True):
                async with self._process.heartbeats.use() as conn:
                    await heartbeats.beat(conn, self._row(loop, status, reason))
        except TROUBLE:
            return  # its last heartbeat grows old, which says the same

    async def stand_in(
        self, conn: Connection, loop: WorkerLoop, status: WorkerStatus, reason: str
    ) -> None:
        """Renew and beat while the event loop does not turn: called from another thread.

        What is lost the loop finds out by itself, once it turns; until then the fence holds.
        """
        if self._over:
            return
        held = tuple(loop.ledger.held.copy().values())
        if held:
            await store.renew(conn, held, self._process.settings.lease_seconds)
        await heartbeats.beat(conn, self._row(loop, status, self._so_far(reason)))

    def _so_far(self, reason: str | None) -> str | None:
        """The reason, and whether the process was asked to stop: evidence, if this is the last."""
        return "; ".join(filter(None, (self._process.stop.phase, reason))) or None

    async def _beat(self, loop: WorkerLoop) -> None:
        async with self._process.heartbeats.use() as conn:
            lost = await self._renew(conn, loop)
            row = self._row(loop, loop.health.status, self._so_far(loop.health.reason))
            await self._rescuer.renewed(conn, await heartbeats.beat(conn, row))
        if lost:
            loop.lose(lost)
        loop.give_back_the_late()

    async def _renew(self, conn: Connection, loop: WorkerLoop) -> list[Claim]:
        """Renew everything held; the claims whose jobs somebody else has by now."""
        held = list(loop.ledger.held.values())
        if not held:
            return []
        renewed = await store.renew(conn, held, self._process.settings.lease_seconds)
        missing = [claim for claim in held if claim.id not in renewed]
        if not missing:
            return []
        lost = await store.lost(conn, [(claim.id, claim.lock_token) for claim in missing])
        if lost:
            # completed by its own transaction, whose handler goes on: nobody took it away
            ended = await store.finished_by_us(conn, sorted(lost), [loop.worker_id])
            lost -= {job_id for job_id, how in ended.items() if how is JobStatus.COMPLETED}
        return [claim for claim in missing if claim.id in lost]

    def _row(self, loop: WorkerLoop, status: WorkerStatus, reason: str | None) -> Heartbeat:
        return Heartbeat(
            worker_id=loop.worker_id,
            worker_type=loop.worker.worker_type,
            status=status,
            hostname=self._process.hostname,
            pid=self._process.pid,
            version=__version__,
            consecutive_failures=loop.health.backoff.consecutive_failures,
            reason=reason,
            running_jobs=len(loop.running),
            job_types=tuple(loop.worker.handlers),
            concurrency=loop.worker.concurrency,
            concurrency_per_key=loop.worker.concurrency_per_key,
            circuits=loop.health.open_circuits(tuple(loop.worker.handlers)),
            rss_bytes=self._process.rss_bytes,
        )


class Rescuer:
    """Brings back jobs whose lease ran out, but only in a process that proved itself alive.

    After an outage, a restart of PostgreSQL or a laptop's sleep every process finds old leases,
    its own and its neighbours'. So none rescues before it has renewed for one whole lease without
    a gap: by then the living have renewed theirs. Time is the database's.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._since: datetime | None = None
        self._last: datetime | None = None
        self._pruned: datetime | None = None

    async def renewed(self, conn: Connection, beat: Beat) -> None:
        """A renewal succeeded; rescue, if that has been so for long enough and there is cause."""
        settings, now = self._process.settings, beat.at
        lease = timedelta(seconds=settings.lease_seconds)
        if self._last is None or self._since is None or now - self._last > lease / 2:
            self._since = now
        self._last = now
        if now - self._since < lease:
            return
        if beat.lapsed:
            await self._rescue(conn, now + lease / 2)
        if self._pruned is None or now - self._pruned > PRUNE_EVERY:
            self._pruned = now
            await heartbeats.prune(conn)

    async def _rescue(self, conn: Connection, not_after: datetime) -> None:
        budget = self._process.settings.crash_budget
        rescued = await store.rescue(conn, budget, not_after=not_after)
        if rescued.returned or rescued.failed:
            self._process.events.emit(JobsRescued(rescued.returned, rescued.failed))
