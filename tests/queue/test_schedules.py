"""The table of schedules: what a declaration puts in force, and what a tick does."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from dragonfly.cron import Cron
from dragonfly.errors import ConfigurationError
from dragonfly.queue import schedules as table
from dragonfly.schedule import Schedule
from tests.queue.rows import another, listening

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


async def ago(conn: asyncpg.Connection, **time: float) -> datetime:
    """A whole minute, so long before now."""
    now: datetime = await table.now(conn)
    return (now - timedelta(**time)).replace(second=0, microsecond=0)


def daily(tick: datetime, **changes: Any) -> Schedule:
    """A schedule that ticks at this time of every day, in UTC."""
    cron = Cron(f"{tick.minute} {tick.hour} * * *")
    return replace(Schedule("nightly", cron, "greet"), **changes)


async def declared(conn: asyncpg.Connection, schedule: Schedule) -> None:
    """Declare a schedule as a process that starts now."""
    await table.declare(conn, [schedule], await table.now(conn))


async def owing(conn: asyncpg.Connection, days: int = 0, **changes: Any) -> datetime:
    """Declare a daily schedule that missed its tick of five minutes ago, and ``days`` before it.

    Returns the newest of its ticks.
    """
    tick = await ago(conn, minutes=5)
    await declared(conn, daily(tick, **changes))
    await conn.execute("UPDATE ops.schedules SET next_tick_at = $1", tick - days * DAY)
    return tick


async def schedule_row(conn: asyncpg.Connection) -> asyncpg.Record:
    """The only schedule."""
    found = await conn.fetchrow("SELECT * FROM ops.schedules")
    assert found is not None
    return found


async def jobs(conn: asyncpg.Connection) -> list[asyncpg.Record]:
    """All jobs in their order."""
    rows: list[asyncpg.Record] = await conn.fetch("SELECT * FROM ops.jobs ORDER BY id")
    return rows


async def test_a_declaration_begins_with_the_next_tick(conn: asyncpg.Connection) -> None:
    """A new schedule owes nothing of the past."""
    tick = await ago(conn, minutes=5)
    await declared(conn, daily(tick))

    row = await schedule_row(conn)
    assert (tick + DAY, None) == (row["next_tick_at"], row["last_tick_at"])


async def test_declaring_the_same_again_keeps_what_is_owed(conn: asyncpg.Connection) -> None:
    """A start with another payload changes that, and leaves the missed tick owed."""
    tick = await owing(conn)
    await declared(conn, daily(tick, payload='{"n":1}', priority=3, max_attempts=2))

    row = await schedule_row(conn)
    assert (tick, '{"n": 1}', 3, 2) == (
        row["next_tick_at"],
        row["payload"],
        row["priority"],
        row["max_attempts"],
    )


@pytest.mark.parametrize("timezone", ["UTC", "America/New_York"])
async def test_another_expression_or_zone_begins_anew(
    conn: asyncpg.Connection, timezone: str
) -> None:
    """A start with another expression or zone owes nothing of the former one."""
    tick = await owing(conn)
    changed = Cron(f"{tick.minute} {tick.hour} * * 0-6", timezone)
    await declared(conn, daily(tick, cron=changed))

    assert (await schedule_row(conn))["next_tick_at"] == changed.next_after(await table.now(conn))


async def test_the_latest_start_wins(conn: asyncpg.Connection) -> None:
    """A process that started before the one whose definition is in force does not replace it."""
    tick = await ago(conn, minutes=5)
    first = await table.now(conn)
    old, new = daily(tick, payload='{"v":1}'), daily(tick, payload='{"v":2}')
    await table.declare(conn, [old], first)
    await declared(conn, new)
    await table.declare(conn, [old], first)

    (seen,) = await table.look(conn, [old], first)
    assert ('{"v": 2}', True, False) == (
        (await schedule_row(conn))["payload"],
        seen.foreign_definition,
        seen.to_declare,
    )


async def test_a_definition_of_nobody_gives_way(conn: asyncpg.Connection) -> None:
    """When no running process declares what is in force, an older one's declaration is."""
    tick = await ago(conn, minutes=5)
    first = await table.now(conn)
    old = daily(tick, payload='{"v":1}')
    await declared(conn, daily(tick, payload='{"v":2}'))
    await conn.execute("UPDATE ops.schedules SET confirmed_at = confirmed_at - interval '1 hour'")

    (seen,) = await table.look(conn, [old], first)
    await table.declare(conn, [old], first)

    assert seen.to_declare
    assert '{"v": 1}' == (await schedule_row(conn))["payload"]


