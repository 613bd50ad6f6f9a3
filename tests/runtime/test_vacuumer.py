"""A process under a heavy load vacuums the table of jobs when autovacuum would come too late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from unittest import mock
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest

from dragonfly import Worker
from dragonfly.events import JobsVacuumed, ProcessStopped, VacuumForbidden
from dragonfly.postgres.database import open_database
from dragonfly.queue.maintenance import Litter
from dragonfly.runtime import vacuumer
from dragonfly.runtime.process import Process, open_process
from dragonfly.runtime.vacuumer import LOOK_SECONDS, Vacuumer
from tests.support import Recorder, running, settings, until

ROWS = 2000
VACUUMS = "SELECT vacuum_count FROM pg_stat_all_tables WHERE relid = 'ops.jobs'::regclass"
AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'VACUUM%' AND state = 'active'"


@pytest.fixture(autouse=True)
def _few_are_many() -> Iterator[None]:
    with (
        mock.patch.object(vacuumer, "ENDED_JOBS", 10),
        mock.patch.object(vacuumer, "DEAD_ROWS", ROWS // 2),
    ):
        yield


@asynccontextmanager
async def busy(dsn: str) -> AsyncIterator[tuple[Process, Recorder]]:
    """The connections of a process in which jobs have ended, without anybody who uses them."""
    recorder = Recorder()
    database = await open_database(dsn, "the test database")
    async with open_process(settings(backoff_scale=1), database, recorder.events) as process:
        process.settled = 10
        yield process, recorder


async def litter_about(conn: asyncpg.Connection) -> None:
    """As many rows, all of them dead, as make a vacuum worth while; and the server knows."""
    await conn.execute(
        f"INSERT INTO ops.jobs (job_type) SELECT 'x' FROM generate_series(1, {ROWS})"
    )
    await conn.execute("DELETE FROM ops.jobs")
    await conn.execute("SELECT pg_stat_force_next_flush()")


class _Over(Exception):
    pass


async def looks(
    process: Process, times: int, meanwhile: Callable[[int], object] = lambda _: None
) -> list[float]:
    """How long it pauses before each of so many looks, and before the one that it is denied."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > times:
            raise _Over
        meanwhile(len(pauses))

    with mock.patch.object(vacuumer, "asyncio", SimpleNamespace(sleep=pause)), anyio.fail_after(20):
        try:
            await Vacuumer(process).run()
        except _Over:
            return pauses
    raise AssertionError("it has ended by itself")


@pytest.mark.unpooled("transaction", reason="each session counts rows, and tells later")
async def test_many_dead_rows_are_vacuumed(dsn: str, conn: asyncpg.Connection) -> None:
    """Room is made for new rows, and the file keeps its size: cutting it would lock out all."""
    await litter_about(conn)
    size = await conn.fetchval("SELECT pg_relation_size('ops.jobs')")

    async with busy(dsn) as (process, recorder):
        assert [LOOK_SECONDS, LOOK_SECONDS] == await looks(process, 1)

    (event,) = recorder.of(JobsVacuumed)
    assert ROWS == event.dead
    assert 1 == await conn.fetchval(VACUUMS)
    assert size == await conn.fetchval("SELECT pg_relation_size('ops.jobs')")


@pytest.mark.unpooled("transaction", reason="it is told nothing where a session is nobody's own")
async def test_it_reads_without_helpers(dsn: str, conn: asyncpg.Connection) -> None:
    """What was written within seconds is in memory: no process of the server reads ahead for it."""
    note = (
        "CREATE TABLE public.noted AS SELECT current_setting('maintenance_io_concurrency') AS how"
    )
    await litter_about(conn)

    with mock.patch.object(vacuumer, "VACUUM", note):
        async with busy(dsn) as (process, _):
            await looks(process, 1)

    assert "0" == await conn.fetchval("SELECT how FROM public.noted")


@pytest.mark.unpooled("transaction", reason="each session counts rows, and tells later")
async def test_a_slow_vacuum_has_a_long_pause_after_it(dsn: str, conn: asyncpg.Connection) -> None:
    """However large the table: it is vacuumed for no more than half of the time."""
    await litter_about(conn)

    with mock.patch.object(vacuumer, "time", SimpleNamespace(monotonic=iter([5, 12]).__next__)):
        async with busy(dsn) as (process, _):
            assert [LOOK_SECONDS, 7] == await looks(process, 1)


async def test_who_ended_few_jobs_does_not_look(dsn: str) -> None:
    """An idle process makes no statement, and a busy one makes one for so many jobs."""
    found = mock.AsyncMock(return_value=Litter(0, 0, 0, True))

    def end_more(look: int) -> None:
        process.settled = {1: 9, 2: 10, 3: 19, 4: 20}.get(look, 21)

    async with busy(dsn) as (process, _):
        with mock.patch.object(vacuumer, "litter", found):
            await looks(process, 5, end_more)

    assert 2 == found.await_count


