"""Connections for handlers: lent one at a time, and good for nothing once they are given back."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import anyio
import asyncpg

from dragonfly.errors import JobMisuse
from dragonfly.postgres.bounds import answering
from dragonfly.postgres.failures import TROUBLE
from dragonfly.postgres.sessions import PROOF_SECONDS

if TYPE_CHECKING:
    from asyncpg import Connection, Pool
    from asyncpg.pool import PoolConnectionProxy

RELEASE_SECONDS = 5.0
# What a loan may do and its connection still be kept: listeners, loggers and prepared statements
# end when the pool gets the connection back.
LEAVES_NOTHING = frozenset(
    {
        "close",
        "commit_after",
        "copy_from_query",
        "copy_from_table",
        "copy_records_to_table",
        "copy_to_table",
        "execute",
        "executemany",
        "fetch",
        "fetchmany",
        "fetchrow",
        "fetchval",
        "get_server_pid",
        "is_closed",
        "is_in_transaction",
        "terminate",
        "transaction",
    }
)


class Lender:
    """Lends the connections of a pool, and keeps them at hand between loans.

    A loan from the pool and its return cost as much as two statements (benchmark W2T). Only what
    came back clean is kept, and only while nobody waits for a connection.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: list[PoolConnectionProxy] = []
        self._waiting = 0

    def lend(self) -> Loan:
        """A loan for one ``async with``.

        Raises ConnectionRefusedError if there is no connection to be had, ConnectionResetError if
        the block failed because the connection was lost, JobMisuse if it closed it by itself.
        """
        return Loan(self)

    async def give_back(self) -> None:
        """Return to the pool what is kept, so that it can close what is long idle."""
        for _ in range(len(self._kept)):  # and no more: others go on lending
            if self._kept:
                await self._release(self._kept.pop())

    async def prove_idle(self) -> None:
        """Let each connection that is not lent prove itself; a silent one leaves the pool."""
        await self.give_back()
        async with anyio.create_task_group() as group:
            for _ in range(self._pool.get_idle_size()):
                group.start_soon(self._prove_one)

    async def _prove_one(self) -> None:
        with suppress(*TROUBLE):
            proxy = await self._pool.acquire(timeout=PROOF_SECONDS)
            try:
                with answering(cast("Connection", proxy), PROOF_SECONDS):
                    await proxy.execute("SELECT")
            finally:
                await self._pool.release(proxy, timeout=PROOF_SECONDS)

    def _at_hand(self) -> PoolConnectionProxy | None:
        """The connection that was kept last, if it lives."""
        if self._kept and not _is_lost(self._kept[-1]):
            return self._kept.pop()
        return None

    async def _take(self) -> PoolConnectionProxy:
        while self._kept:
            proxy = self._kept.pop()
            if not _is_lost(proxy):
                return proxy
            await self._release(proxy)
        self._waiting += 1
        try:
            return await self._pool.acquire()
        except OSError as error:
            # a name, a socket or an answer that is missing: the database is away, no handler's bug
            raise ConnectionRefusedError(f"no connection: {type(error).__name__}") from error
        finally:
            self._waiting -= 1

    def _keep(self, proxy: PoolConnectionProxy) -> bool:
        """Keep it at hand, if nobody waits for it and it is as it came."""
        if self._waiting or _is_lost(proxy) or proxy.is_in_transaction():
            return False
        self._kept.append(proxy)
        return True

    async def _release(self, proxy: PoolConnectionProxy) -> None:
        # what it was cancelled in may never be answered; then the pool drops the connection
        with suppress(*TROUBLE):
            await self._pool.release(proxy, timeout=RELEASE_SECONDS)


class Loan:
    """One loan of one connection."""

    __slots__ = ("_lender", "_lent", "_proxy")

    def __init__(self, lender: Lender) -> None:
        self._lender = lender

    async def __aenter__(self) -> Connection:
        lender = self._lender
        self._proxy = lender._at_hand() or await lender._take()  # noqa: SLF001 - a part of it
        self._lent = Lent(self._proxy)
        return cast("Connection", self._lent)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        is_lost = isinstance(error, asyncpg.InterfaceError) and _is_lost(self._proxy)
        self._lent.end()
        clean = error is None and not self._lent.changed
        if not clean or not self._lender._keep(self._proxy):  # noqa: SLF001
            await self._lender._release(self._proxy)  # noqa: SLF001
        if is_lost and self._lent.closed:
            raise JobMisuse(
                "the handler closed the connection that was lent to it; the end of its block does"
            ) from error
        if is_lost:
            raise ConnectionResetError("the connection was lost while it was lent") from error


class Lent:
    """Answers to every method of a connection, until the loan ends."""

    __slots__ = ("_conn", "changed", "closed")

    def __init__(self, proxy: PoolConnectionProxy) -> None:
        # asyncpg's proxy would cost a call more with each; that the loan ends is seen to here
        self._conn: Connection | None = proxy._con  # type: ignore[attr-defined]  # noqa: SLF001
        self.changed = False  # something of the loan stays with the connection
        self.closed = False  # by the borrower

    def __getattr__(self, name: str) -> Any:
        if self._conn is None:
            raise asyncpg.InterfaceError(
                f"cannot use {name} of this connection: it was given back when its block ended"
            )
        if name not in LEAVES_NOTHING:
            self.changed = True
        elif name in {"close", "terminate"} and not self._conn.is_closed():
            self.closed = True
        return getattr(self._conn, name)

    def end(self) -> None:
        """The loan is over."""
        self._conn = None


def _is_lost(proxy: PoolConnectionProxy) -> bool:
    try:
        return proxy.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken a dead connection out of its proxy
        return True
