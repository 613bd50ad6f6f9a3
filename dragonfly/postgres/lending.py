"""Connections for handlers: lent one at a time, and good for nothing once they are given back."""

from __future__ import annotations

import asyncio
import time
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

    from dragonfly.postgres.closing import ClosingConnection

RELEASE_SECONDS = 5.0
# how long a transaction that was begun ahead may wait for somebody to want it
UNUSED_SECONDS = 0.05
# What a loan may do and its connection still be kept: listeners, loggers and prepared statements
# end when the pool gets the connection back.
LEAVES_NOTHING = frozenset(
    {
        "close",
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
    came back clean is kept, and only while nobody waits for a connection: in no transaction, or in
    one that was begun ahead.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._kept: list[PoolConnectionProxy] = []
        self._waiting = 0
        self._begun = asyncio.Event()  # one that was begun ahead is kept

    def lend(self) -> Loan:
        """A loan for one ``async with``.

        Raises ConnectionRefusedError if there is no connection to be had, ConnectionResetError if
        the block failed because the connection was lost, JobMisuse if it closed it by itself.
        """
        return Loan(self, begun=False)

    def lend_begun(self) -> Loan:
        """The same for a ``brief_transaction``, which may have been begun already."""
        return Loan(self, begun=True)

    @property
    def is_wanted(self) -> bool:
        """Somebody waits for a connection."""
        return self._waiting > 0

    async def give_back(self) -> None:
        """Return to the pool what is kept, so that it can close what is long idle."""
        kept, self._kept = self._kept, []
        await self._release_all(kept)

    async def _release_all(self, proxies: list[PoolConnectionProxy]) -> None:
        if not proxies:
            return
        async with anyio.create_task_group() as group:  # a silent one holds up none of the others
            for proxy in proxies:
                group.start_soon(self._release, proxy)

    async def end_unused(self) -> None:
        """Until cancelled, end what was begun ahead for nobody; then close what is left of it."""
        try:
            while True:
                await self._begun.wait()
                await asyncio.sleep(UNUSED_SECONDS / 4)
                await self._end_late()
        finally:
            for proxy in self._kept:
                if _begun_at(proxy) is not None:
                    proxy.terminate()

    async def _end_late(self) -> None:
        old = time.monotonic() - UNUSED_SECONDS
        begun = {proxy: at for proxy in self._kept if (at := _begun_at(proxy)) is not None}
        late = [proxy for proxy, at in begun.items() if at <= old]
        self._kept = [proxy for proxy in self._kept if proxy not in late]
        if len(late) == len(begun):
            self._begun.clear()
        await self._release_all(late)

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

    async def _take_clean(self) -> PoolConnectionProxy:
        """One in no transaction."""
        while True:
            proxy = await self._take()
            if await _ended(proxy):
                return proxy
            await self._release(proxy)

    def _keep(self, proxy: PoolConnectionProxy, conn: ClosingConnection) -> bool:
        """Keep it at hand, if nobody waits for it and it is as it came."""
        if self._waiting or conn.is_closed():
            return False
        if conn.is_in_transaction():
            if conn.outermost.begun is None:
                return False
            self._begun.set()
        self._kept.append(proxy)
        return True

    async def _release(self, proxy: PoolConnectionProxy) -> None:
        # what it was cancelled in may never be answered; then the pool drops the connection
        with suppress(*TROUBLE):
            await _ended(proxy)
            await self._pool.release(proxy, timeout=RELEASE_SECONDS)


class Loan:
    """One loan of one connection; ``begun``: one in a transaction that was begun ahead will do."""

    __slots__ = ("_begun", "_conn", "_lender", "_lent", "_proxy")

    def __init__(self, lender: Lender, *, begun: bool) -> None:
        self._lender = lender
        self._begun = begun

    @property
    def changed(self) -> bool:
        """Something of it stays with the connection, which is not kept at hand after it then."""
        return self._lent.changed

    async def __aenter__(self) -> Connection:
        lender, kept = self._lender, self._lender._kept  # noqa: SLF001 - a part of it
        if not self._begun:
            self._proxy = await lender._take_clean()  # noqa: SLF001
        elif kept and not _is_lost(kept[-1]):
            self._proxy = kept.pop()
        else:
            self._proxy = await lender._take()  # noqa: SLF001
        # asyncpg's proxy would cost a call more with each; that the loan ends is seen to by Lent
        self._conn: ClosingConnection = self._proxy._con  # type: ignore[attr-defined]  # noqa: SLF001
        self._lent = lent = Lent(self._conn)
        return lent  # type: ignore[return-value]

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lender, proxy, conn, lent = self._lender, self._proxy, self._conn, self._lent
        is_lost = isinstance(error, asyncpg.InterfaceError) and conn.is_closed()
        lent.end()
        if error is not None or lent.changed or not lender._keep(proxy, conn):  # noqa: SLF001
            await lender._release(proxy)  # noqa: SLF001
        if is_lost and lent.closed:
            raise JobMisuse(
                "the handler closed the connection that was lent to it; the end of its block does"
            ) from error
        if is_lost:
            raise ConnectionResetError("the connection was lost while it was lent") from error


class Lent:
    """Answers to every method of a connection, until the loan ends."""

    __slots__ = ("_conn", "changed", "closed")

    def __init__(self, conn: ClosingConnection) -> None:
        self._conn: ClosingConnection | None = conn
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


def behind(lent: object) -> ClosingConnection:
    """The connection itself, for who knows when the loan ends: what goes by ``Lent`` is dearer."""
    return lent._conn if isinstance(lent, Lent) else lent  # type: ignore[return-value]  # noqa: SLF001


def _is_lost(proxy: PoolConnectionProxy) -> bool:
    conn = proxy._con  # type: ignore[attr-defined]  # noqa: SLF001
    return conn is None or conn.is_closed()  # None: the pool has taken out a dead one


def _begun_at(proxy: PoolConnectionProxy) -> float | None:
    """When its transaction was begun ahead, if it is in such a one."""
    if _is_lost(proxy):
        return None
    begun: float | None = proxy._con.outermost.begun  # type: ignore[attr-defined]  # noqa: SLF001
    return begun


async def _ended(proxy: PoolConnectionProxy) -> bool:
    """End what was begun ahead; if that fails the connection is closed, and False."""
    if _begun_at(proxy) is None:
        return not _is_lost(proxy)
    try:
        with answering(cast("Connection", proxy), PROOF_SECONDS):
            await proxy._con.outermost.rollback()  # type: ignore[attr-defined]  # noqa: SLF001
    except BaseException as error:
        with suppress(asyncpg.InterfaceError):
            proxy.terminate()
        if not isinstance(error, TROUBLE):
            raise
        return False
    return not _is_lost(proxy)  # its bound may have passed while the answer lay there unread
