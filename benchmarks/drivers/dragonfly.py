"""Drives Dragonfly itself, as a user has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg

from benchmarks.drivers.protocol import (
    EFFECT,
    JOB_TYPE,
    OTHER_TYPE,
    THIRD_TYPE,
    Add,
    Handle,
    Options,
    Payload,
    run,
)
from dragonfly import Job, Worker
from dragonfly.events import Events
from dragonfly.postgres.database import open_database
from dragonfly.queue.bulk import enqueue_many
from dragonfly.queue.migrate import migrate
from dragonfly.queue.store import enqueue
from dragonfly.runtime.process import open_process
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.settings import Settings

SLOTS = 10
DAY_SECONDS = 86_400


class Dragonfly:
    """Ten slots where tuned, and what a Worker has by itself where not."""

    async def open(self, dsn: str, options: Options) -> None:
        """Connect."""
        self._dsn = dsn
        self._options = options
        self._conn = await asyncpg.connect(dsn)

    async def create(self) -> None:
        """Migrate."""
        await migrate(self._conn)

    async def add(self, payload: Payload) -> None:
        """One call of enqueue()."""
        await enqueue(self._conn, JOB_TYPE, payload)

    async def add_at(self, payload: Payload, run_at: float) -> None:
        """One call of enqueue()."""
        await enqueue(self._conn, JOB_TYPE, payload, run_at=datetime.fromtimestamp(run_at, UTC))

    async def lanes(self, count: int) -> Sequence[Add]:
        """A connection each."""
        return [partial(enqueue, await asyncpg.connect(self._dsn), JOB_TYPE) for _ in range(count)]

    async def add_many(self, payloads: Sequence[Payload], kind: str) -> None:
        """One call of enqueue_many()."""
        run_at = datetime.now(UTC) + timedelta(days=1) if kind == "later" else None
        await enqueue_many(self._conn, self._options.job_type, payloads, run_at=run_at)

    async def work(self, handle: Handle) -> None:
        """One supervisor, with one worker for each type."""
        await self._conn.close()
        options = self._options
        types = (options.job_type, OTHER_TYPE, THIRD_TYPE)[: options.workers]
        database = await open_database(self._dsn, "the benchmark's address")
        async with open_process(_settings(options), database, Events()) as process:
            workers = [_declare(options, job_type, handle) for job_type in types]
            await Supervisor(process, workers).run()


def _settings(options: Options) -> Settings:
    """The defaults, but for what the work is about."""
    chosen: dict[str, Any] = {}
    if options.transactions:
        chosen["pool_size"] = options.transactions
    if options.keep_seconds:
        chosen["keep_completed_days"] = options.keep_seconds / DAY_SECONDS
    return Settings(**chosen)


def _declare(options: Options, job_type: str, handle: Handle) -> Worker:
    slots = options.transactions or options.slots or SLOTS * options.tuned
    worker = Worker(job_type, concurrency=slots) if slots else Worker(job_type)

    async def no_op(job: Job[Payload]) -> None:
        handle(job.payload)

    async def write(job: Job[Payload]) -> None:
        handle(job.payload)
        async with job.transaction() as conn:
            await conn.execute(EFFECT, job.payload["n"])
            job.complete()

    worker.job(job_type)(write if options.transactions else no_op)
    return worker


if __name__ == "__main__":
    run(Dragonfly())
