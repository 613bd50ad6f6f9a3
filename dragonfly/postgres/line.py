"""One connection kept for one purpose: opened when needed, and again after it failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import asyncpg

from dragonfly.postgres.database import close
from dragonfly.postgres.failures import TROUBLE, is_connection_lost
from dragonfly.postgres.sessions import PROOF_SECONDS, Sessions
from dragonfly.postgres.transactions import answering

if TYPE_CHECKING:
    from asyncpg import Connection


class TooLate(Exception):
    """What it was to be used for is no longer to be begun."""


class Line:
    """Serves one caller at a time; every use is bounded by ``timeout`` seconds.

    A use that is cut off, or that loses its connection, drops it; the next use opens another. One
    of the ``sessions`` of a process casts doubt on the others when it gives no answer, and proves
    itself before its next use when another one gave none.
    """

    def __init__(
        self,
        open_connection: Callable[[], Awaitable[Connection]],
        timeout: float,
        sessions: Sessions | None = None,
    ) -> None:
        self._open = open_connection
        self._timeout = timeout
        self._sessions = sessions
        self._proved = 0  # the generation of the sessions then
        self._lock = anyio.Lock(fast_acquire=True)
        self._in_use = False
        self._conn: Connection | None = None
        if sessions is not None:
            sessions.watch(self._asking)

    @asynccontextmanager
    async def use(
        self, *, shield: bool = False, unless: asyncio.Event | None = None
    ) -> AsyncIterator[Connection]:
        """The connection, for a few statements; TimeoutError after the bound.

        With ``shield`` nothing but the bound cuts it off once it has begun; it does not begin, and
        raises TooLate, if ``unless`` is set when its turn comes.
        """
        async with self._lock:
            if unless is not None and unless.is_set():
                raise TooLate
            try:
                deadline = anyio.current_time() + self._timeout
                with anyio.CancelScope(deadline=deadline, shield=shield) as bound:
                    conn = await self._ready()
                    self._in_use = True
                    yield conn
            except BaseException as error:
                if not isinstance(error, Exception) or is_connection_lost(error):
                    self._drop()
                raise
            finally:
                self._in_use = False
            if bound.cancelled_caught:
                self._drop()
                if self._sessions is not None:
                    self._sessions.doubt()
                raise TimeoutError

    def _asking(self) -> Connection | None:
        """Whoever uses it does nothing but wait for its answers."""
        return self._conn if self._in_use else None

    async def _ready(self) -> Connection:
        generation = self._sessions.generation if self._sessions is not None else 0
        if self._conn is not None and self._proved != generation:
            with suppress(*TROUBLE), answering(self._conn, PROOF_SECONDS):
                await self._conn.execute("SELECT")
        if self._conn is None or self._conn.is_closed():
            self._conn = await self._open()
        self._proved = generation
        return self._conn

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(asyncpg.InterfaceError):
                conn.terminate()

    async def aclose(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await close(conn)
