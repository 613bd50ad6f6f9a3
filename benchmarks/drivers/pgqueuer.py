"""Drives PgQueuer."""

# mypy: disable-error-code="import-not-found"
# the package is in the benchmark's own environment only

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer, Queries

from benchmarks.drivers.protocol import (
    JOB_TYPE,
    OTHER_TYPE,
    Add,
    Handle,
    Options,
    Payload,
    run,
)

BATCH = 500


class Pgqueuer:
    """One asyncpg connection, batches of 500 where tuned.

    It knows when the next job is due, but never waits less than 100 ms for it.
    """

    async def open(self, dsn: str, options: Options) -> None:
        """Connect."""
        self._dsn = dsn
        self._job_type = options.job_type
        self._driver = AsyncpgDriver(await asyncpg.connect(dsn))
        self._queries = Queries(self._driver)
        self._settings = {"batch_size": BATCH} if options.tuned else {}

    async def create(self) -> None:
        """Install its schema."""
        await self._queries.install()

    async def add(self, payload: Payload) -> None:
        """One call of enqueue()."""
        await self._queries.enqueue(JOB_TYPE, json.dumps(payload).encode())

    async def add_at(self, payload: Payload, run_at: float) -> None:
        """One call of enqueue(), which takes the time that is left."""
        left = timedelta(seconds=run_at - time.time())
        await self._queries.enqueue(JOB_TYPE, json.dumps(payload).encode(), execute_after=left)

    async def lanes(self, count: int) -> Sequence[Add]:
        """A connection each."""
        return [self._lane(await asyncpg.connect(self._dsn)) for _ in range(count)]

    def _lane(self, conn: asyncpg.Connection) -> Add:
        queries = Queries(AsyncpgDriver(conn))

        async def add(payload: Payload) -> None:
            await queries.enqueue(JOB_TYPE, json.dumps(payload).encode())

        return add

    async def add_many(self, payloads: Sequence[Payload], kind: str) -> None:
        """One call of enqueue() with lists."""
        count = len(payloads)
        await self._queries.enqueue(
            [OTHER_TYPE if kind == "other" else JOB_TYPE] * count,
            [json.dumps(payload).encode() for payload in payloads],
            [0] * count,
            [timedelta(days=kind == "later")] * count,
        )

    async def work(self, handle: Handle) -> None:
        """One PgQueuer application."""
        application = PgQueuer(self._driver)

        async def no_op(job: object) -> None:
            handle(json.loads(job.payload))  # type: ignore[attr-defined]

        application.entrypoint(self._job_type)(no_op)
        await application.run(**self._settings)


if __name__ == "__main__":
    run(Pgqueuer())
