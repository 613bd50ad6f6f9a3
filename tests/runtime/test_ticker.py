"""A running process ticks what its workers declare, with no statement more than it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from dragonfly import ConfigurationError, Job, Worker, enqueue, schedule
from dragonfly.events import (
    JobFinished,
    ScheduleMissed,
    SchedulesDeclared,
    ScheduleSkipped,
    ScheduleSuperseded,
    ScheduleTicked,
    ScheduleTroubled,
)
from dragonfly.postgres.line import Line
from dragonfly.queue import schedules as table
from dragonfly.runtime import ticker
from dragonfly.runtime.process import Mode
from dragonfly.runtime.ticker import Ticker
from tests.support import drain, running, supervisor, until

DAILY = "{0.minute} {0.hour} * * *"
DAY = timedelta(days=1)


async def five_minutes_ago(conn: asyncpg.Connection) -> datetime:
    """A whole minute of the past."""
    now: datetime = await table.now(conn)
    return (now - timedelta(minutes=5)).replace(second=0, microsecond=0)


def worker(tick: datetime, name: str = "nightly", **options: Any) -> Worker:
    """A worker with a schedule that ticks at this time of every day."""
    declared = Worker("reporter")

    @declared.job("report")
    async def report(job: Job[dict[str, Any]]) -> None:
        return None

    declared.schedule(name, DAILY.format(tick), "report", **options)
    return declared


async def make_due(conn: asyncpg.Connection, tick: datetime) -> None:
    """The clock of a test: the tick is moved, not the time."""
    await conn.execute("UPDATE ops.schedules SET next_tick_at = $1, last_tick_at = NULL", tick)


async def test_a_missed_tick_is_caught_up(dsn: str, conn: asyncpg.Connection) -> None:
    """A process that starts after a missed tick enqueues its job and says that it is late."""
    tick = await five_minutes_ago(conn)
    async with running(dsn, worker(tick)) as (_, recorder):
        await recorder.wait_for(SchedulesDeclared)
    await make_due(conn, tick)

    async with running(dsn, worker(tick)) as (_, recorder):
        missed = await recorder.wait_for(ScheduleMissed)
        await recorder.wait_for(JobFinished)

    assert ScheduleMissed("nightly", tick, 1, cut=False) == missed
    assert 1 == await conn.fetchval("SELECT count(*) FROM ops.jobs")


async def test_a_tick_on_time(
    dsn: str, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tick that comes due while the process runs is noticed, and becomes a job that runs."""
    monkeypatch.setattr(schedule, "ON_TIME", timedelta(hours=1))
    tick = await five_minutes_ago(conn)
    async with running(dsn, worker(tick)) as (_, recorder):
        await recorder.wait_for(SchedulesDeclared)
        await make_due(conn, tick)
        ticked = await recorder.wait_for(ScheduleTicked)
        finished = await recorder.wait_for(JobFinished)

    assert (ticked.tick, ticked.job_id) == (tick, finished.job_id)


async def test_two_processes_tick_once(dsn: str, conn: asyncpg.Connection) -> None:
    """Of two running processes, five times over, exactly one makes a tick's job."""
    tick = await five_minutes_ago(conn)
    first, second = worker(tick, overlap="queue"), worker(tick, overlap="queue")
    async with running(dsn, first) as (_, one), running(dsn, second) as (_, two):
        await one.wait_for(SchedulesDeclared)
        await two.wait_for(SchedulesDeclared)
        for n in range(1, 6):
            await make_due(conn, tick)
            await until(
                conn, "SELECT count(*) FROM ops.jobs WHERE status = 'completed'", expected=n
            )

    assert 5 == len(one.of(ScheduleMissed)) + len(two.of(ScheduleMissed))


async def test_a_paused_schedule_waits(dsn: str, conn: asyncpg.Connection) -> None:
    """A schedule that is paused does not tick; resumed, it is noticed at the next look."""
    tick = await five_minutes_ago(conn)
    async with running(dsn, worker(tick)) as (_, recorder):
        await recorder.wait_for(SchedulesDeclared)
        await table.pause(conn, "nightly", "ada", "why")
        await make_due(conn, tick)
        await conn.execute("UPDATE ops.schedules SET declared_at = declared_at - interval '1 hour'")
        looked = "SELECT declared_at > now() - interval '1 minute' FROM ops.schedules"
        await until(conn, looked)
        while_paused = await conn.fetchval("SELECT count(*) FROM ops.jobs")
        await table.resume(conn, "nightly", "ada", "why")
        await recorder.wait_for(ScheduleMissed)

    assert 0 == while_paused


async def test_a_skipped_tick_is_told(dsn: str, conn: asyncpg.Connection) -> None:
    """A tick beside the unended job of the one before is skipped, and the log says for which."""
    tick = await five_minutes_ago(conn)
    async with running(dsn, worker(tick)) as (_, recorder):
        await recorder.wait_for(SchedulesDeclared)
        job_id = await enqueue(conn, "somebody else's", {})
        await conn.execute("UPDATE ops.schedules SET last_job_id = $1", job_id)
        await make_due(conn, tick)
        skipped = await recorder.wait_for(ScheduleSkipped)

    assert ScheduleSkipped("nightly", job_id) == skipped


