"""Hears NOTIFY on its own connection and rings the workers; a hint, backed up by their polls.

The session that hears is the one that says who sleeps, and so wants to be rung.
"""

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
from dragonfly.runtime.sleepers import Sleepers
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
        sleepers: Sleepers,
        scale: float = 1.0,
    ) -> None:
        self._connect = connect
        self._events = events
        self._ring = ring
        self._cancelled = cancelled
        self._sessions = sessions
        self._sleepers = sleepers
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
                    self._sleepers.forget()
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
            suspected, sleepers = self._sessions.suspected, self._sleepers
            seconds = sleepers.seconds_left or PROOF_EVERY_SECONDS
            await first_of(lost, suspected, sleepers.changed, seconds=seconds)
            if not lost.is_set():
                await self._speak(conn, DOUBTED_SECONDS if suspected.is_set() else PROOF_SECONDS)
        raise ConnectionResetError("the server closed the connection")

    async def _speak(self, conn: Connection, seconds: float) -> None:
        """Say what there is to say of sleepers; any answer proves the connection."""
        try:
            with anyio.fail_after(seconds):
                if not await self._sleepers.settle(conn):
                    await conn.execute("SELECT")
        except TimeoutError:
            self._sessions.doubt()
            raise

    def _hear_job(self, _conn: Any, _pid: int, _channel: str, job_type: object) -> None:
        self._ring(str(job_type))

    def _hear_cancel(self, _conn: Any, _pid: int, _channel: str, job_id: object) -> None:
        if str(job_id).isdigit():
            self._cancelled(int(str(job_id)))
