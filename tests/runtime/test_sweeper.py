"""A running process forgets what ended long ago."""

from __future__ import annotations

import asyncpg

from dragonfly import Job, Worker, enqueue
from dragonfly.events import JobsForgotten
from dragonfly.job import JobStatus
from dragonfly.queue.maintenance import Keep
from dragonfly.runtime.sweeper import DAY_SECONDS, keeps_of
from tests.support import running, settings, until


def _worker() -> Worker:
    worker = Worker("keeper")

    @worker.job("brief", keep_days=0.000001)
    async def brief(job: Job[dict[str, object]]) -> None:
        return None

    @worker.job("usual")
    async def usual(job: Job[dict[str, object]]) -> None:
        return None

    return worker


def test_rules_come_from_settings_and_handlers() -> None:
    """Each status has its days, and a handler's own days go for all ends of its type."""
    keeps = keeps_of(settings(keep_failed_days=7), [_worker()])

    assert Keep(JobStatus.COMPLETED, 30 * DAY_SECONDS) in keeps
    assert Keep(JobStatus.FAILED, 7 * DAY_SECONDS) in keeps
    assert 3 == len([keep for keep in keeps if keep.job_type == "brief"])
    assert not [keep for keep in keeps if keep.job_type == "usual"]


async def test_jobs_are_forgotten_while_the_process_runs(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """What a handler keeps briefly is gone soon after it ended; the rest stays."""
    await enqueue(conn, "brief", {})
    await enqueue(conn, "usual", {})
    async with running(dsn, _worker()) as (_, recorder):
        await recorder.wait_for(JobsForgotten)
        await until(conn, "SELECT status FROM ops.jobs", expected="completed")

    assert ["usual"] == [row[0] for row in await conn.fetch("SELECT job_type FROM ops.jobs")]
