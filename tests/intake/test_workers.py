"""The intake's two workers, as jobs of a running process."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from dragonfly import enqueue
from dragonfly.testing import DrainedJob, assert_enqueued, drain
from dragonfly.workers import ingest_processor, simplicity_ingest
from tests.intake.hosts import counts, lines, write_export
from tests.intake.storage import says, storage
from tests.support import settings

NO_BATCH = "00000000-0000-0000-0000-000000000001"
OUTCOMES = ("loaded", "updated", "unchanged", "duplicate", "rejected", "review")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The intake folder, with one good file in it."""
    folder = tmp_path / "intake"
    folder.mkdir()
    write_export(folder / "a.csv", lines(20, bad=1))
    return folder


async def run(dsn: str, root: Path, **more: Any) -> DrainedJob:
    """Run both workers until nothing is due; how the last job ended."""
    workers = (simplicity_ingest.worker, ingest_processor.worker)
    return (await drain(dsn, *workers, settings=settings(intake_root=root, **more))).jobs[-1]


def code_of(job: DrainedJob) -> str:
    """What its error begins with."""
    return (job.error or "").partition(": ")[0]


async def ingest(conn: asyncpg.Connection, **payload: Any) -> int:
    return await enqueue(conn, "simplicity_ingest", payload)


async def test_a_dropped_export_is_loaded(dsn: str, conn: asyncpg.Connection, root: Path) -> None:
    """The legacy payload loads a file, and each judgment has its follow-up job."""
    correlation = uuid4()
    payload = {"file_path": "a.csv", "source_reference": "week 12"}
    job_id = await enqueue(conn, "simplicity_ingest", payload, correlation_id=correlation)

    job = await run(dsn, root)

    assert job.status == "completed"
    assert job.result["outcome"] == "completed_with_rejects"
    assert job.result["rows"] == counts(loaded=19, rejected=1)
    follow_ups = await assert_enqueued(conn, "enforcement_action", count=19)
    assert {each.payload["judgment_id"] for each in follow_ups} == {
        str(row["judgment_id"])
        for row in await conn.fetch("SELECT judgment_id FROM civil.judgments")
    }
    assert all(each.unique_key == each.payload["judgment_id"] for each in follow_ups)
    assert {(each.parent_id, each.correlation_id) for each in follow_ups} == {(job_id, correlation)}
    reference = await conn.fetchval("SELECT source_reference FROM civil.intake_batches")
    assert reference == "week 12"


async def test_the_same_file_twice_at_once(dsn: str, conn: asyncpg.Connection, root: Path) -> None:
    """Two jobs with one file both complete, and everything is loaded and followed up once."""
    ids = [await ingest(conn, file_path="a.csv") for _ in range(2)]

    workers = (simplicity_ingest.worker, ingest_processor.worker)
    drained = await drain(dsn, *workers, settings=settings(intake_root=root))

    assert [job.id for job in drained.jobs] == ids
    assert drained.counts == {"completed": 2}
    outcomes = sorted(job.result["outcome"] for job in drained.jobs)
    assert outcomes == ["completed_with_rejects", "duplicate"]
    await assert_enqueued(conn, "enforcement_action", count=19)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"file_path": "../a.csv"}, "PATH_NOT_ALLOWED"),
        ({"file_path": "none.csv"}, "FILE_NOT_FOUND"),
        ({"file": {"store": "drop", "path": "C:\\x.csv"}}, "PATH_NOT_ALLOWED"),
        ({"file": {"store": "drop", "path": "a.csv", "sha256": "0" * 64}}, "FILE_CHANGED"),
        ({"file": {"store": "drop", "path": "a.csv", "bytes": 3}}, "FILE_CHANGED"),
        ({"file_path": "a.csv", "expected_rows": 3}, "ROW_COUNT"),
        ({"file_path": "a.csv", "error_budget_pct": 4.99}, "OVER_ERROR_BUDGET"),
        ({}, "PAYLOAD_INVALID"),
        ({"file_path": "a.csv", "file": {"store": "drop", "path": "a.csv"}}, "PAYLOAD_INVALID"),
        ({"file_path": "a.csv", "force": True}, "PAYLOAD_INVALID"),
        ({"file_path": "a.csv", "mode": "amend"}, "PAYLOAD_INVALID"),
        ({"file": {"store": "supabase", "path": "a.csv"}}, "PAYLOAD_INVALID"),
        ({"file": {"store": "drop", "bucket": "intake", "path": "a.csv"}}, "PAYLOAD_INVALID"),
        ({"file_path": "a.csv", "error_budget_pct": 101}, "PAYLOAD_INVALID"),
    ],
)
async def test_bad_requests_fail_at_once(
    dsn: str, conn: asyncpg.Connection, root: Path, payload: dict[str, Any], code: str
) -> None:
    """One attempt, a code and a sentence; nothing is loaded."""
    await ingest(conn, **payload)
    job = await run(dsn, root)

    assert (job.status, job.attempts, code_of(job)) == ("failed", 1, code)
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 0


async def test_a_file_as_announced_is_loaded(
    dsn: str, conn: asyncpg.Connection, root: Path
) -> None:
    """Size, hash and number of rows are compared with what the job says."""
    content = (root / "a.csv").read_bytes()
    file = {
        "store": "drop",
        "path": "a.csv",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }

    await ingest(conn, file=file, expected_rows=20)
    job = await run(dsn, root)

    assert job.status == "completed"


