"""Transactions that cannot lie.

asyncpg ends ``async with conn.transaction()`` without an exception even when an error was swallowed
inside and the server answered COMMIT with a rollback. These do not.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

import anyio
import asyncpg

from dragonfly.errors import TransactionAborted
from dragonfly.postgres.closing import Proof
from dragonfly.postgres.failures import TROUBLE

if TYPE_CHECKING:
    from asyncpg import Connection

BEGIN_SECONDS = 10.0
COMMIT_SECONDS = 30.0
ROLLBACK_SECONDS = 5.0

# fails in a transaction that an error has undone
NOTHING_SWALLOWED = Proof("SELECT")


class Doubter(Protocol):
    """Who hears of a connection that did not answer."""

    def gave_up(self, conn: Connection) -> None:
        """It was closed for that."""


doubters: WeakSet[Doubter] = WeakSet()


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
        with _scope_class()(shield=True), answering(conn, COMMIT_SECONDS):
            if words is None:
                await self._work.commit()
            else:
                await conn.commit_after(proof.statement, words)  # type: ignore[attr-defined]


@cache
def _scope_class() -> type[anyio.CancelScope]:
    """What ``anyio.CancelScope()`` makes here; each call of it asks anew which event loop runs."""
    return type(anyio.CancelScope())


class answering:  # noqa: N801
    """Expect answers within a bound: a half-open connection gives none, and raises nothing.

    It is closed then, and ConnectionResetError says so.
    """

    __slots__ = ("_late", "_seconds", "_watch", "conn", "due")

    def __init__(self, conn: Connection, seconds: float) -> None:
        self.conn = conn
        self._seconds = seconds
        self._late = False

    def __enter__(self) -> None:
        self._watch = watch = _watch()
        self.due = watch.loop.time() + self._seconds
        watch.add(self)

    def give_up(self) -> None:
        """No answer came in time."""
        self._late = True
        for doubter in doubters:
            doubter.gave_up(self.conn)
        with suppress(asyncpg.InterfaceError):
            self.conn.terminate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self._watch.waiting.discard(self)
        if self._late and isinstance(error, Exception):
            said = f"the connection did not answer in {self._seconds:g} s"
            raise ConnectionResetError(said) from error


class _Watch:
    """What waits for answers in one event loop, with one timer for all of it.

    A timer each would cost a tenth of a short transaction (benchmark W2T).
    """

    __slots__ = ("_looks_at", "loop", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waiting: set[answering] = set()
        self._looks_at = math.inf

    def add(self, one: answering) -> None:
        self.waiting.add(one)
        if one.due < self._looks_at:
            self._look_at(one.due)

    def _look_at(self, when: float) -> None:
        self._looks_at = when
        self.loop.call_at(when, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        late = [each for each in self.waiting if each.due <= now]
        self.waiting.difference_update(late)
        self._looks_at = math.inf
        if self.waiting:
            self._look_at(min(each.due for each in self.waiting))
        for one in late:
            one.give_up()


_latest = threading.local()  # each thread has one event loop at a time


def _watch() -> _Watch:
    """That of the running loop."""
    loop = asyncio.get_running_loop()
    watch: _Watch | None = getattr(_latest, "watch", None)
    if watch is None or watch.loop is not loop:
        watch = _latest.watch = _Watch(loop)
    return watch


def unanswered() -> list[Connection]:
    """The connections at which somebody waits for an answer now, within a bound."""
    return [each.conn for each in _watch().waiting]


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