async def test_few_dead_rows_are_left_to_autovacuum(dsn: str, conn: asyncpg.Connection) -> None:
    """Neither few as such, nor few among the living."""
    few = [Litter(ROWS // 2 - 1, 0, 0, True), Litter(10 * ROWS, 200 * ROWS + 20, 0, True)]

    async with busy(dsn) as (process, _):
        for found in few:
            with mock.patch.object(vacuumer, "litter", mock.AsyncMock(return_value=found)):
                assert [LOOK_SECONDS] * 2 == await looks(process, 1)

    assert 0 == await conn.fetchval(VACUUMS)


@pytest.mark.unpooled("transaction", reason="each session counts rows, and tells later")
async def test_a_vacuum_in_vain_is_not_soon_repeated(dsn: str, conn: asyncpg.Connection) -> None:
    """What something still sees cannot be removed: seconds later it may, and else in a minute."""
    other = await asyncpg.connect(dsn)
    in_no_time = mock.patch.object(vacuumer, "time", SimpleNamespace(monotonic=lambda: 0.0))
    async with busy(dsn) as (process, _):

        def end_more(_: int) -> None:
            process.settled += 10

        with in_no_time:
            async with other.transaction(isolation="repeatable_read"):
                await other.fetch("SELECT FROM ops.jobs")
                await litter_about(conn)
                assert [LOOK_SECONDS, 2, 4, 8, 16, 32, 60, 60] == await looks(process, 7, end_more)
    await other.close()


async def test_a_vacuum_that_removes_something_ends_those_in_vain(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """The next one in vain has the shortest pause after it again."""
    before, vain, done = (Litter(d, 0, v, True) for d, v in ((ROWS, 0), (ROWS, 1), (0, 2)))
    found = mock.AsyncMock(side_effect=[before, vain, before, vain, before, done, before, vain])
    async with busy(dsn) as (process, _):

        def end_more(_: int) -> None:
            process.settled += 10

        with (
            mock.patch.object(vacuumer, "litter", found),
            mock.patch.object(vacuumer, "time", SimpleNamespace(monotonic=lambda: 0.0)),
        ):
            assert [LOOK_SECONDS, 2, 4, LOOK_SECONDS, 2] == await looks(process, 4, end_more)


@pytest.mark.unpooled("transaction", reason="each session counts rows, and tells later")
async def test_one_vacuums_at_a_time(dsn: str, conn: asyncpg.Connection) -> None:
    """Whoever finds another one at it does not wait, and looks again as soon as it may be over."""
    await litter_about(conn)

    async with busy(dsn) as (process, recorder):
        async with conn.transaction():
            # as every vacuum does, be it another process's or the server's own
            await conn.execute("LOCK TABLE ops.jobs IN SHARE UPDATE EXCLUSIVE MODE")
            assert [LOOK_SECONDS] * 4 == await looks(process, 3)
        assert [] == recorder.of(JobsVacuumed)
        await looks(process, 3)

    assert 1 == len(recorder.of(JobsVacuumed))


async def test_a_role_that_may_not_is_told_once(dsn: str) -> None:
    """It says so in one line, and never asks again."""
    forbidden = mock.AsyncMock(return_value=Litter(10 * ROWS, 0, 0, False))

    async with busy(dsn) as (process, recorder):
        with (
            mock.patch.object(vacuumer, "litter", forbidden),
            mock.patch.object(vacuumer, "LOOK_SECONDS", 0),
            anyio.fail_after(20),
        ):
            await Vacuumer(process).run()

    assert 1 == forbidden.await_count
    assert 1 == len(recorder.of(VacuumForbidden))


async def test_what_takes_too_long_is_left_to_autovacuum(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """A vacuum that was cut off by its bound is not tried again for ten minutes."""
    await litter_about(conn)
    cut_off = mock.patch.object(vacuumer, "VACUUM", "SELECT pg_sleep(60)")

    with cut_off, mock.patch.object(vacuumer, "VACUUM_SECONDS", 0.1):
        async with busy(dsn) as (process, _):
            assert [LOOK_SECONDS, vacuumer.CUT_OFF_SECONDS] == await looks(process, 1)


@asynccontextmanager
async def slow_vacuum(dsn: str, conn: asyncpg.Connection) -> AsyncIterator[Recorder]:
    """A process that has begun a vacuum of minutes, and is stopped in the end."""
    await litter_about(conn)
    name = urlsplit(dsn).path.lstrip("/")
    await conn.execute(f'ALTER DATABASE "{name}" SET vacuum_cost_limit = 1')
    await conn.execute(f"ALTER DATABASE \"{name}\" SET vacuum_cost_delay = '100ms'")
    async with running(dsn, Worker("idle")) as (boss, recorder):
        boss.process.settled = 10
        await until(conn, AT_WORK, expected=1)
        yield recorder
        boss.process.stop.request("test")
        await recorder.wait_for(ProcessStopped, seconds=5)


@pytest.mark.unpooled(reason="settings of the database reach the sessions that a pooler has not")
async def test_a_stop_cuts_it_off(dsn: str, conn: asyncpg.Connection) -> None:
    """A process that stops waits for no vacuum, and leaves none behind on the server."""
    async with slow_vacuum(dsn, conn) as recorder:
        pass

    await until(conn, AT_WORK, expected=0, seconds=2)
    assert [] == recorder.of(JobsVacuumed)


@pytest.mark.unpooled(reason="settings of the database reach the sessions that a pooler has not")
async def test_it_makes_way_for_who_alters_the_table(dsn: str, conn: asyncpg.Connection) -> None:
    """A migration, and all claims behind it, do not wait for it to end."""
    with mock.patch.object(vacuumer, "MAKE_WAY_SECONDS", 0.05):
        async with slow_vacuum(dsn, conn):
            async with conn.transaction():
                await conn.execute("LOCK TABLE ops.jobs", timeout=5)
            await until(conn, AT_WORK, expected=0)
