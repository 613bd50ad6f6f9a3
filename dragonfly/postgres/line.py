"""One connection kept for one purpose: opened when needed, and again after it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

import anyio
import asyncpg

from dragonfly.postgres.bounds import answering, scope_class, watch_of_loop
from dragonfly.postgres.database import close
from dragonfly.postgres.failures import TROUBLE, is_connection_lost
from dragonfly.postgres.sessions import PROOF_SECONDS, Sessions

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
        self._conn: Connection | None = None

    def use(
        self,
        *,
        shield: bool = False,
        unless: asyncio.Event | None = None,
        scope: anyio.CancelScope | None = None,
    ) -> Use:
        """The connection, for the few statements of one ``async with``.

        With ``shield`` nothing but the bound cuts them off once they have begun; they do not begin,
        and TooLate is raised, if ``unless`` is set when their turn comes.
        Raises TimeoutError after the bound. A ``scope``, the innermost that the caller is in, is
        cheaper than one of the use's own. The bound cancels it, even if the answer came just then:
        a cancelled one has to be left before the next use.
        """
        return Use(self, unless, scope, shield=shield)

    async def begin(self, unless: asyncio.Event | None) -> None:
        """Wait until nobody else uses it; TooLate if ``unless`` is set then."""
        await self._lock.acquire()
        if unless is not None and unless.is_set():
            self._lock.release()
            raise TooLate

    async def open(self) -> Connection:
        """The connection, sound as far as anybody knows."""
        generation = self._sessions.generation if self._sessions is not None else 0
        if self._conn is not None and self._proved != generation:
            with suppress(*TROUBLE), answering(self._conn, PROOF_SECONDS):
                await self._conn.execute("SELECT")
        if self._conn is None or self._conn.is_closed():
            self._conn = await self._open()
        self._proved = generation
        return self._conn

    def end(self, error: BaseException | None, *, timed_out: bool) -> None:
        """The use is over, and how it went; what is in doubt is dropped."""
        if timed_out or (
            error is not None and (not isinstance(error, Exception) or is_connection_lost(error))
        ):
            self._drop()
        if timed_out and self._sessions is not None:
            self._sessions.doubt()
        self._lock.release()

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

    __slots__ = ("_line", "_owns", "_scope", "_shield", "_unless", "_watch", "conn", "due")

    def __init__(
        self,
        line: Line,
        unless: asyncio.Event | None,
        scope: anyio.CancelScope | None,
        *,
        shield: bool,
    ) -> None:
        self._line = line
        self._unless = unless
        self._owns = scope is None
        self._scope = scope or scope_class()()
        self._shield = shield
        self.conn: Connection | None = None

    async def __aenter__(self) -> Connection:
        await self._line.begin(self._unless)
        if self._owns:
            self._scope.__enter__()
        self._scope.shield = self._shield
        self._watch = watch = watch_of_loop()
        self.due = watch.loop.time() + self._line.timeout
        watch.add(self)
        try:
            self.conn = conn = await self._line.open()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return conn

    def give_up(self) -> None:
        """Cut off what it waits for."""
        self._scope.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.drop(self)
        scope = self._scope
        if self._owns:
            scope.__exit__(kind, error, trace)
            timed_out = scope.cancelled_caught
        else:
            timed_out = scope.cancel_called and isinstance(error, asyncio.CancelledError)
            scope.shield = False
        self._line.end(error, timed_out=timed_out)
        if timed_out:
            raise TimeoutError from error
