"""Payloads made to break the worker that reads them: each ends its own job and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue
from dragonfly.events import JobFinished, WorkerFell, WorkerPaused
from dragonfly.workers import enforcement_engine, ingest_processor, simplicity_ingest
from tests.support import drain

UUID = "00000000-0000-0000-0000-000000000001"
DEEP = "[" * 5000 + "]" * 5000
WIDE = json.dumps({f"key {n}": n for n in range(100_000)})
ADD = "INSERT INTO ops.jobs (job_type, payload) VALUES ($1, $2::jsonb)"
HOSTILE = {
    "simplicity_ingest": [
        "[]", "null", "1e400", DEEP, WIDE, '{"file_path": ""}', '{"file_path": {"a": 1}}',
        '{"file_path": "a.csv", "expected_rows": 1e400}',
        '{"file_path": "a.csv", "expected_rows": 99999999999999999999}',
        '{"file_path": "a.csv", "error_budget_pct": 1e400}',
        '{"file_path": "a.csv", "error_budget_pct": "NaN"}',
        json.dumps({"file_path": "x" * 300}),
        json.dumps({"file_path": "x" * 100_000}),
        json.dumps({"file_path": "a.csv", "more": "x" * 10_000_000}),
        json.dumps({"file_path": "\u202egnp.exe\x1b[2J"}),
        json.dumps({"file": {"store": "drop", "path": "../a.csv"}}),
        json.dumps({"file": {"store": "supabase", "bucket": "../x", "path": "a.csv"}}),
        json.dumps({"file": {"store": "drop", "path": "a.csv", "bytes": 10**4000}}),
    ],
    "ingest": [
        "{}", DEEP, f'{{"batch_id": "{UUID}", "action": "retry_rejected", "row_nos": [1e30]}}',
        f'{{"batch_id": "{UUID}", "action": "retry_rejected", "row_nos": [{10**30}]}}',
        f'{{"batch_id": "{UUID}"}}', '{"batch_id": 7}',
    ],
    "enforcement_action": [
        "[]", DEEP, f'{{"judgment_id": "{UUID}", "as_of": "9999-12-31"}}',
        f'{{"judgment_id": "{UUID}", "as_of": "-4713-01-01"}}', f'{{"judgment_id": "{UUID}"}}',
    ],
}  # fmt: skip


async def test_no_payload_is_taken_for_a_bug(
    dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Each ends failed by a code, at its first attempt, and no worker pauses or falls for it."""
    for job_type, payloads in HOSTILE.items():
        await conn.executemany(ADD, [(job_type, payload) for payload in payloads])
    workers = [simplicity_ingest.worker, ingest_processor.worker, enforcement_engine.worker]

    _, seen = await drain(dsn, *workers, intake_root=tmp_path)
    rows = await conn.fetch("SELECT id, job_type, status, attempts, last_error FROM ops.jobs")

    strange = [
        (row["job_type"], row["last_error"]) for row in rows
        if (row["status"], row["attempts"]) != ("failed", 1)
        or not row["last_error"].partition(":")[0].isupper()
    ]  # fmt: skip
    assert [] == strange
    assert [] == [*seen.of(WorkerPaused), *seen.of(WorkerFell)]
    assert max(len(row["last_error"]) for row in rows) <= 2100


@pytest.mark.parametrize("annotated", [True, False])
async def test_a_handler_of_plain_objects_is_as_safe(
    dsn: str, conn: asyncpg.Connection, annotated: bool
) -> None:
    """Depth is refused, width and size are read; what JSON calls a number is one."""
    worker = Worker("plain", concurrency=4)
    got: list[int] = []

    async def keep(job: Job[dict[str, object]]) -> None:
        got.append(len(job.payload))

    async def keep_any(job: Job) -> None:  # type: ignore[type-arg]
        got.append(len(job.payload))

    worker.job("plain")(keep if annotated else keep_any)
    big = json.dumps({"text": "x" * 20_000_000})
    for payload in (f'{{"deep": {DEEP}}}', WIDE, big, '{"n": 1e400, "m": -1e400, "o": 1e-400}'):
        await conn.execute(ADD, "plain", payload)

    _, seen = await drain(dsn, worker)
    rows = await conn.fetch("SELECT status, last_error FROM ops.jobs ORDER BY id")

    assert ["failed", *["completed"] * 3] == [row["status"] for row in rows]
    assert "PAYLOAD_INVALID" in rows[0]["last_error"]
    assert [1, 3, 100_000] == sorted(got)
    assert [] == seen.of(WorkerPaused)


async def test_a_reason_as_long_as_the_input_is_cut(dsn: str, conn: asyncpg.Connection) -> None:
    """What a handler says of its input fills neither the table nor the log."""
    from dragonfly import Reject

    worker = Worker("long")

    @worker.job("long")
    async def long(job: Job[dict[str, object]]) -> None:
        raise Reject("NO", "x" * 10_000_000)

    await enqueue(conn, "long", {})
    _, seen = await drain(dsn, worker)

    kept = await conn.fetchval("SELECT pg_column_size(last_error) + length(errors::text)"
                               " FROM ops.jobs")  # fmt: skip
    assert kept < 10_000
    assert len(seen.of(JobFinished)[0].error or "") <= 2100
