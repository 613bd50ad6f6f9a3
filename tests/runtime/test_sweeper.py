"""A running process forgets what ended long ago."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import asyncpg

from dragonfly import Job, Worker, enqueue
from dragonfly.events import JobsForgotten
from dragonfly.job import JobStatus
from dragonfly.postgres.database import open_database
from dragonfly.queue.maintenance import Keep, Step
from dragonfly.runtime import sweeper
from dragonfly.runtime.process import open_process
from dragonfly.runtime.sweeper import DAY_SECONDS, Sweeper, keeps_of
from tests.support import Recorder, running, settings, until


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


async def test_a_sweep_forgets_as_fast_as_jobs_end(dsn: str) -> None:
    """It pauses for a quarter of each step's time, and no longer: less for a server at leisure."""
    pauses = mock.AsyncMock()
    steps = mock.AsyncMock(side_effect=[Step(1000, 1000), Step(2000, 1000), Step(None, 10)])
    # each two are the begin and the end of a step
    times = iter([0.0, 4.0, 5.0, 6.0, 7.0])
    database = await open_database(dsn, "the test database")
    async with open_process(settings(), database, Recorder().events) as process:
        with (
            mock.patch.object(sweeper, "asyncio", SimpleNamespace(sleep=pauses)),
            mock.patch.object(sweeper, "time", SimpleNamespace(monotonic=lambda: next(times))),
            mock.patch.object(sweeper, "prune_step", steps),
        ):
            assert 2010 == await Sweeper(process, [_worker()])._sweep()

    assert [mock.call(1.0), mock.call(0.25)] == pauses.await_args_list
