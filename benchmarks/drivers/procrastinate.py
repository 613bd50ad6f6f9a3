"""Drives Procrastinate."""

# mypy: disable-error-code="import-not-found"
# the package is in the benchmark's own environment only

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from procrastinate import App, PsycopgConnector

from benchmarks.drivers.protocol import (
    JOB_TYPE,
    OTHER_TYPE,
    Add,
    Handle,
    Options,
    Payload,
    run,
)

SLOTS = 20
POLL_SECONDS = 0.1


class Procrastinate:
    """Twenty jobs at once where tuned.

    It looks for due jobs every 5 s by itself, and ten times a second where they matter.
    """

    async def open(self, dsn: str, options: Options) -> None:
        """Open its pool."""
        pool = {"min_size": SLOTS, "max_size": SLOTS} if options.tuned else {}
        self._app = App(connector=PsycopgConnector(conninfo=dsn, **pool))
        self._settings: dict[str, Any] = {"concurrency": SLOTS} if options.tuned else {}
        if options.timely:
            self._settings["fetch_job_polling_interval"] = POLL_SECONDS
        self._queue = options.job_type
        await self._app.open_async()
        self._handle: Handle = lambda payload: None

        async def no_op(**payload: Any) -> None:
            self._handle(payload)

        self._task = self._app.task(name=JOB_TYPE, queue=JOB_TYPE)(no_op)

    async def create(self) -> None:
        """Apply its schema."""
        await self._app.schema_manager.apply_schema_async()

    async def add(self, payload: Payload) -> None:
        """One call of defer_async()."""
        await self._task.defer_async(**payload)

    async def add_at(self, payload: Payload, run_at: float) -> None:
        """One call of defer_async()."""
        due = datetime.fromtimestamp(run_at, UTC)
        await self._task.configure(schedule_at=due).defer_async(**payload)

    async def lanes(self, count: int) -> Sequence[Add]:
        """The pool has twenty connections."""
        return [self.add] * count

    async def add_many(self, payloads: Sequence[Payload], kind: str) -> None:
        """One call of batch_defer_async()."""
        options: dict[str, Any] = {"queue": OTHER_TYPE} if kind == "other" else {}
        if kind == "later":
            options = {"schedule_in": {"days": 1}}
        await self._task.configure(**options).batch_defer_async(*payloads)

    async def work(self, handle: Handle) -> None:
        """One worker on one queue."""
        self._handle = handle
        await self._app.run_worker_async(queues=[self._queue], **self._settings)


if __name__ == "__main__":
    run(Procrastinate())
