"""The worker of a drill: its jobs tell each step they take, and one kind kills its process."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from dragonfly import ConfigurationError, Job, RetryPolicy, Worker
from dragonfly.ops.drill import history
from dragonfly.postgres.database import connect
from dragonfly.postgres.line import Line
from dragonfly.settings import Settings

Payload = dict[str, object]
# whoever holds it exclusively holds up all jobs whose payload says "hold"
HOLD_LOCK = 5277240124
QUICKLY = RetryPolicy(first=0.01)
NOTE_SECONDS = 10.0


class Notes:
    """Tells of steps over a connection of its own, committed at once."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._process = str(os.getpid())

    async def note(self, job: Job[Payload], step: str) -> None:
        """This job has come so far."""
        try:
            async with self._line.use(shield=True) as conn:
                await conn.execute(history.NOTE, job.id, job.claim.lock_token, self._process, step)
        except OSError as error:
            raise ConnectionRefusedError(f"no connection: {type(error).__name__}") from error


@asynccontextmanager
async def take_notes(settings: Settings) -> AsyncIterator[Notes]:
    """The history, reached when it is first needed."""
    dsn = settings.database_url
    if dsn is None:
        raise ConfigurationError("A drill's worker is started by `dragonfly drill` alone.")
    line = Line(lambda: connect(dsn, "history"), NOTE_SECONDS)
    try:
        yield Notes(line)
    finally:
        await line.aclose()


worker = Worker("drill", concurrency=4, lifespan=take_notes)


@worker.job(history.FENCED, retry=QUICKLY)
async def fenced(job: Job[Payload]) -> None:
    """An effect that must happen exactly once: in the commit that finishes the job."""
    notes: Notes = job.resources
    await notes.note(job, "start")
    async with job.transaction() as conn:
        await conn.execute(history.EFFECT, job.id, job.claim.lock_token)
        await notes.note(job, "effect")
        if job.payload.get("hold"):
            await conn.execute("SELECT pg_advisory_xact_lock_shared($1)", HOLD_LOCK)
        await anyio.sleep(_seconds(job))
        job.complete()
    await notes.note(job, "end")


@worker.job(history.RETURNING, retry=QUICKLY)
async def returning(job: Job[Payload]) -> object:
    """An effect that may happen more than once: the job ends after it."""
    notes: Notes = job.resources
    await notes.note(job, "start")
    await anyio.sleep(_seconds(job))
    await notes.note(job, "effect")
    await notes.note(job, "end")
    return job.payload.get("result")


@worker.job(history.POISON, retry=QUICKLY)
async def poison(job: Job[Payload]) -> None:
    """Take the process down, as the kernel does when memory runs out."""
    notes: Notes = job.resources
    await notes.note(job, "start")
    await job.progress(50, "about to use all memory")
    os.kill(os.getpid(), signal.SIGTERM if os.name == "nt" else signal.SIGKILL)


def _seconds(job: Job[Payload]) -> float:
    return float(str(job.payload.get("seconds", 0)))
