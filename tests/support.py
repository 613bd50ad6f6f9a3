"""What the tests of the runtime share: a process in this event loop, its events, its database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import anyio
import asyncpg

from dragonfly.events import Event, Events
from dragonfly.postgres.database import open_database
from dragonfly.runtime.process import Mode, open_process
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.settings import Settings
from dragonfly.worker import Worker
from tests.roles import administrator

_Kind = TypeVar("_Kind", bound=Event)
# how many sessions sleep for jobs of a type, $1
SLEPT_FOR = """
SELECT count(*) FROM pg_locks l
 WHERE l.locktype = 'advisory' AND l.mode = 'ShareLock' AND l.objsubid = 1
   AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
   AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended($1, 5277240125)
"""


@dataclass
class Recorder:
    """Keeps every event, and lets a test wait for one instead of sleeping."""

    events: Events = field(default_factory=Events)
    seen: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.events.on(Event, self._note)
        self._news = anyio.Event()

    def _note(self, event: Event) -> None:
        self.seen.append(event)
        self._news.set()
        self._news = anyio.Event()

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        """The events of this kind so far."""
        return [event for event in self.seen if isinstance(event, kind)]

    async def wait_for(
        self,
        kind: type[_Kind],
        matching: Callable[[_Kind], bool] = lambda _: True,
        *,
        count: int = 1,
        seconds: float = 20,
    ) -> _Kind:
        """The ``count``-th event of this kind that matches, once it has happened."""
        with anyio.fail_after(seconds):
            while True:
                news = self._news
                found = [event for event in self.of(kind) if matching(event)]
                if len(found) >= count:
                    return found[count - 1]
                await news.wait()


def settings(**changes: Any) -> Settings:
    """Quick settings for tests, independent of this machine's environment."""
    quick: dict[str, Any] = {
        "backoff_scale": 0.01,
        "heartbeat_seconds": 0.2,
        "lease_seconds": 2,
        "poll_seconds": 1,
        "grace_seconds": 5,
    }
    return Settings(**(quick | changes))


@asynccontextmanager
async def supervisor(
    dsn: str, *workers: Worker, mode: Mode = Mode.FOREVER, **changes: Any
) -> AsyncIterator[tuple[Supervisor, Recorder]]:
    """A supervisor that is ready to ``run()``; ``changes`` go into its settings."""
    recorder = Recorder()
    database = await open_database(dsn, "the test database")
    async with open_process(settings(**changes), database, recorder.events, mode) as process:
        yield Supervisor(process, workers), recorder


@asynccontextmanager
async def running(
    dsn: str, *workers: Worker, **changes: Any
) -> AsyncIterator[tuple[Supervisor, Recorder]]:
    """A supervisor that runs while the block does, and is stopped politely after it."""
    async with (
        supervisor(dsn, *workers, **changes) as (boss, recorder),
        anyio.create_task_group() as group,
    ):
        group.start_soon(boss.run)
        try:
            yield boss, recorder
        finally:
            boss.process.stop.request("test")


async def drain(dsn: str, *workers: Worker, **changes: Any) -> tuple[int, Recorder]:
    """Run until nothing is due; the exit code and what happened."""
    async with supervisor(dsn, *workers, mode=Mode.DRAIN, **changes) as (boss, recorder):
        with anyio.fail_after(60):
            return await boss.run(), recorder


async def until(
    conn: asyncpg.Connection, sql: str, *args: object, expected: object = True, seconds: float = 20
) -> None:
    """Wait until a query answers what is expected; asks every 20 ms, within a bound."""
    with anyio.fail_after(seconds):
        while await conn.fetchval(sql, *args) != expected:
            await anyio.sleep(0.02)


async def forbid_logins(dsn: str) -> None:
    """Take the database away from everybody: nobody is in, and nobody gets in."""
    await _maintain(
        dsn,
        'ALTER DATABASE "{0}" ALLOW_CONNECTIONS false',
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{0}'",
    )


async def allow_logins(dsn: str) -> None:
    """Give the database back."""
    await _maintain(dsn, 'ALTER DATABASE "{0}" ALLOW_CONNECTIONS true')


async def _maintain(dsn: str, *statements: str) -> None:
    parts = urlsplit(dsn)
    elsewhere = urlunsplit(parts._replace(path="/postgres"))
    conn = await asyncpg.connect(administrator(elsewhere))
    try:
        for statement in statements:
            await conn.execute(statement.format(parts.path.lstrip("/")))
    finally:
        await conn.close()
