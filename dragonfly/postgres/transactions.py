"""Transactions that cannot lie.

asyncpg ends ``async with conn.transaction()`` without an exception even when an error was swallowed
inside and the server answered COMMIT with a rollback. These do not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import anyio
import asyncpg

from dragonfly.errors import TransactionAborted
from dragonfly.postgres.failures import TROUBLE

if TYPE_CHECKING:
    from asyncpg import Connection

BEGIN_SECONDS = 10.0
COMMIT_SECONDS = 30.0
ROLLBACK_SECONDS = 5.0

Fence = Callable[[], Awaitable[None]]


@asynccontextmanager
async def transaction(conn: Connection, *, fence: Fence | None = None) -> AsyncIterator[None]:
    """Run the block in a transaction of ``conn``; commit only what the server really holds.

    ``fence`` is awaited last, just before the commit; what it raises rolls back.
    Raises TransactionAborted if an error was swallowed inside the block, ConnectionResetError if
    what is said here gets no answer; how long the block may take is its own affair.
    """
    work = conn.transaction()
    with answering(conn, BEGIN_SECONDS):
        await work.start()
    try:
        yield
        with answering(conn, COMMIT_SECONDS):
            await _prove(conn, fence)
        # cut off here, nobody would know whether it happened
        with answering(conn, COMMIT_SECONDS, shield=True):
            await work.commit()
    except BaseException:
        await roll_back(conn, work)
        raise


@contextmanager
def answering(conn: Connection, seconds: float, *, shield: bool = False) -> Iterator[None]:
    """Expect answers within a bound: a half-open connection gives none, and raises nothing.

    It is closed then, and ConnectionResetError says so.
    """
    try:
        with anyio.fail_after(seconds, shield=shield):
            yield
    except TimeoutError as error:
        with suppress(asyncpg.InterfaceError):
            conn.terminate()
        raise ConnectionResetError(f"the connection did not answer in {seconds:g} s") from error


async def _prove(conn: Connection, fence: Fence | None) -> None:
    try:
        if fence is not None:
            await fence()
        else:
            await conn.execute("SELECT")
    except asyncpg.InFailedSQLTransactionError:
        raise TransactionAborted(
            "a database error was swallowed inside the transaction, so the server rolled it back; "
            "let database errors leave the block"
        ) from None


async def roll_back(conn: Connection, work: asyncpg.transaction.Transaction) -> None:
    """Roll back within a bound, cancelled or not; if that fails, the connection is closed."""
    with anyio.CancelScope(shield=True):
        try:
            with anyio.fail_after(ROLLBACK_SECONDS):
                if conn.is_in_transaction():
                    await work.rollback()
        except TROUBLE:
            with suppress(asyncpg.InterfaceError):
                conn.terminate()