async def test_an_object_of_storage_is_loaded(
    dsn: str, conn: asyncpg.Connection, root: Path
) -> None:
    """A file in a bucket is fetched from the project's Storage."""

    async def answer(_: Request) -> Response:
        return Response((root / "a.csv").read_bytes())

    file = {"store": "supabase", "bucket": "imports", "path": "2026/a.csv"}
    await ingest(conn, file=file)
    async with storage(answer) as url:
        key = SecretStr("k")
        job = await run(dsn, root, url_dev=url, service_role_key_dev=key)

    assert job.result["rows"] == counts(loaded=19, rejected=1)
    path = await conn.fetchval("SELECT storage_path FROM civil.intake_batches")
    assert path == "imports/2026/a.csv"


async def test_an_upload_on_its_way_is_waited_for(
    dsn: str, conn: asyncpg.Connection, root: Path
) -> None:
    """For three minutes a missing object costs no attempt; after that the job fails."""
    file = {"store": "supabase", "bucket": "intake", "path": "a.csv"}
    await ingest(conn, file=file)
    async with storage(says(400, {"statusCode": "404"})) as url:
        project = {"url_dev": url, "service_role_key_dev": SecretStr("k")}
        waiting = await run(dsn, root, **project)
        await conn.execute(
            "UPDATE ops.jobs SET run_at = now(), checkpoint ="
            " jsonb_build_object('missing_since', now() - interval '181 seconds')"
        )
        missing = await run(dsn, root, **project)

    assert (waiting.status, waiting.attempts) == ("pending", 0)
    assert waiting.run_at > await conn.fetchval("SELECT created_at FROM ops.jobs")
    assert (missing.status, code_of(missing)) == ("failed", "FILE_NOT_FOUND")


async def test_an_interrupted_job_needs_its_file_no_more(
    dsn: str, conn: asyncpg.Connection, root: Path
) -> None:
    """A job that had kept its rows goes on from them, and one that had not reads the file."""
    await ingest(conn, file_path="a.csv", mode="dry_run")
    batch_id = (await run(dsn, root)).result["batch_id"]
    await conn.execute("UPDATE civil.intake_batches SET status = 'staged', mode = 'load'")
    await conn.execute("DELETE FROM civil.intake_row_results WHERE row_no > 5")
    await conn.execute("UPDATE civil.intake_row_results SET outcome = NULL")
    (root / "a.csv").unlink()
    second = await ingest(conn, file_path="a.csv")
    await conn.execute(
        "UPDATE ops.jobs SET checkpoint = $2::jsonb WHERE id = $1",
        second,
        json.dumps({"batch_id": batch_id}),
    )

    job = await run(dsn, root)

    assert job.result["rows"] == counts(loaded=19, rejected=1)


async def test_files_of_other_sources(dsn: str, conn: asyncpg.Connection, root: Path) -> None:
    """The generic intake loads the same layouts under the source's own name."""
    await enqueue(conn, "intake", {"file_path": "a.csv", "source_system": "jbi"})

    job = await run(dsn, root)

    assert job.result["rows"] == counts(loaded=19, rejected=1)
    sources = await conn.fetch("SELECT DISTINCT source_system FROM civil.judgments")
    assert [row["source_system"] for row in sources] == ["jbi"]


async def test_a_batch_is_loaded_and_retried(
    dsn: str, conn: asyncpg.Connection, root: Path
) -> None:
    """A dry run is promoted by its batch id, and then its mended row is tried again."""
    await ingest(conn, file_path="a.csv", mode="dry_run")
    batch_id = (await run(dsn, root)).result["batch_id"]

    await enqueue(conn, "ingest", {"batch_id": batch_id})
    loaded = await run(dsn, root)
    await conn.execute("UPDATE civil.intake_raw_rows SET cells[4] = '8.00' WHERE row_no = 20")
    again = {"batch_id": batch_id, "action": "retry_rejected", "row_nos": [20]}
    await enqueue(conn, "ingest", again)
    retried = await run(dsn, root)

    assert loaded.result["rows"] == counts(loaded=19, rejected=1)
    assert retried.result["rows"] == counts(loaded=20)
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 20


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"batch_id": NO_BATCH}, "UNKNOWN_BATCH"),
        (
            {"batch_id": NO_BATCH, "action": "rollback"},
            "PAYLOAD_INVALID",
        ),
        ({"batch_id": NO_BATCH, "row_nos": [1]}, "PAYLOAD_INVALID"),
        ({"batch_id": "12"}, "PAYLOAD_INVALID"),
    ],
)
async def test_bad_batch_requests_fail_at_once(
    dsn: str, conn: asyncpg.Connection, root: Path, payload: dict[str, Any], code: str
) -> None:
    """A batch that is not there and an action that is not known are refused."""
    await enqueue(conn, "ingest", payload)
    job = await run(dsn, root)

    assert (job.status, job.attempts, code_of(job)) == ("failed", 1, code)


async def test_the_bundled_sample_is_loaded(dsn: str, conn: asyncpg.Connection, root: Path) -> None:
    """Every row of the sample has an outcome, most of them load, and no result names anybody."""
    sample = resources.files("dragonfly.judgments") / "data" / "simplicity_sample.csv"
    (root / "sample.csv").write_bytes(sample.read_bytes())

    await ingest(conn, file_path="sample.csv")
    job = await run(dsn, root)

    rows = job.result["rows"]
    assert job.result["outcome"] == "completed_with_rejects"
    assert sum(rows[name] for name in OUTCOMES) == rows["total"]
    assert rows["loaded"] > 0.8 * rows["total"]
    names = await conn.fetch("SELECT DISTINCT name_display FROM civil.judgment_parties")
    assert [row[0] for row in names if row[0] in str(job.result)] == []
