"""Drives Chancy."""

# mypy: disable-error-code="import-not-found"
# the package is in the benchmark's own environment only

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from chancy import Chancy, Job, Queue, Worker

from benchmarks.drivers.protocol import JOB_TYPE, OTHER_TYPE, Add, Handle, Options, Payload, run

SLOTS = 500
# whole seconds, and 1 is the least
POLL_SECONDS = 1

# it imports the function by name, so what the function calls has to be found by name too
handlers: list[Handle] = []


async def no_op(**payload: Any) -> None:
    """The job."""
    handlers[0](payload)


class ChancyDriver:
    """On the asyncio executor, polling eagerly with 500 slots where tuned.

    It looks for due jobs every 5 s by itself, and every second where they matter.
    """

    async def open(self, dsn: str, options: Options) -> None:
        """Open its pool, by default of at most ten connections."""
        self._options = options
        # its default logger writes lines, which would be measured too
        self._app = Chancy(dsn, log=logging.getLogger("chancy"))
        await self._app.__aenter__()

    async def create(self) -> None:
        """Migrate and declare the queue."""
        await self._app.migrate()

    async def add(self, payload: Payload) -> None:
        """One call of push()."""
        await self._app.push(self._job(payload, "now"))

    async def add_at(self, payload: Payload, run_at: float) -> None:
        """One call of push()."""
        due = datetime.fromtimestamp(run_at, UTC)
        await self._app.push(self._job(payload, "now").with_scheduled_at(due))

    async def lanes(self, count: int) -> Sequence[Add]:
        """The pool has ten connections."""
        return [self.add] * count

    async def add_many(self, payloads: Sequence[Payload], kind: str) -> None:
        """One call of push_many()."""
        async for _ in self._app.push_many([self._job(payload, kind) for payload in payloads]):
            pass

    async def work(self, handle: Handle) -> None:
        """One worker."""
        handlers.append(handle)
        options = self._options
        tuned = {"concurrency": SLOTS, "eager_polling": True} if options.tuned else {}
        if options.timely:
            tuned["polling_interval"] = POLL_SECONDS
        queue = Queue(options.job_type, executor=Chancy.Executor.Async, **tuned)
        await self._app.declare(queue, upsert=True)
        async with Worker(self._app) as worker:
            await worker.wait_for_shutdown()

    def _job(self, payload: Payload, kind: str) -> Job:
        job = Job.from_func(
            no_op, kwargs=payload, queue=OTHER_TYPE if kind == "other" else JOB_TYPE
        )
        return job.with_scheduled_at(datetime.now(UTC) + timedelta(days=kind == "later"))


if __name__ == "__main__":
    run(ChancyDriver())
