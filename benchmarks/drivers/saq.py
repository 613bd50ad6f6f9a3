"""Drives SAQ on Postgres."""

# mypy: disable-error-code="import-not-found"
# the package is in the benchmark's own environment only

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

from saq import Queue, Worker

from benchmarks.drivers.protocol import JOB_TYPE, Add, Handle, Options, Payload, run

SLOTS = 20
DAY = 86_400
POLL_SECONDS = 0.1


class Saq:
    """Twenty jobs at once where tuned; it has no bulk call, so many calls run at once.

    It keeps due times in whole seconds, so half a second of each delay is its own; it looks for
    them every second by itself, and ten times a second where they matter.
    """

    async def open(self, dsn: str, options: Options) -> None:
        """Connect, by default with at most twenty connections."""
        self._queue = Queue.from_url(dsn, name=options.job_type)
        self._settings: dict[str, Any] = {"concurrency": SLOTS} if options.tuned else {}
        if options.timely:
            self._settings["poll_interval"] = POLL_SECONDS
        await self._queue.connect()

    async def create(self) -> None:
        """Nothing more: connecting laid the tables."""

    async def add(self, payload: Payload) -> None:
        """One call of enqueue()."""
        await self._queue.enqueue(JOB_TYPE, **payload)

    async def add_at(self, payload: Payload, run_at: float) -> None:
        """One call of enqueue(), for the next whole second: never too early."""
        await self._queue.enqueue(JOB_TYPE, scheduled=math.ceil(run_at), **payload)

    async def lanes(self, count: int) -> Sequence[Add]:
        """The pool has twenty connections."""
        return [self.add] * count

    async def add_many(self, payloads: Sequence[Payload], kind: str) -> None:
        """Many calls of enqueue() on the pool's connections."""
        later = {"scheduled": int(time.time()) + DAY} if kind == "later" else {}
        await asyncio.gather(*(self._queue.enqueue(JOB_TYPE, **p, **later) for p in payloads))

    async def work(self, handle: Handle) -> None:
        """One worker."""

        async def no_op(context: object, **payload: Any) -> None:
            handle(payload)

        await Worker(self._queue, [(JOB_TYPE, no_op)], **self._settings).start()


if __name__ == "__main__":
    run(Saq())