async def test_a_newer_process_takes_its_definition_back(conn: asyncpg.Connection) -> None:
    """After an outage in which an older process spoke first, the newer one declares again."""
    tick = await ago(conn, minutes=5)
    first, second = await table.now(conn), await table.now(conn)
    await table.declare(conn, [daily(tick)], first)

    (seen,) = await table.look(conn, [daily(tick, priority=1)], second)

    assert seen.to_declare


async def test_a_look_tells_when_to_tick(conn: asyncpg.Connection) -> None:
    """A look answers in seconds by the database's clock: below zero when a tick is owed."""
    tick = await owing(conn)
    schedule, started = daily(tick), await table.now(conn)
    (due,) = await table.look(conn, [schedule], started)
    await table.tick(conn, "nightly")
    (later,) = await table.look(conn, [schedule], started)
    await table.pause(conn, "nightly", "ada", "holiday")
    (paused,) = await table.look(conn, [schedule], started)
    (unknown,) = await table.look(conn, [replace(schedule, name="new")], started)

    assert due.due_in is not None
    assert later.due_in is not None
    # the tick was at the begin of a minute, which may have ended since
    assert (True, True) == (-420 < due.due_in <= -300, 86000 < later.due_in < 86400)
    assert (None, None, True) == (paused.due_in, unknown.due_in, unknown.to_declare)


async def test_a_look_leaves_a_mark_now_and_then(conn: asyncpg.Connection) -> None:
    """A look marks what it declares as declared, unless that was done a moment ago."""
    schedule = daily(await owing(conn))
    started = await table.now(conn)
    before = await schedule_row(conn)
    await table.look(conn, [schedule], started)
    assert before == await schedule_row(conn)

    await conn.execute(
        "UPDATE ops.schedules SET declared_at = declared_at - interval '1 hour',"
        " confirmed_at = confirmed_at - interval '1 hour'"
    )
    await table.look(conn, [replace(schedule, priority=5)], started - DAY)
    foreign = await schedule_row(conn)
    await table.look(conn, [schedule], started)
    own = await schedule_row(conn)

    assert (True, False) == (
        foreign["declared_at"] > before["declared_at"],
        foreign["confirmed_at"] >= before["confirmed_at"],
    )
    assert own["confirmed_at"] > before["confirmed_at"]


async def test_a_tick_is_a_job(conn: asyncpg.Connection) -> None:
    """A tick enqueues its job with all that was declared, and the schedule moves on."""
    tick = await owing(conn, payload='{"n":1}', priority=7, max_attempts=3)
    done = await table.tick(conn, "nightly")

    (job,) = await jobs(conn)
    assert ("greet", "pending", {"n": 1}, 7, 3, f"nightly@{tick.isoformat()}") == (
        job["job_type"],
        job["status"],
        json.loads(job["payload"]),
        job["priority"],
        job["max_attempts"],
        job["unique_key"],
    )
    assert job["correlation_id"] is not None
    row = await schedule_row(conn)
    assert (tick + DAY, tick, job["id"]) == (
        row["next_tick_at"],
        row["last_tick_at"],
        row["last_job_id"],
    )
    assert done is not None
    assert (tick, (tick,), (job["id"],), True, None) == (
        done.since,
        done.ticks,
        done.job_ids,
        done.late,
        done.running_job,
    )


