"""Drives no product: the least that SQL and asyncpg can do on Dragonfly's own table.

Claims and finishes in batches, the finish overlapping the next claim; no tokens, retries,
timeouts, leases or payload types: a floor to compare with, nothing to run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from benchmarks.drivers.protocol import JOB_TYPE, OTHER_TYPE, Handle, Options, Payload, run
from dragonfly.queue.migrate import migrate

BATCH = 1000
ADD = "INSERT INTO ops.jobs (job_type, payload) VALUES ($1, $2::jsonb)"
CLAIM = """
UPDATE ops.jobs SET status = 'processing', locked_by = 'bare', lock_token = 1,
       locked_at = now(), locked_until = now() + interval '1 minute', attempts = attempts + 1
 WHERE id = ANY (ARRAY (
       SELECT id FROM ops.jobs
        WHERE job_type = $1 AND status = 'pending' AND crashes = 0 AND run_at <= now()
        ORDER BY priority DESC, run_at, id LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING id, payload
"""
FINISH = """
UPDATE ops.jobs SET status = 'completed', finished_at = now(),
       lock_token = NULL, locked_until = NULL
 WHERE id = ANY ($1)
"""


class Bare:
    """One connection claims, one finishes, one listens."""

    async def open(self, dsn: str, options: Options) -> None:
        """Connect."""
        self._claims = await asyncpg.connect(dsn)
        self._finishes = await asyncpg.connect(dsn)
        self._listener = await asyncpg.connect(dsn)

    async def create(self) -> None:
        """Lay the same tables as Dragonfly's."""
        await migrate(self._claims)

    async def add(self, payload: Payload) -> None:
        """One INSERT."""
        await self._claims.execute(ADD, JOB_TYPE, json.dumps(payload))

    async def add_many(self, payloads: Sequence[Payload], kind: str) -> None:
        """One COPY."""
        job_type = OTHER_TYPE if kind == "other" else JOB_TYPE
        run_at = datetime.now(UTC) + timedelta(days=kind == "later")
        await self._claims.copy_records_to_table(
            "jobs",
            schema_name="ops",
            columns=("job_type", "run_at", "payload"),
            records=[(job_type, run_at, json.dumps(payload)) for payload in payloads],
        )

    async def work(self, handle: Handle) -> None:
        """Claim until nothing is left, then wait to be rung."""
        rung = asyncio.Event()
        await self._listener.add_listener("ops_jobs", lambda *_: rung.set())
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
                await rung.wait()


if __name__ == "__main__":
    run(Bare())
