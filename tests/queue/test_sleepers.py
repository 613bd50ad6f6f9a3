"""Who sleeps is rung, and nobody else; what may commit without a ring is known."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from dragonfly.queue.bulk import enqueue_many
from dragonfly.queue.sleepers import fall_asleep, wake_up, writers
from dragonfly.queue.store import JOBS_CHANNEL, enqueue
from tests.queue.rows import another, listening, put
from tests.support import until

pytestmark = pytest.mark.unpooled("transaction", reason="a session of its own sleeps")

ADVISORY_LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


async def test_who_listens_and_does_not_sleep_is_not_rung(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """No commit pays for a NOTIFY while nobody sleeps, or only for other types of jobs."""
    async with listening(dsn, JOBS_CHANNEL) as awake:
        await enqueue(conn, "a", {})
        await enqueue_many(conn, "a", [{}] * 100)
    async with listening(dsn, JOBS_CHANNEL, asleep=["b", "c"]) as asleep:
        await enqueue(conn, "a", {})
        await enqueue(conn, "c", {})

    assert ([], [(JOBS_CHANNEL, "c")]) == (awake, asleep)


async def test_each_sleeper_counts(dsn: str, conn: asyncpg.Connection) -> None:
    """A type is rung for until the last of those who sleep for it has woken up, or has gone."""
    heard: list[list[tuple[str, str]]] = []
    async with another(dsn) as first, another(dsn) as second:
        await fall_asleep(first, ["a"])
        await fall_asleep(first, ["a", "b"])
        await fall_asleep(second, ["a"])
        for leave in (wake_up(first, ["a"]), wake_up(first, ["a", "b"]), second.close()):
            async with listening(dsn, JOBS_CHANNEL) as rings:
                await enqueue(conn, "a", {})
            heard.append(rings)
            await leave
        await until(conn, ADVISORY_LOCKS, expected=0)
        async with listening(dsn, JOBS_CHANNEL) as rings:
            await enqueue(conn, "a", {})

    assert [1, 1, 1] == [len(each) for each in heard]
    assert [] == rings


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_an_old_snapshot_rings_too(
    dsn: str, conn: asyncpg.Connection, isolation: Any
) -> None:
    """A transaction that looked at the database before the sleeper came rings for it."""
    work = conn.transaction(isolation=isolation)
    await work.start()
    await conn.fetch("SELECT FROM ops.jobs")
    async with listening(dsn, JOBS_CHANNEL, asleep=["a"]) as heard:
        await enqueue(conn, "a", {})
        await work.commit()

    assert [(JOBS_CHANNEL, "a")] == heard


@pytest.mark.parametrize("asleep", [[], ["elsewhere"]])
async def test_asking_leaves_no_lock_behind(
    dsn: str, conn: asyncpg.Connection, asleep: list[str]
) -> None:
    """Many ask at the same moment, and are cancelled whenever it hits them: no lock stays."""
    crowd = [await asyncpg.connect(dsn) for _ in range(4)]
    pids = [await each.fetchval("SELECT pg_backend_pid()") for each in crowd]
    over = asyncio.Event()

    async def add(each: asyncpg.Connection) -> int:
        cancelled = 0
        for number in range(150):
            try:
                await each.execute(
                    "INSERT INTO ops.jobs (job_type) SELECT 't' || n % 50"
                    " FROM generate_series(1, $1::integer) AS n", 1 + number % 100,
                )  # fmt: skip
            except asyncpg.QueryCanceledError:
                cancelled += 1
        return cancelled

    async def harass() -> None:
        while not over.is_set():
            await conn.fetch("SELECT pg_cancel_backend(pid) FROM unnest($1::integer[]) pid", pids)

    async with listening(dsn, JOBS_CHANNEL, asleep=asleep):
        harassing = asyncio.create_task(harass())
        cancelled = await asyncio.gather(*map(add, crowd))
        over.set()
        await harassing
        held = await conn.fetchval(f"{ADVISORY_LOCKS} AND pid = ANY ($1)", pids)
    for each in crowd:
        each.terminate()

    assert sum(cancelled) > 0
    assert held == 0


async def test_who_writes_is_known_until_the_end(dsn: str, conn: asyncpg.Connection) -> None:
    """A transaction that inserted, or may yet, is told by a name of its own; a reader is not."""
    told = []
    async with another(dsn) as writer, another(dsn) as reader, reader.transaction():
        await reader.fetch("SELECT FROM ops.jobs")
        for _ in range(2):
            async with writer.transaction():
                await put(writer)
                told.append(await writers(conn))
            told.append(await writers(conn))

    first, between, second, after = told
    assert (1, 0, 1, 0) == tuple(map(len, (first, between, second, after)))
    assert not first & second