async def test_a_tick_is_told_to_the_job(conn: asyncpg.Connection) -> None:
    """Where the payload has a tick_at, it is the tick's time as the schedule's zone shows it."""
    cron = Cron("0 6 * * *", "America/New_York")
    last = cron.latest(datetime(2026, 1, 1, tzinfo=UTC), await table.now(conn), 1)[0][0]
    await declared(conn, Schedule("s", cron, "greet", '{"n":1}', tells_tick=True))
    await conn.execute("UPDATE ops.schedules SET next_tick_at = $1", last)
    await table.tick(conn, "s")

    (job,) = await jobs(conn)
    payload = json.loads(job["payload"])
    told = datetime.fromisoformat(payload["tick_at"])
    assert ({"n", "tick_at"}, last, 6) == (payload.keys(), told, told.hour)


@pytest.mark.unpooled("transaction", reason="it is about NOTIFY being heard")
async def test_a_tick_rings_the_workers(dsn: str, conn: asyncpg.Connection) -> None:
    """The commit of a tick wakes the workers of its job type."""
    await owing(conn)
    async with listening(dsn, "ops_jobs", asleep=["greet"]) as heard:
        await table.tick(conn, "nightly")

    assert [("ops_jobs", "greet")] == heard


async def test_nothing_owed_is_no_tick(conn: asyncpg.Connection) -> None:
    """Before its time, while it is paused, and where there is no schedule, there is no tick."""
    tick = await owing(conn)
    await table.pause(conn, "nightly", "ada", "holiday")
    paused = await table.tick(conn, "nightly")
    await table.resume(conn, "nightly", "ada", "holiday over")
    await conn.execute("UPDATE ops.schedules SET next_tick_at = $1", tick + DAY)

    early, unknown = await table.tick(conn, "nightly"), await table.tick(conn, "unknown")
    assert (None, None, None, []) == (paused, early, unknown, await jobs(conn))


async def test_missed_ticks_by_choice(conn: asyncpg.Connection) -> None:
    """Of three missed ticks the last, all in their order, or none become jobs."""
    keys = {}
    for catch_up, overlap in (("last", "skip"), ("all", "queue"), ("none", "skip")):
        await conn.execute("TRUNCATE ops.jobs, ops.schedules")
        tick = await owing(conn, 2, catch_up=catch_up, overlap=overlap)
        await table.tick(conn, "nightly")
        keys[catch_up] = [job["unique_key"].partition("@")[2] for job in await jobs(conn)]
        assert tick + DAY == (await schedule_row(conn))["next_tick_at"]

    every = [(tick - n * DAY).isoformat() for n in (2, 1, 0)]
    assert {"last": every[2:], "all": every, "none": []} == keys


async def test_a_thousand_missed_ticks_in_one_commit(conn: asyncpg.Connection) -> None:
    """All of many missed ticks are the newest thousand, each job with a correlation of its own."""
    await declared(conn, Schedule("s", Cron("* * * * *"), "greet", catch_up="all", overlap="queue"))
    await conn.execute("UPDATE ops.schedules SET next_tick_at = $1", await ago(conn, days=3))
    done = await table.tick(conn, "s")

    assert done is not None
    assert (1000, True) == (len(done.job_ids), done.cut)
    found = await conn.fetchrow(
        "SELECT count(DISTINCT correlation_id), min(run_at) > now() - interval '1 minute' AS due,"
        " array_agg(id ORDER BY unique_key) = array_agg(id ORDER BY id) AS ordered FROM ops.jobs"
    )
    assert (1000, True, True) == tuple(found or ())


