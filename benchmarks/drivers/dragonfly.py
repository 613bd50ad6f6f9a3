"""Drives Dragonfly itself, as a user has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from benchmarks.drivers.protocol import JOB_TYPE, OTHER_TYPE, Handle, Options, Payload, run
from dragonfly import Job, Worker
from dragonfly.events import Events
from dragonfly.postgres.database import open_database
from dragonfly.queue.migrate import migrate
from dragonfly.queue.store import enqueue, enqueue_many
from dragonfly.runtime.process import open_process
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.settings import Settings

SLOTS = 10


class Dragonfly:
    """Ten slots where tuned, and what a Worker has by itself where not."""

    async def open(self, dsn: str, options: Options) -> None:
        """Connect."""
        self._dsn = dsn
        self._conn = await asyncpg.connect(dsn)
        if options.slots or options.tuned:
            self._worker = Worker("bench", concurrency=options.slots or SLOTS)
        else:
            self._worker = Worker("bench")

    async def create(self) -> None:
        """Migrate."""
        await migrate(self._conn)

    async def add(self, payload: Payload) -> None:
        """One call of enqueue()."""
        await enqueue(self._conn, JOB_TYPE, payload)

    async def add_many(self, payloads: Sequence[Payload], kind: str) -> None:
        """One call of enqueue_many()."""
        job_type = OTHER_TYPE if kind == "other" else JOB_TYPE
        run_at = datetime.now(UTC) + timedelta(days=1) if kind == "later" else None
        await enqueue_many(self._conn, job_type, payloads, run_at=run_at)

    async def work(self, handle: Handle) -> None:
        """One supervisor with one worker."""
        await self._conn.close()

        @self._worker.job(JOB_TYPE)
        async def no_op(job: Job[Payload]) -> None:
            handle(job.payload)

        database = await open_database(self._dsn, "the benchmark's address")
        async with open_process(Settings(), database, Events()) as process:
            await Supervisor(process, [self._worker]).run()


if __name__ == "__main__":
    run(Dragonfly())
