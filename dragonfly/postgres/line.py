"""One connection kept for one purpose: opened when needed, and again after it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
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
        self.timeout = timeout
        self._sessions = sessions
        self._proved = 0  # the generation of the sessions then
        self._lock = asyncio.Lock()
        self._in_use = False
        self._conn: Connection | None = None
        if sessions is not None:
            sessions.watch(self._asking)

    def use(self, *, shield: bool = False, unless: asyncio.Event | None = None) -> Use:
        """The connection, for the few statements of one ``async with``.

        With ``shield`` nothing but the bound cuts them off once they have begun; they do not begin,
        and TooLate is raised, if ``unless`` is set when their turn comes.
        Raises TimeoutError after the bound.
        """
        return Use(self, unless, shield=shield)

    async def begin(self, unless: asyncio.Event | None) -> None:
        """Wait until nobody else uses it; TooLate if ``unless`` is set then."""
        await self._lock.acquire()
        if unless is not None and unless.is_set():
            self._lock.release()
            raise TooLate

    async def open(self) -> Connection:
        """The connection, sound as far as anybody knows; the use has begun."""
        conn = await self._ready()
        self._in_use = True
        return conn

    def end(self, error: BaseException | None, *, timed_out: bool) -> None:
        """The use is over, and how it went; what is in doubt is dropped."""
        self._in_use = False
        if timed_out or (
            error is not None and (not isinstance(error, Exception) or is_connection_lost(error))
        ):
            self._drop()
        if timed_out and self._sessions is not None:
            self._sessions.doubt()
        self._lock.release()

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


class Use:
    """One use of a line; no generator, and asyncio's own lock: a lone job waits for it."""

    __slots__ = ("_bound", "_line", "_shield", "_unless")

    def __init__(self, line: Line, unless: asyncio.Event | None, *, shield: bool) -> None:
        self._line = line
        self._unless = unless
        self._shield = shield

    async def __aenter__(self) -> Connection:
        await self._line.begin(self._unless)
        deadline = asyncio.get_running_loop().time() + self._line.timeout
        self._bound = anyio.CancelScope(deadline=deadline, shield=self._shield)
        self._bound.__enter__()
        try:
            return await self._line.open()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bound.__exit__(kind, error, trace)
        timed_out = self._bound.cancelled_caught
        self._line.end(error, timed_out=timed_out)
        if timed_out:
            raise TimeoutError from error
