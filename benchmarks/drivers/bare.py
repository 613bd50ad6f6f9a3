"""Drives no product: the least that SQL and asyncpg can do on Dragonfly's own table.

Claims and finishes in batches, the finish overlapping the next claim; no tokens, retries,
timeouts, leases or payload types: a floor to compare with, nothing to run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg

from benchmarks.drivers.protocol import EFFECT, JOB_TYPE, Add, Handle, Options, Payload, run
from dragonfly.queue.migrate import migrate
from dragonfly.queue.sleepers import fall_asleep

BATCH = 1000
CHANNEL = "ops_jobs"
TOKEN = 1
ADD = "INSERT INTO ops.jobs (job_type, payload) VALUES ($1::text, $2::jsonb)"
ADD_AT = "INSERT INTO ops.jobs (job_type, payload, run_at) VALUES ($1::text, $2::jsonb, $3)"
# $2 null: all there are
CLAIM = f"""
UPDATE ops.jobs SET status = 'processing', locked_by = 'bare', lock_token = {TOKEN},
       locked_at = now(), locked_until = now() + interval '1 minute', attempts = attempts + 1
 WHERE id = ANY (ARRAY (
       SELECT id FROM ops.jobs
        WHERE job_type = $1 AND status = 'pending' AND crashes = 0 AND concurrency_key IS NULL
          AND run_at <= now()
        ORDER BY priority DESC, run_at, id LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING id, payload
"""
FINISH = """
UPDATE ops.jobs SET status = 'completed', finished_at = now(),
       lock_token = NULL, locked_until = NULL
 WHERE id = ANY ($1)
"""
FINISH_ONE = """
UPDATE ops.jobs SET status = 'completed', finished_at = now(),
       lock_token = NULL, locked_until = NULL
 WHERE id = $1 AND lock_token = $2
"""
NEXT_DUE = """
SELECT extract(epoch FROM min(run_at) - clock_timestamp())::float8 FROM ops.jobs
 WHERE job_type = $1 AND status = 'pending' AND crashes = 0 AND concurrency_key IS NULL
   AND priority = 0
"""


class Bare:
    """One connection claims, one finishes, one listens."""

    async def open(self, dsn: str, options: Options) -> None:
        """Connect."""
        self._dsn = dsn
        self._options = options
        self._claims = await asyncpg.connect(dsn)
        self._finishes = await asyncpg.connect(dsn)
        self._listener = await asyncpg.connect(dsn)

    async def create(self) -> None:
        """Lay the same tables as Dragonfly's."""
        await migrate(self._claims)

    async def add(self, payload: Payload) -> None:
        """One INSERT."""
        await _add(self._claims, payload)

    async def add_at(self, payload: Payload, run_at: float) -> None:
        """One INSERT."""
        due = datetime.fromtimestamp(run_at, UTC)
        await self._claims.execute(ADD_AT, JOB_TYPE, json.dumps(payload), due)

    async def lanes(self, count: int) -> Sequence[Add]:
        """A connection each."""
        return [partial(_add, await asyncpg.connect(self._dsn)) for _ in range(count)]

    async def add_many(self, payloads: Sequence[Payload], kind: str) -> None:
        """One COPY."""
        run_at = datetime.now(UTC) + timedelta(days=kind == "later")
        job_type = self._options.job_type
        await self._claims.copy_records_to_table(
            "jobs",
            schema_name="ops",
            columns=("job_type", "run_at", "payload"),
            records=[(job_type, run_at, json.dumps(payload)) for payload in payloads],
        )

    async def work(self, handle: Handle) -> None:
        """Claim until nothing is left, then wait to be rung or until the next job is due."""
        rung = asyncio.Event()
        await self._listener.add_listener(CHANNEL, lambda *_: rung.set())
        await fall_asleep(self._listener, [JOB_TYPE])
        if self._options.transactions:
            await self._write(handle)
            await asyncio.Event().wait()
        flush: asyncio.Future[Any] | None = None
        while True:
            rung.clear()
            rows = await self._claims.fetch(CLAIM, JOB_TYPE, BATCH)
            for row in rows:
                handle(json.loads(row["payload"]))
            if flush is not None:
                await flush
                flush = None
            if rows:
                ids = [row["id"] for row in rows]
                flush = asyncio.ensure_future(self._finishes.execute(FINISH, ids))
            else:
                await self._sleep(rung)

    async def _sleep(self, rung: asyncio.Event) -> None:
        # asked for only where jobs are due later: elsewhere it would be one statement too many
        seconds = await self._claims.fetchval(NEXT_DUE, JOB_TYPE) if self._options.timely else None
        try:
            async with asyncio.timeout(seconds if seconds is None else max(0.0, seconds)):
                await rung.wait()
        except TimeoutError:
            return

    async def _write(self, handle: Handle) -> None:
        """Claim all there is, hand it out, and write each job's row beside its finish."""
        rows = await self._claims.fetch(CLAIM, JOB_TYPE, None)
        lanes = self._options.transactions
        conns = [await asyncpg.connect(self._dsn) for _ in range(lanes)]
        await asyncio.gather(
            *(_write_each(conn, rows[lane::lanes], handle) for lane, conn in enumerate(conns))
        )


async def _add(conn: asyncpg.Connection, payload: Payload) -> None:
    await conn.execute(ADD, JOB_TYPE, json.dumps(payload))


async def _write_each(
    conn: asyncpg.Connection, rows: Sequence[asyncpg.Record], handle: Handle
) -> None:
    for row in rows:
        payload = json.loads(row["payload"])
        handle(payload)
        async with conn.transaction():
            await conn.execute(EFFECT, payload["n"])
            await conn.execute(FINISH_ONE, row["id"], TOKEN)


if __name__ == "__main__":
    run(Bare())
