"""Hears NOTIFY on its own connection and rings the workers; a hint, backed up by their polls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import anyio

from dragonfly.backoff import pause_seconds
from dragonfly.events import Events, ListenerConnected, ListenerLost
from dragonfly.postgres.database import close
from dragonfly.postgres.failures import TROUBLE, describe
from dragonfly.postgres.sessions import PROOF_SECONDS as DOUBTED_SECONDS
from dragonfly.postgres.sessions import Sessions
from dragonfly.queue.store import CANCELLED_CHANNEL, JOBS_CHANNEL
from dragonfly.runtime.waiting import first_of

if TYPE_CHECKING:
    from asyncpg import Connection

# a half-open socket raises no event: the connection proves itself by a round trip of its own
PROOF_EVERY_SECONDS = 30.0
PROOF_SECONDS = 5.0


class Listener:
    """Connects, listens, reconnects for ever; after each (re)connection everybody is rung."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        events: Events,
        ring: Callable[[str | None], None],
        cancelled: Callable[[int], None],
        sessions: Sessions,
        scale: float = 1.0,
    ) -> None:
        self._connect = connect
        self._events = events
        self._ring = ring
        self._cancelled = cancelled
        self._sessions = sessions
        self._scale = scale
        self._connected_before = False

    async def run(self) -> None:
        """Listen until cancelled."""
        failures = 0
        while True:
            try:
                conn = await self._connect()
                try:
                    await self._subscribe(conn)
                    failures = 0
                    await self._until_lost(conn)
                finally:
                    await close(conn)
            except TROUBLE as error:
                failures += 1
                pause = pause_seconds(failures, self._scale)
                self._events.emit(ListenerLost(describe(error), pause))
                await asyncio.sleep(pause)

    async def _subscribe(self, conn: Connection) -> None:
        with anyio.fail_after(PROOF_SECONDS):
            await conn.add_listener(JOBS_CHANNEL, self._hear_job)
            await conn.add_listener(CANCELLED_CHANNEL, self._hear_cancel)
        self._events.emit(ListenerConnected(reconnected=self._connected_before))
        self._connected_before = True
        self._ring(None)

    async def _until_lost(self, conn: Connection) -> None:
        lost = asyncio.Event()
        conn.add_termination_listener(lambda _: lost.set())
        while not lost.is_set() and not conn.is_closed():
            suspected = self._sessions.suspected
            await first_of(lost, suspected, seconds=PROOF_EVERY_SECONDS)
            if not lost.is_set():
                await self._prove(conn, DOUBTED_SECONDS if suspected.is_set() else PROOF_SECONDS)
        raise ConnectionResetError("the server closed the connection")

    async def _prove(self, conn: Connection, seconds: float) -> None:
        try:
            with anyio.fail_after(seconds):
                await conn.execute("SELECT")
        except TimeoutError:
            self._sessions.doubt()
            raise

    def _hear_job(self, _conn: Any, _pid: int, _channel: str, job_type: object) -> None:
        self._ring(str(job_type))

    def _hear_cancel(self, _conn: Any, _pid: int, _channel: str, job_id: object) -> None:
        if str(job_id).isdigit():
            self._cancelled(int(str(job_id)))
