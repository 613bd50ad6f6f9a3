"""Transactions that cannot lie.

asyncpg ends ``async with conn.transaction()`` without an exception even when an error was swallowed
inside and the server answered COMMIT with a rollback. These do not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio
import asyncpg

from dragonfly.errors import TransactionAborted
from dragonfly.postgres.bounds import answering, scope_class
from dragonfly.postgres.failures import TROUBLE

if TYPE_CHECKING:
    from asyncpg import Connection

BEGIN_SECONDS = 10.0
COMMIT_SECONDS = 30.0
ROLLBACK_SECONDS = 5.0

Argument = int | str | None


class Proof(NamedTuple):
    """A statement that fails unless its transaction may be committed, and what it is given."""

    statement: str
    args: tuple[Argument, ...] = ()


# fails in a transaction that an error has undone
NOTHING_SWALLOWED = Proof("SELECT")


class Work(Protocol):
    """What begins and ends a transaction, as asyncpg's own objects do."""

    async def start(self) -> None: ...

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...


class transaction:  # noqa: N801 - it reads as the statement it is
    """Run the block in a transaction of ``conn``; commit only what the server really holds.

    ``proof`` is asked last for the statement that must succeed just before the commit; what that
    raises rolls back.
    Raises TransactionAborted if an error was swallowed inside the block, ConnectionResetError if
    what is said here gets no answer; how long the block may take is its own affair.
    """

    # no generators and no cancel scope but one: a fifth of a short job's cost (benchmark W2T)
    __slots__ = ("_conn", "_proof", "_work")

    def __init__(
        self,
        conn: Connection,
        *,
        proof: Callable[[], Proof] | None = None,
        work: Work | None = None,
    ) -> None:
        self._conn = conn
        self._proof = proof
        self._work: Work = conn.transaction() if work is None else work

    async def __aenter__(self) -> None:
        with answering(self._conn, BEGIN_SECONDS):
            await self._work.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if error is not None:
            await self._roll_back()
            return
        try:
            await self._close(self._proof() if self._proof else NOTHING_SWALLOWED)
        except asyncpg.InFailedSQLTransactionError:
            await self._roll_back()
            raise TransactionAborted(
                "a database error was swallowed inside the transaction, so the server rolled it "
                "back; let database errors leave the block"
            ) from None
        except BaseException:
            await self._roll_back()
            raise

    async def _close(self, proof: Proof) -> None:
        conn = self._conn
        with answering(conn, COMMIT_SECONDS):
            await conn.execute(proof.statement, *proof.args)
        # cut off here, nobody would know whether it happened
        with scope_class()(shield=True), answering(conn, COMMIT_SECONDS):
            await self._work.commit()

    async def _roll_back(self) -> None:
        """Within a bound, cancelled or not; if that fails, the connection is closed."""
        conn = self._conn
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(ROLLBACK_SECONDS):
                    if not conn.is_closed() and conn.is_in_transaction():
                        await self._work.rollback()
            except TROUBLE:
                with suppress(asyncpg.InterfaceError):
                    conn.terminate()