@pytest.mark.parametrize("status", ["pending", "processing", "completed", "failed", "cancelled"])
@pytest.mark.parametrize("overlap", ["skip", "queue"])
async def test_a_tick_beside_the_job_of_the_tick_before(
    conn: asyncpg.Connection, status: str, overlap: str
) -> None:
    """While the last tick's job waits or runs, a tick is skipped, or queued if that was chosen."""
    tick = await owing(conn, overlap=overlap)
    await table.tick(conn, "nightly")
    held = "7" if status == "processing" else "NULL"
    ended = "NULL" if status in {"pending", "processing"} else "now()"
    await conn.execute(
        f"UPDATE ops.jobs SET status = '{status}', finished_at = {ended}, lock_token = {held},"
        f" locked_until = CASE WHEN {held} > 0 THEN now() END"
    )
    later = tick + timedelta(minutes=1)
    await conn.execute(
        "UPDATE ops.schedules SET next_tick_at = $1, cron = $2",
        later,
        daily(later).cron.expression,
    )
    done = await table.tick(conn, "nightly")

    assert done is not None
    first = (await jobs(conn))[0]["id"]
    skipped = overlap == "skip" and status in {"pending", "processing"}
    assert (1 if skipped else 2, first if skipped else None) == (
        len(await jobs(conn)),
        done.running_job,
    )
    assert later + DAY == (await schedule_row(conn))["next_tick_at"]


async def test_no_tick_becomes_two_jobs(conn: asyncpg.Connection) -> None:
    """A tick that became a job comes to nothing if a changed definition arrives at it again."""
    tick = await owing(conn, overlap="queue")
    await table.tick(conn, "nightly")
    await conn.execute("UPDATE ops.schedules SET next_tick_at = $1", tick)
    done = await table.tick(conn, "nightly")

    assert done is not None
    assert (1, ()) == (len(await jobs(conn)), done.ticks)


async def test_a_definition_from_the_future(conn: asyncpg.Connection) -> None:
    """An expression that this version does not understand is an error, and nothing moves."""
    await owing(conn)
    await conn.execute("UPDATE ops.schedules SET cron = '0 6 ? * *'")
    before = await schedule_row(conn)

    with pytest.raises(ConfigurationError, match="day of month"):
        await table.tick(conn, "nightly")

    assert (before, []) == (await schedule_row(conn), await jobs(conn))


async def test_pausing_and_resuming(conn: asyncpg.Connection) -> None:
    """A pause keeps who and why until the schedule is resumed; each works once."""
    await owing(conn)
    paused = [await table.pause(conn, "nightly", by, "why") for by in ("ada", "bob")]
    row = await schedule_row(conn)
    assert ([True, False], "ada", "why") == (paused, row["paused_by"], row["pause_reason"])

    resumed = [await table.resume(conn, "nightly", "bob", "over") for _ in range(2)]
    row = await schedule_row(conn)
    assert ([True, False], None, "bob", "over") == (
        resumed,
        row["paused_at"],
        row["resumed_by"],
        row["resume_reason"],
    )
    assert not await table.pause(conn, "unknown", "ada", "why")


async def test_a_pause_survives_a_deployment(conn: asyncpg.Connection) -> None:
    """A start, with whatever definition, does not resume what a person paused."""
    tick = await owing(conn)
    await table.pause(conn, "nightly", "ada", "why")
    await declared(conn, daily(tick + HOUR))

    assert "ada" == (await schedule_row(conn))["paused_by"]


async def test_a_list_tells_what_does_not_tick(conn: asyncpg.Connection) -> None:
    """A list knows a schedule that nobody declares any more, and one that nobody ticks."""
    await owing(conn)
    (fresh,) = await table.rows(conn)
    await conn.execute("UPDATE ops.schedules SET declared_at = declared_at - interval '1 hour'")
    (old,) = await table.rows(conn)
    await table.pause(conn, "nightly", "ada", "why")
    await table.resume(conn, "nightly", "ada", "why")
    (resumed,) = await table.rows(conn)

    assert (True, True) == (fresh.declared, fresh.overdue)
    assert (False, True, False) == (old.declared, old.overdue, resumed.overdue)


async def test_two_first_starts_at_once(dsn: str, conn: asyncpg.Connection) -> None:
    """Of two processes that declare a schedule for the first time both succeed, with one row."""
    schedule = daily(await ago(conn, minutes=5))
    async with another(dsn) as other, conn.transaction():
        await declared(other, schedule)
        await declared(conn, schedule)

    assert 1 == await conn.fetchval("SELECT count(*) FROM ops.schedules")
