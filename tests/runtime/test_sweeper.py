"""A running process forgets what ended long ago."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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
from dragonfly.runtime.sweeper import DAY_SECONDS, WHOLE_SHARE, Sweeper, keeps_of
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


@dataclass
class Staged:
    """A sweeper whose steps take a second each and come from a script, or from a table."""

    sweeper: Sweeper
    step: Callable[[int], Step]
    now: float = 0.0
    begun_after: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    async def prune(self, _: object, __: object, after: int) -> Step:
        self.begun_after.append(after)
        self.now += 1.0
        return self.step(after)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def sweep(self) -> tuple[int, list[int]]:
        """What one sweep forgot, and after which ids its steps began."""
        self.begun_after.clear()
        with (
            mock.patch.object(sweeper, "asyncio", SimpleNamespace(sleep=self.sleep)),
            mock.patch.object(sweeper, "time", SimpleNamespace(monotonic=lambda: self.now)),
            mock.patch.object(sweeper, "prune_step", self.prune),
        ):
            return await self.sweeper._sweep(), [*self.begun_after]


@asynccontextmanager
async def staged(dsn: str, step: Callable[[int], Step]) -> AsyncIterator[Staged]:
    database = await open_database(dsn, "the test database")
    async with open_process(settings(), database, Recorder().events) as process:
        yield Staged(Sweeper(process, [_worker()]), step)


def forgetting(by_place: dict[int, int], end: int = 10) -> Callable[[int], Step]:
    """A step reaches the next place, and forgets what lies there; there is no place at the end."""

    def step(after: int) -> Step:
        forgotten = by_place.pop(after, 0)
        return Step(None if after + 1 >= end else after + 1, forgotten)

    return step


async def test_a_sweep_forgets_as_fast_as_jobs_end(dsn: str) -> None:
    """It pauses for a quarter of each step's time, and no longer: less for a server at leisure."""
    async with staged(dsn, forgetting({0: 1000, 1: 1000, 2: 10}, end=3)) as stage:
        assert (2010, [0, 1, 2]) == await stage.sweep()

    assert [0.25, 0.25] == stage.pauses


async def test_a_sweep_goes_on_where_jobs_were_forgotten_last(dsn: str) -> None:
    """What was looked through is not looked through again; a step in vain is the end."""
    table = {0: 1000, 3: 1000, 4: 500}
    async with staged(dsn, forgetting(table)) as stage:
        assert (2500, [*range(10)]) == await stage.sweep()
        table |= {4: 500, 5: 700}
        assert (1200, [4, 5, 6]) == await stage.sweep()
        assert (0, [5]) == await stage.sweep()


async def test_whatever_stays_in_front_is_got_past(dsn: str) -> None:
    """Each sweep in vain lets the next one look twice as far, until something is forgotten."""
    table = {0: 1000}
    async with staged(dsn, forgetting(table)) as stage:
        await stage.sweep()
        table |= {3: 1000}
        looked = [await stage.sweep() for _ in range(4)]

    assert [(0, [0]), (0, [0, 1]), (1000, [*range(8)]), (0, [3])] == looked


async def test_a_sweep_begins_at_the_first_row_from_time_to_time(dsn: str) -> None:
    """For a fiftieth of the time, counted in steps without use: jobs may end late, out of turn."""
    table = {0: 1000, 5: 1000}
    async with staged(dsn, forgetting(table)) as stage:
        await stage.sweep()
        table |= {1: 1000, 5: 500, 6: 1000}
        stage.now = 8 * WHOLE_SHARE - 1.0
        early = await stage.sweep()
        stage.now = 8 * WHOLE_SHARE
        late = await stage.sweep()

    assert (1500, [5, 6, 7]) == early
    assert (1000, [*range(10)]) == late


async def test_without_steps_in_vain_every_sweep_begins_at_the_first_row(dsn: str) -> None:
    """As the hourly one does, of which a walk over all that is kept is a small part."""
    table = {0: 1000, 1: 1000}
    async with staged(dsn, forgetting(table, end=2)) as stage:
        await stage.sweep()

        assert (0, [0, 1]) == await stage.sweep()