@pytest.mark.parametrize("mode", [Mode.DRAIN, Mode.ONCE])
async def test_a_drain_declares_nothing(dsn: str, conn: asyncpg.Connection, mode: Mode) -> None:
    """A process that only drains or takes one job neither declares nor ticks."""
    tick = await five_minutes_ago(conn)
    await table.declare(conn, [*worker(tick).schedules.values()], await table.now(conn))
    await make_due(conn, tick)
    async with supervisor(dsn, worker(tick, "other"), mode=mode) as (boss, _):
        await boss.run()
    await drain(dsn, worker(tick))

    names = [row["name"] for row in await conn.fetch("SELECT name FROM ops.schedules")]
    assert (["nightly"], 0) == (names, await conn.fetchval("SELECT count(*) FROM ops.jobs"))


async def test_two_versions_beside_each_other(dsn: str, conn: asyncpg.Connection) -> None:
    """During a deployment the old process goes by the new definition, and takes over after it."""
    tick = await five_minutes_ago(conn)
    async with running(dsn, worker(tick, payload={"v": 1})) as (_, old):
        await old.wait_for(SchedulesDeclared)
        async with running(dsn, worker(tick, payload={"v": 2})) as (_, new):
            await new.wait_for(SchedulesDeclared)
            superseded = await old.wait_for(ScheduleSuperseded)
            await make_due(conn, tick)
            await until(conn, "SELECT count(*) FROM ops.jobs", expected=1)
        # as if the new one had been gone for minutes
        await conn.execute("UPDATE ops.schedules SET confirmed_at = now() - interval '1 hour'")
        await until(conn, "SELECT payload->>'v' FROM ops.schedules", expected="1")

    assert ScheduleSuperseded("nightly") == superseded
    assert [] == new.of(ScheduleSuperseded)
    assert ['{"v": 2}'] == [row[0] for row in await conn.fetch("SELECT payload FROM ops.jobs")]


async def test_a_removed_row_comes_back(dsn: str, conn: asyncpg.Connection) -> None:
    """A row that somebody deleted is declared again while a process declares it."""
    tick = await five_minutes_ago(conn)
    async with running(dsn, worker(tick)) as (_, recorder):
        await recorder.wait_for(SchedulesDeclared)
        await conn.execute("DELETE FROM ops.schedules")
        await until(conn, "SELECT count(*) FROM ops.schedules", expected=1)


async def test_one_bad_schedule_holds_no_other(dsn: str, conn: asyncpg.Connection) -> None:
    """A schedule that cannot tick says why, while the one after it ticks."""
    tick = await five_minutes_ago(conn)
    both = worker(tick)
    both.schedule("a-bad-one", DAILY.format(tick), "report")
    async with running(dsn, both) as (_, recorder):
        await recorder.wait_for(SchedulesDeclared)
        await conn.execute("UPDATE ops.schedules SET cron = '? ? ? ? ?' WHERE name = 'a-bad-one'")
        await make_due(conn, tick)
        trouble = await recorder.wait_for(ScheduleTroubled)
        missed = await recorder.wait_for(ScheduleMissed)

    assert ("a-bad-one", "nightly") == (trouble.schedule, missed.schedule)
    assert "the minute '?' of the cron expression" in trouble.reason


async def test_a_lost_connection_is_no_end(dsn: str, conn: asyncpg.Connection) -> None:
    """After its connection was killed, the process goes on ticking."""
    tick = await five_minutes_ago(conn)
    async with running(dsn, worker(tick)) as (_, recorder):
        await recorder.wait_for(SchedulesDeclared)
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'dragonfly heartbeat' AND datname = current_database()"
        )
        await make_due(conn, tick)
        await recorder.wait_for(ScheduleMissed)


def test_two_workers_of_one_name(dsn: str) -> None:
    """One process refuses two workers that declare the same schedule, before it starts."""
    other = Worker("other")
    other.job("count")(_count)
    other.schedule("nightly", "@daily", "count")

    with pytest.raises(ConfigurationError, match="rename one of them"):
        ticker.schedules_of([worker(datetime(2026, 1, 1)), other])  # noqa: DTZ001


async def _count(job: Job[Any]) -> None: ...


@asynccontextmanager
async def counted(dsn: str, *workers: Worker) -> AsyncIterator[tuple[Ticker, list[str]]]:
    """A ticker on a connection of its own, and the statements that it sends."""
    sent: list[str] = []

    async def open_connection() -> asyncpg.Connection:
        connection = await asyncpg.connect(dsn)
        connection.add_query_logger(lambda record: sent.append(record.query))
        return connection

    async with supervisor(dsn) as (boss, _):
        boss.process.heartbeats = Line(open_connection, 5)
        yield Ticker(boss.process, workers), sent
        await boss.process.heartbeats.aclose()


async def test_nothing_declared_costs_nothing(dsn: str) -> None:
    """Without schedules the ticker ends at once, and no statement is sent."""
    async with counted(dsn, Worker("idle")) as (idle, sent):
        with anyio.fail_after(5):
            await idle.run()

    assert [] == sent


async def test_an_idle_turn_is_one_statement(dsn: str, conn: asyncpg.Connection) -> None:
    """Once declared, a schedule that is not due costs one statement a minute."""
    tick = await five_minutes_ago(conn)
    async with counted(dsn, worker(tick)) as (idle, sent):
        await idle._turn()
        await anyio.lowlevel.checkpoint()  # asyncpg tells of a statement a step after its answer
        sent.clear()
        pauses = [await idle._turn() for _ in range(3)]
        await anyio.lowlevel.checkpoint()

    assert [table._LOOK] * 3 == sent
    assert [ticker.LOOK_EVERY_SECONDS * 0.01] * 3 == pauses
