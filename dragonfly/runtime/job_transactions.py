"""The transactions of a job: lent for it, and fenced at their end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import asyncpg

from dragonfly.errors import JobMisuse
from dragonfly.job import Job
from dragonfly.postgres.bounds import answering
from dragonfly.postgres.closing import brief_transaction
from dragonfly.postgres.lending import Lender, Loan, behind
from dragonfly.postgres.transactions import Proof, transaction
from dragonfly.queue import store
from dragonfly.runtime.ledger import Ledger
from dragonfly.runtime.pace import Pace
from dragonfly.runtime.process import STATEMENT_SECONDS

if TYPE_CHECKING:
    from asyncpg import Connection

Lend = Callable[[], AbstractAsyncContextManager["Connection"]]
_SET_LOCAL = "SELECT set_config($1, $2, true)"


class JobTransaction:
    """One transaction; the ``set_local`` parameters are set in it.

    Taking the job's row first would block its own renewal and cancel.
    """

    __slots__ = ("_job", "_lend", "_loan", "_set_local", "_work")

    _loan: AbstractAsyncContextManager[Connection]

    def __init__(self, job: Job[Any], lend: Lend, set_local: Mapping[str, str]) -> None:
        self._job = job
        self._lend = lend
        self._set_local = set_local

    async def __aenter__(self) -> Connection:
        job = self._job
        if job.connection is not None:
            raise JobMisuse("job.transaction() is already open; use its connection.")
        if job.finished:
            raise JobMisuse("the job is finished; its handler has nothing left to write.")
        self._loan = loan = self._lend()
        conn = await loan.__aenter__()
        try:
            self._work = self._over(conn)
            await self._begin(conn)
        except BaseException as error:
            await loan.__aexit__(type(error), error, error.__traceback__)
            raise
        job.connection, job.completion = conn, None
        return conn

    def _over(self, conn: Connection) -> transaction:
        return transaction(conn, proof=self._proof)

    async def _begin(self, conn: Connection) -> None:
        try:
            await self._work.__aenter__()
        except asyncpg.InterfaceError as error:
            # nothing was done with it yet: what is wrong with it is an earlier borrower's
            raise ConnectionResetError("the connection that was lent is unusable") from error
        if not self._set_local:
            return
        try:
            for name, value in self._set_local.items():
                with answering(conn, STATEMENT_SECONDS):
                    await conn.execute(_SET_LOCAL, name, value)
        except BaseException as error:
            await self._work.__aexit__(type(error), error, error.__traceback__)
            raise

    def _proof(self) -> Proof:
        job = self._job
        if job.completion is not None:
            return store.completing(job.claim, job.completion)
        return store.holding(job.claim)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        job = self._job
        job.connection = None
        try:
            await self._work.__aexit__(kind, error, trace)
        except BaseException as failure:
            await self._loan.__aexit__(type(failure), failure, failure.__traceback__)
            store.raise_if_lost(job.claim, failure)
            raise
        if error is None:
            job.finished = job.completion is not None  # even if the loan's end is cut off
        await self._loan.__aexit__(kind, error, trace)


@dataclass(frozen=True, slots=True)
class Rush:
    """Whether a worker's next job will soon want a transaction, as the one that ends did.

    Where it does, the commit of one begins the other (benchmark W2T).
    """

    lender: Lender
    ledger: Ledger
    pace: Pace

    @property
    def is_on(self) -> bool:
        """Jobs are short, the next is at hand, and nobody waits for the connection."""
        return bool(self.ledger.waiting) and self.pace.is_quick and not self.lender.is_wanted


class BriefJobTransaction(JobTransaction):
    """One in as few messages as can be, where sessions are our own."""

    __slots__ = ("_rush",)

    _loan: Loan

    def __init__(self, job: Job[Any], rush: Rush) -> None:
        super().__init__(job, rush.lender.lend_begun, {})
        self._rush = rush

    def _over(self, conn: Connection) -> transaction:
        return brief_transaction(
            behind(conn),
            proof=self._proof,
            not_before=self._rush.ledger.arrived,  # now() in it is never before the job's claim
            begins_next=self._begins_next,
        )

    def _begins_next(self) -> bool:
        kept = not self._loan.changed  # else nobody could take it over
        return kept and self._job.completion is not None and self._rush.is_on
