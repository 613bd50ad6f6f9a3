"""Transactions that cannot lie.

asyncpg ends ``async with conn.transaction()`` without an exception even when an error was swallowed
inside and the server answered COMMIT with a rollback. These do not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import asyncpg

from dragonfly.errors import TransactionAborted
from dragonfly.postgres.bounds import answering, scope_class
from dragonfly.postgres.closing import Proof
from dragonfly.postgres.failures import TROUBLE

if TYPE_CHECKING:
    from asyncpg import Connection

BEGIN_SECONDS = 10.0
COMMIT_SECONDS = 30.0
ROLLBACK_SECONDS = 5.0

# fails in a transaction that an error has undone
NOTHING_SWALLOWED = Proof("SELECT")


class transaction:  # noqa: N801 - it reads as the statement it is
    """Run the block in a transaction of ``conn``; commit only what the server really holds.

    ``proof`` is asked last for the statement that must succeed just before the commit; what that
    raises rolls back. With ``together`` both travel in one message, over a ClosingConnection.
    Raises TransactionAborted if an error was swallowed inside the block, ConnectionResetError if
    what is said here gets no answer; how long the block may take is its own affair.
    """

    # no generators and no cancel scope but one: a fifth of a short job's cost (benchmark W2T)
    __slots__ = ("_conn", "_proof", "_together", "_work")

    def __init__(
        self, conn: Connection, *, proof: Callable[[], Proof] | None = None, together: bool = False
    ) -> None:
        self._conn = conn
        self._proof = proof
        self._together = together

    async def __aenter__(self) -> None:
        self._work = self._conn.transaction()
        with answering(self._conn, BEGIN_SECONDS):
            await self._work.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if error is not None:
            await roll_back(self._conn, self._work)
            return
        try:
            await self._close(self._proof() if self._proof else NOTHING_SWALLOWED)
        except asyncpg.InFailedSQLTransactionError:
            await roll_back(self._conn, self._work)
            raise TransactionAborted(
                "a database error was swallowed inside the transaction, so the server rolled it "
                "back; let database errors leave the block"
            ) from None
        except BaseException:
            await roll_back(self._conn, self._work)
            raise

    async def _close(self, proof: Proof) -> None:
        conn, words = self._conn, proof.words if self._together else None
        if words is None:
            with answering(conn, COMMIT_SECONDS):
                await conn.execute(proof.statement, *proof.args)
        # cut off here, nobody would know whether it happened
        with scope_class()(shield=True), answering(conn, COMMIT_SECONDS):
            if words is None:
                await self._work.commit()
            else:
                await conn.commit_after(proof.statement, words)  # type: ignore[attr-defined]


async def roll_back(conn: Connection, work: asyncpg.transaction.Transaction) -> None:
    """Roll back within a bound, cancelled or not; if that fails, the connection is closed."""
    with anyio.CancelScope(shield=True):
        try:
            with anyio.fail_after(ROLLBACK_SECONDS):
                if not conn.is_closed() and conn.is_in_transaction():
                    await work.rollback()
        except TROUBLE:
            with suppress(asyncpg.InterfaceError):
                conn.terminate()
