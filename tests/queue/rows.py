"""What the queue's tests share: jobs put straight into the table, and stages for races."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from dragonfly.job import Claim, Finish, JobStatus
from dragonfly.queue.sleepers import fall_asleep
from tests.support import until

ME, OTHER = "greeter.1@here", "greeter.1@there"
MINE, THEIRS = 11, 22
LEASE = 60.0

Row = dict[str, Any]

_JSON = frozenset({"payload", "progress", "checkpoint", "errors", "result"})
_TIME_IN_TEXT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_PENDING: Row = {}
_HELD: Row = {
    "status": "processing",
    "attempts": 1,
    "locked_by": ME,
    "lock_token": MINE,
    "locked_at": timedelta(seconds=-20),
    "locked_until": timedelta(seconds=40),
}
_ENDED: Row = {
    "attempts": 1,
    "locked_by": ME,
    "locked_at": timedelta(seconds=-30),
    "finished_at": timedelta(seconds=-20),
}

# every state a job can be in, as far as one holder (ME, with the token MINE) is concerned
STATES: dict[str, Row] = {
    "pending": _PENDING,
    "suspect": {"crashes": 1},
    "ours": _HELD,
    "lapsed": _HELD | {"locked_at": timedelta(seconds=-70), "locked_until": timedelta(seconds=-10)},
    "theirs": _HELD | {"locked_by": OTHER, "lock_token": THEIRS},
    "completed": _ENDED | {"status": "completed", "result": '{"n": 0}'},
    "failed": _ENDED | {"status": "failed", "last_error": "before"},
    "cancelled": _ENDED | {"status": "cancelled", "last_error": "before"},
}


async def put(conn: asyncpg.Connection, state: str = "pending", **columns: Any) -> int:
    """Insert a job in this state, with these columns besides; a timedelta counts from now."""
    now = await conn.fetchval("SELECT clock_timestamp()")
    wanted: Row = {"job_type": "greet"} | STATES[state] | columns
    values = [now + v if isinstance(v, timedelta) else v for v in wanted.values()]
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    job_id: int = await conn.fetchval(
        f"INSERT INTO ops.jobs ({', '.join(wanted)}) VALUES ({places}) RETURNING id", *values
    )
    return job_id


async def row(conn: asyncpg.Connection, job_id: int) -> Row:
    """The job as it stands, times as seconds from now (rounded to ten), JSON as values."""
    found = await conn.fetchrow("SELECT * FROM ops.jobs WHERE id = $1", job_id)
    now = await conn.fetchval("SELECT clock_timestamp()")
    assert found is not None
    return {
        name: _shown(json.loads(value) if name in _JSON and value is not None else value, now)
        for name, value in found.items()
    }


def _shown(value: Any, now: datetime) -> Any:
    if isinstance(value, datetime):
        seconds = round((value - now).total_seconds() / 10) * 10
        return f"{seconds:+} s" if seconds else "now"
    if isinstance(value, str):
        if _TIME.match(value):
            return _shown(datetime.fromisoformat(value), now)
        return _TIME_IN_TEXT.sub("TIME", value)
    if isinstance(value, dict):
        return {name: _shown(part, now) for name, part in value.items()}
    if isinstance(value, list):
        return [_shown(part, now) for part in value]
    return value


def changes(before: Row, after: Row) -> Row:
    """The columns that differ, as they are now."""
    return {name: value for name, value in after.items() if value != before[name]}


async def statuses(conn: asyncpg.Connection) -> dict[int, str]:
    """The status of every job."""
    rows = await conn.fetch("SELECT id, status FROM ops.jobs ORDER BY id")
    return {one["id"]: one["status"] for one in rows}


def held(job_id: int, token: int = MINE) -> Claim:
    """What a claim handed to the holder of this token."""
    return Claim(job_id, "greet", "{}", 1, 8, 0, token, None, None)


def done(job_id: int, token: int = MINE) -> Finish:
    """An ordinary success."""
    return Finish(job_id, token, JobStatus.COMPLETED, '{"n": 1}')


def again(job_id: int, token: int = MINE, **options: Any) -> Finish:
    """A return to pending."""
    return Finish(job_id, token, JobStatus.PENDING, **options)


@asynccontextmanager
async def another(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """One more connection."""
    conn = await asyncpg.connect(dsn)
    try:
        yield conn
    finally:
        conn.terminate()


@asynccontextmanager
async def locked(dsn: str, *job_ids: int) -> AsyncIterator[None]:
    """Somebody else holds these rows' locks while the block runs."""
    async with another(dsn) as conn, conn.transaction():
        await conn.fetch("SELECT FROM ops.jobs WHERE id = ANY ($1) FOR UPDATE", job_ids)
        yield


@asynccontextmanager
async def listening(
    dsn: str, *channels: str, asleep: Sequence[str] = ()
) -> AsyncIterator[list[tuple[str, str]]]:
    """What the channels carry while the block runs: pairs of channel and payload.

    The session sleeps for the types that are ``asleep``.
    """
    heard: list[tuple[str, str]] = []
    ended = asyncio.Event()
    async with another(dsn) as conn:
        for channel in channels:
            await conn.add_listener(channel, lambda _, __, *message: heard.append(message))
        await conn.add_listener("ended", lambda *_: ended.set())
        await fall_asleep(conn, asleep)
        yield heard
        await conn.execute("NOTIFY ended")
        await ended.wait()


async def until_blocked(watcher: asyncpg.Connection, number: int = 1) -> None:
    """Wait until the server shows that so many clients of this test's database wait for a lock.

    Which ones is not asked: through a pooler a connection does not know its server's pid.
    """
    await until(
        watcher,
        "SELECT count(*) >= $1 FROM pg_stat_activity WHERE datname = current_database() "
        "AND backend_type = 'client backend' AND wait_event_type = 'Lock'",
        number,
        seconds=4,
    )
