"""Who competes. Each drains or waits in a process of its own and prints one JSON line.

``python -m benchmarks.contestants NAME WORK DSN COUNT`` with WORK drain or pickup.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import anyio
import asyncpg
import uvloop

from dragonfly import Job, Worker
from dragonfly.events import Events
from dragonfly.postgres.database import open_database
from dragonfly.runtime.process import Mode, open_process
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.settings import Settings

JOB_TYPE = "bench"
BATCH = 1000

Stamps = dict[int, int]


def say(**values: Any) -> None:
    """One line for the process that measures."""
    print(json.dumps(values), flush=True)


# --- Dragonfly ----------------------------------------------------------------------------------


async def dragonfly(work: str, dsn: str, count: int) -> None:
    """The queue and its runtime as a user has them, ten slots."""
    started: Stamps = {}
    worker = Worker("bench", concurrency=10)
    done = anyio.Event()

    @worker.job(JOB_TYPE)
    async def handle(job: Job[dict[str, int]]) -> None:
        started[job.payload["n"]] = time.monotonic_ns()
        if len(started) == count:
            done.set()

    database = await open_database(dsn, "the benchmark's address")
    mode = Mode.DRAIN if work == "drain" else Mode.FOREVER
    async with open_process(Settings(), database, Events(), mode) as process:
        supervisor = Supervisor(process, [worker])
        if work == "drain":
            await supervisor.run()
            say(first=min(started.values()), last=time.monotonic_ns())
            return
        async with anyio.create_task_group() as group:
            group.start_soon(supervisor.run)
            while not (status := supervisor.view()[0].status) == "running":
                await anyio.sleep(0.01)
            await anyio.sleep(0.5)
            say(ready=status)
            await done.wait()
            process.stop.request("done")
    say(started=started)


# --- a bare loop --------------------------------------------------------------------------------

BARE_CLAIM = """
UPDATE ops.jobs SET status = 'processing', locked_by = 'bare', lock_token = 1,
       locked_at = now(), locked_until = now() + interval '1 minute', attempts = attempts + 1
 WHERE id = ANY (ARRAY (
       SELECT id FROM ops.jobs
        WHERE job_type = $1 AND status = 'pending' AND crashes = 0
        ORDER BY priority DESC, run_at, id LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING id, payload
"""
BARE_FINISH = """
UPDATE ops.jobs SET status = 'completed', finished_at = now(), lock_token = NULL, locked_until = NULL
 WHERE id = ANY ($1)
"""


async def bare(work: str, dsn: str, count: int) -> None:
    """Claim and finish in batches on the same table, the finish overlapping the next claim.

    No tokens, retries, timeouts, leases or payload types: a floor, not a product.
    """
    claims, finishes = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    if work == "pickup":
        await _bare_pickup(claims, dsn, count)
    else:
        await _bare_drain(claims, finishes)
    await claims.close()
    await finishes.close()


async def _bare_drain(claims: asyncpg.Connection, finishes: asyncpg.Connection) -> None:
    first = 0
    flush: asyncio.Future[Any] | None = None
    while rows := await claims.fetch(BARE_CLAIM, JOB_TYPE, BATCH):
        first = first or time.monotonic_ns()
        for row in rows:
            json.loads(row["payload"])
        if flush is not None:
            await flush
        flush = asyncio.ensure_future(finishes.execute(BARE_FINISH, [row["id"] for row in rows]))
    if flush is not None:
        await flush
    say(first=first, last=time.monotonic_ns())


async def _bare_pickup(claims: asyncpg.Connection, dsn: str, count: int) -> None:
    started: Stamps = {}
    rung = asyncio.Event()
    listener = await asyncpg.connect(dsn)
    await listener.add_listener("ops_jobs", lambda *_: rung.set())
    say(ready="listening")
    while len(started) < count:
        rung.clear()
        rows = await claims.fetch(BARE_CLAIM, JOB_TYPE, 10)
        for row in rows:
            started[json.loads(row["payload"])["n"]] = time.monotonic_ns()
        if rows:
            await claims.execute(BARE_FINISH, [row["id"] for row in rows])
        else:
            await rung.wait()
    await listener.close()
    say(started=started)


CONTESTANTS = {"dragonfly": dragonfly, "bare loop": bare}


def main() -> None:
    """Run one contestant."""
    name, work, dsn, count = sys.argv[1:]
    anyio.run(
        CONTESTANTS[name],
        work,
        dsn,
        int(count),
        backend_options={"loop_factory": uvloop.new_event_loop},
    )


if __name__ == "__main__":
    main()
