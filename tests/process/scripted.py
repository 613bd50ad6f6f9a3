"""Workers whose jobs do what their payload says; run by real processes."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import asyncpg

from dragonfly import Job, Reject, Snooze, Worker, enqueue
from dragonfly.job import RetryPolicy
from dragonfly.settings import Settings

Payload = dict[str, object]
SLOTS = int(os.environ.get("SCRIPTED_SLOTS", "4"))
TRACE = "INSERT INTO public.trace (job_id, what, pid) VALUES ($1, $2, pg_backend_pid())"

worker = Worker("scripted", concurrency=SLOTS)
neighbour = Worker("neighbour")
lonely = Worker("lonely")


async def trace(job: Job[Payload], what: str) -> None:
    """A row that shows how far the job came, committed at once."""
    async with job.transaction() as tx:
        await tx.execute(TRACE, job.id, what)


@worker.job("script", retry=RetryPolicy(first=0.01))
async def script(job: Job[Payload]) -> object:
    """Do what the payload says."""
    await trace(job, "start")
    match job.payload["do"]:
        case "return":
            return {"attempt": job.attempt}
        case "raise":
            raise ValueError("broken")
        case "raise once":
            if job.attempt == 1:
                raise ValueError("broken")
        case "reject":
            raise Reject("NO", "never")
        case "snooze":
            raise Snooze(after=3600)
        case "exit":
            os._exit(3)
        case "follow":
            await follow(job)
        case "wait":
            await wait_for_release(job)
        case "wait and raise once":
            await wait_for_release(job)
            if job.attempt == 1:
                raise ValueError("broken")
        case "sleep":
            await anyio.sleep_forever()
        case "swallow":
            await swallow()
        case "count":
            await count(job)
    return None


async def follow(job: Job[Payload]) -> None:
    """Finish together with a follow-up for the neighbour."""
    async with job.transaction() as tx:
        await enqueue(tx, "next", {"do": "return"}, parent_id=job.id)
        job.complete()


async def wait_for_release(job: Job[Payload]) -> None:
    """Go on when nobody holds the advisory lock of the payload, 42 by default, any more."""
    async with job.transaction() as tx:
        await tx.execute("SELECT pg_advisory_xact_lock_shared($1)", job.payload.get("lock", 42))
        await tx.execute(TRACE, job.id, "released")


async def swallow() -> None:
    """A handler nobody can stop."""
    while True:
        try:
            await anyio.sleep(3600)
        except BaseException:  # noqa: BLE001 - that is its point
            continue


async def count(job: Job[Payload]) -> None:
    """An effect that must happen exactly once: in the commit that finishes the job."""
    async with job.transaction() as tx:
        await tx.execute(TRACE, job.id, "effect")
        await tx.execute("SELECT pg_sleep(0.01)")
        job.complete()


@worker.job("thread")
def thread(job: Job[Payload]) -> str:
    """Block in a thread, for ever or for the seconds of the payload."""
    anyio.from_thread.run(trace, job, "start")
    seconds = job.payload.get("seconds")
    threading.Event().wait(float(str(seconds)) if seconds else None)
    return "done"


@neighbour.job("next")
async def following(job: Job[Payload]) -> None:
    """The end of a chain."""
    if job.payload["do"] == "raise":
        raise ValueError("broken")


@lonely.job("select")
async def select(job: Job[Payload]) -> None:
    """Needs a table that nobody made."""
    async with job.transaction() as tx:
        await tx.execute("SELECT * FROM public.missing")
        job.complete()


@asynccontextmanager
async def never_opens(_: Settings) -> AsyncIterator[None]:
    """Resources that nobody gets."""
    await anyio.sleep_forever()
    yield


@asynccontextmanager
async def never_closes(_: Settings) -> AsyncIterator[None]:
    """Resources that nobody gets rid of."""
    yield
    await swallow()


opening = Worker("opening", lifespan=never_opens)
closing = Worker("closing", lifespan=never_closes)
opening.job("opening")(following)
closing.job("closing")(following)


async def make_trace(conn: asyncpg.Connection) -> None:
    """The table in which the jobs leave their traces."""
    await conn.execute(
        "CREATE TABLE public.trace (job_id bigint, what text, pid int, "
        "at timestamptz DEFAULT clock_timestamp())"
    )
