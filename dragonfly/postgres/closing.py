"""Transactions in as few messages as can be, for a message is a fifth of a short one's cost.

A proof travels with its COMMIT, and with both the BEGIN of the transaction that follows at once
(benchmark W2T). PostgreSQL gives a message up at its first error, and does not run what follows: so
the proof is a statement that fails where the commit is forbidden. It is prepared once a session,
for planning it costs more than running it.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from dragonfly.postgres.bounds import answering, scope_class
from dragonfly.postgres.transactions import (
    BEGIN_SECONDS,
    COMMIT_SECONDS,
    Argument,
    Proof,
    transaction,
)

# now() stands still in a transaction: what was begun ahead longer ago is begun anew
FRESH_SECONDS = 0.01
# a session reports what it wrote, by which autovacuum goes, only between two transactions: so often
# one is not begun ahead
REPORT_SECONDS = 1.0


def in_words(args: Sequence[Argument]) -> str | None:
    """The arguments of a proof as they stand in a message; None if they belong in parameters.

    Whole numbers and nulls need no quotes. A text would, and the server's log would show it beside
    each error.
    """
    words = []
    for each in args:
        if type(each) is int:
            words.append(str(each))
        elif each is None:
            words.append("NULL")
        else:
            return None
    return ",".join(words)


class Outermost:
    """A connection's transaction that is no savepoint, over and over.

    It begins and ends as one of asyncpg's, each of which costs ten calls more (benchmark W2T).
    ``begun`` is when (monotonic) the message was sent that began it ahead, for nobody as yet.
    """

    __slots__ = ("_conn", "_held_for", "_rested", "_said", "begun")

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn: Any = conn  # its types leave out _top_xact
        self._held_for = conn.transaction()  # what asyncpg makes savepoints in, never started
        self._rested = time.monotonic()  # when a transaction last ended that began no other
        self._said = 0  # how much this connection had said when one was begun ahead
        self.begun: float | None = None

    def may_begin_next(self, now: float) -> bool:
        """Whether the session has reported what it wrote not long ago."""
        return now - self._rested < REPORT_SECONDS

    def ended(self, now: float, *, begins_next: bool) -> None:
        """One has ended by a message that was sent now (monotonic); another has begun, or not."""
        if begins_next:
            self.begun, self._said = now, self._conn._protocol.queries_count  # noqa: SLF001
        else:
            self._rested = now

    def take_over(self, not_before: float) -> bool:
        """What was begun ahead, but not before this moment and not long ago, is the caller's.

        Unless somebody has spoken in it, who kept the connection of a loan that was over.
        """
        begun = self.begun
        if begun is None or begun < not_before or begun < time.monotonic() - FRESH_SECONDS:
            return False
        if self._said != self._conn._protocol.queries_count:  # noqa: SLF001
            return False
        self.begun = None
        return True

    async def start(self) -> None:
        """Begin, whatever was begun ahead."""
        begun, self.begun = self.begun, None
        await self._conn.execute("BEGIN" if begun is None else "ROLLBACK;BEGIN")
        self._conn._top_xact = self._held_for  # noqa: SLF001 - as asyncpg's own start() does

    async def commit(self) -> None:
        """Commit."""
        await self._end("COMMIT")

    async def rollback(self) -> None:
        """Undo it."""
        await self._end("ROLLBACK")

    async def _end(self, word: str) -> None:
        self.begun = self._conn._top_xact = None  # noqa: SLF001
        self.ended(time.monotonic(), begins_next=False)
        await self._conn.execute(word)


class ClosingConnection(asyncpg.Connection):
    """A connection that can close a transaction in one message; its session must be its own."""

    __slots__ = ("_names", "outermost")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._names: dict[str, str] = {}  # of the statements that are prepared
        self.outermost = Outermost(self)

    async def commit_after(self, statement: str, words: str, *, begin_next: bool = False) -> None:
        """Commit the open transaction if this proof, with its arguments in words, succeeds.

        What either of the two raised is raised, and nothing is committed then; of a lost connection
        nobody knows. With ``begin_next`` the connection is in its next transaction afterwards, but
        for one each second; an operator who cancels the COMMIT while it waits for the disk cancels
        that BEGIN: then, too, nobody knows.
        """
        name = self._names.get(statement) or await self.prepared(statement)
        given = f"({words})" if words else ""
        now = time.monotonic()
        begins_next = begin_next and self.outermost.may_begin_next(now)
        then = ";BEGIN" if begins_next else ""
        try:
            await self.execute(f"EXECUTE {name}{given};COMMIT{then}")
            self.outermost.ended(now, begins_next=begins_next)
        except asyncpg.InvalidSQLStatementNameError:
            self._names.clear()  # a handler's DEALLOCATE ALL: the next transaction prepares anew
            raise
        finally:
            if not self.is_closed() and not self.is_in_transaction():
                self._top_xact = None  # as asyncpg's own commit() leaves it

    async def prepared(self, statement: str) -> str:
        """The name by which this session knows the statement; it is prepared at its first use."""
        if known := self._names.get(statement):
            return known
        # nobody's else: a pooler may hand on a session with what was prepared there
        name = f"dragonfly_{secrets.token_hex(4)}"
        await self.execute(f"PREPARE {name} AS {statement}")
        self._names[statement] = name
        return name


class brief_transaction(transaction):  # noqa: N801 - as the one that it is
    """A ``transaction`` of a ClosingConnection, whose proof and COMMIT are one message.

    If ``begins_next`` says so at the end of the block, that message begins another one, too, which
    the connection's next brief transaction takes over, unless that was before its ``not_before``
    (monotonic).
    """

    __slots__ = ("_begins_next", "_not_before")

    _conn: ClosingConnection
    _work: Outermost

    def __init__(
        self,
        conn: ClosingConnection,
        *,
        proof: Callable[[], Proof] | None = None,
        not_before: float = -math.inf,
        begins_next: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(conn, proof=proof, work=conn.outermost)
        self._not_before = not_before
        self._begins_next = begins_next

    async def __aenter__(self) -> None:
        if self._work.take_over(self._not_before):
            return
        with answering(self._conn, BEGIN_SECONDS):
            await self._work.start()

    async def _close(self, proof: Proof) -> None:
        words = in_words(proof.args)
        if words is None:
            await super()._close(proof)
            return
        conn = self._conn
        # cut off here, nobody would know whether it happened
        with scope_class()(shield=True), answering(conn, COMMIT_SECONDS):
            await conn.commit_after(proof.statement, words, begin_next=self._begins_next())
