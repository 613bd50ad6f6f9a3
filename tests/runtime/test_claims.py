"""Where in the queue a busy worker's next claim looks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from dragonfly.events import Events
from dragonfly.postgres.database import open_database
from dragonfly.queue import store
from dragonfly.runtime.claims import Claims
from dragonfly.runtime.process import open_process
from dragonfly.settings import Settings
from dragonfly.worker import Worker
from tests.queue.rows import ME, put

HOUR = timedelta(hours=1)


@pytest.fixture
async def claims(dsn: str) -> AsyncIterator[Claims]:
    database = await open_database(dsn, "the test database")
    async with open_process(Settings(), database, Events()) as process:
        yield Claims(process, Worker("greeter"), ME)


async def take(claims: Claims, limit: int = 1, *, head: bool = True) -> list[int]:
    claimed = await claims.take(["greet"], limit, head=head)
    return [job.id for job in claimed.jobs] if claimed else []


async def test_it_goes_on_behind_the_last_claim(conn: asyncpg.Connection, claims: Claims) -> None:
    """While claims come back full, the next goes on behind; what came in front waits its turn."""
    jobs = [await put(conn, run_at=-HOUR) for _ in range(4)]
    assert [jobs[:1], jobs[1:2]] == [await take(claims), await take(claims)]
    in_front = await put(conn, run_at=-2 * HOUR)

    claims._start_seconds = 60.0  # so long did the last look from the start take
    assert [jobs[2]] == await take(claims)
    claims._start_seconds = 0.0
    assert [in_front] == await take(claims)


async def test_a_claim_that_comes_back_short_starts_over(
    conn: asyncpg.Connection, claims: Claims
) -> None:
    """Behind the last job there was less than asked for: the next look is from the start."""
    jobs = [await put(conn, run_at=-HOUR) for _ in range(3)]
    claims._start_seconds = 60.0
    assert jobs[:2] == await take(claims, 2)
    assert jobs[2:] == await take(claims, 2)
    in_front = await put(conn, run_at=-2 * HOUR)

    assert [in_front] == await take(claims, 2)


async def test_nothing_due_at_the_head_is_no_answer(
    conn: asyncpg.Connection, claims: Claims
) -> None:
    """Where the head gives nothing the whole queue is asked, which knows when something is due."""
    await put(conn, priority=5, run_at=HOUR)
    due = await put(conn)

    assert [due] == await take(claims)
    nothing = await claims.take(["greet"], 1, head=True)
    assert nothing is not None
    assert [] == nothing.jobs
    assert nothing.due_in is not None
    assert 3500 < nothing.due_in < 3601


async def test_an_idle_look_is_one_statement(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty answer tells of suspects, so an idle worker never asks for them apart."""
    asked: list[str] = []
    for name in ("claim", "claim_head", "claim_suspect"):
        real = getattr(store, name)

        async def counted(*args: object, real: Any = real, name: str = name) -> Any:
            asked.append(name)
            return await real(*args)

        monkeypatch.setattr(store, name, counted)
    claims._suspects_seen_at = time.monotonic() - 0.9 * claims._process.settings.heartbeat_seconds

    assert [] == await take(claims, head=False)

    assert ["claim"] == asked
    assert time.monotonic() - claims._suspects_seen_at < 5


async def test_one_suspect_leads_to_the_next(conn: asyncpg.Connection, claims: Claims) -> None:
    """In a busy queue suspects follow each other as soon as the one before has ended."""
    suspects = [await put(conn), await put(conn)]
    await conn.execute("UPDATE ops.jobs SET crashes = 1")
    ordinary = [await put(conn) for _ in range(4)]
    claims._suspects_seen_at -= 2 * claims._process.settings.heartbeat_seconds

    assert [suspects[0], ordinary[0]] == await take(claims, 2)
    assert ordinary[1:3] == await take(claims, 2)
    claims._process.suspects.clear()  # as its end does

    assert [suspects[1], ordinary[3]] == await take(claims, 2)
