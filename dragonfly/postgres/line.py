"""One connection kept for one purpose: opened when needed, and again after it failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import asyncpg

from dragonfly.postgres.database import close
from dragonfly.postgres.failures import is_connection_lost

if TYPE_CHECKING:
    from asyncpg import Connection


class Line:
    """Serves one caller at a time; every use is bounded by ``timeout`` seconds.

    A use that is cut off, or that loses its connection, drops it; the next use opens another.
    """

    def __init__(
        self, open_connection: Callable[[], Awaitable[Connection]], timeout: float
    ) -> None:
        self._open = open_connection
        self._timeout = timeout
        self._lock = anyio.Lock(fast_acquire=True)
        self._conn: Connection | None = None

    @asynccontextmanager
    async def use(self, *, shield: bool = False) -> AsyncIterator[Connection]:
        """The connection, for a few statements; TimeoutError after the bound.

        With ``shield`` nothing but the bound cuts it off once it has begun.
        """
        async with self._lock:
            try:
                deadline = anyio.current_time() + self._timeout
                with anyio.CancelScope(deadline=deadline, shield=shield) as bound:
                    yield await self._ready()
            except BaseException as error:
                if not isinstance(error, Exception) or is_connection_lost(error):
                    self._drop()
                raise
            if bound.cancelled_caught:
                self._drop()
                raise TimeoutError

    async def _ready(self) -> Connection:
        if self._conn is None or self._conn.is_closed():
            self._conn = await self._open()
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
