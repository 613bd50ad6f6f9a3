"""How long a statement may go without an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import cast

import anyio
import asyncpg
import pytest

from dragonfly.postgres.bounds import Watch, answering, unanswered
from tests.support import until

WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 5 AND NOT granted"


@pytest.fixture
async def other(dsn: str, conn: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A second connection; whatever it asks for is locked."""
    await conn.execute("SELECT pg_advisory_lock(5)")
    other = await asyncpg.connect(dsn)
    yield other
    other.terminate()


async def wait(conn: asyncpg.Connection, seconds: float) -> None:
    """Ask for what somebody else has locked."""
    with answering(conn, seconds):
        await conn.execute("SELECT pg_advisory_lock(5)")


async def test_the_shorter_bound_holds_though_it_began_later(
    dsn: str, conn: asyncpg.Connection, other: asyncpg.Connection
) -> None:
    """Each statement has its own bound, however long others may wait beside it."""
    patient = await asyncpg.connect(dsn)
    async with anyio.create_task_group() as group:
        group.start_soon(wait, patient, 60.0)
        await until(conn, WAITS, expected=1)
        with pytest.raises(ConnectionResetError, match=r"did not answer in 0\.2 s"):
            await wait(other, 0.2)
        assert other.is_closed()
        assert [patient] == unanswered()
        await conn.execute("SELECT pg_advisory_unlock(5)")
    await patient.close()


async def test_bounds_follow_each_other(
    dsn: str, conn: asyncpg.Connection, other: asyncpg.Connection
) -> None:
    """Who asks while others wait is given up in its turn, after them."""
    ended = []

    async def run(name: str, conn: asyncpg.Connection, seconds: float) -> None:
        with pytest.raises(ConnectionResetError):
            await wait(conn, seconds)
        ended.append(name)

    third = await asyncpg.connect(dsn)
    async with anyio.create_task_group() as group:
        group.start_soon(run, "second", other, 0.3)
        await until(conn, WAITS, expected=1)
        group.start_soon(run, "first", third, 0.1)

    assert ["first", "second"] == ended
    assert [] == unanswered()


async def test_an_answer_in_time_is_no_matter(other: asyncpg.Connection) -> None:
    """A connection that answers in time goes on, and nothing is left waiting."""
    with answering(other, 60.0):
        assert 1 == await other.fetchval("SELECT 1")

    assert [] == unanswered()
    assert not other.is_closed()


@dataclass(eq=False)
class Timer:
    """A call at a time."""

    when: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Clock:
    """What a watch wants of an event loop; its time is moved by hand."""

    now: float = 0.0
    timers: list[Timer] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, call))
        return self.timers[-1]

    def move_to(self, now: float) -> None:
        self.now = now
        due = [timer for timer in self.timers if timer.when <= now and not timer.cancelled]
        self.timers = [each for each in self.timers if each not in due and not each.cancelled]
        for timer in due:
            timer.call()

    @property
    def set_timers(self) -> int:
        return sum(not timer.cancelled for timer in self.timers)


@dataclass(eq=False)
class Asker:
    """Somebody who waits until then."""

    due: float
    conn: asyncpg.Connection | None = None
    gave_up: bool = False

    def give_up(self) -> None:
        self.gave_up = True


def test_one_timer_serves_all() -> None:
    """However long and short bounds follow each other, no more than one timer is set for them."""
    clock = Clock()
    watch = Watch(cast("asyncio.AbstractEventLoop", clock))
    for _ in range(20):
        long, short = Asker(clock.now + 30), Asker(clock.now + 10)
        for asker in (long, short):
            watch.add(asker)
        assert 1 == clock.set_timers
        watch.drop(short)
        clock.move_to(clock.now + 10)
        assert 1 == clock.set_timers
        watch.drop(long)

    last = Asker(clock.now + 5)
    watch.add(last)
    clock.move_to(clock.now + 5)
    assert (True, 0) == (last.gave_up, clock.set_timers)
