"""One job: its handler, and the transactions, progress and checkpoints the handler asks for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import asyncpg

from dragonfly.errors import JobLost, JobMisuse
from dragonfly.job import Claim, Job
from dragonfly.postgres.bounds import answering
from dragonfly.postgres.closing import Proof
from dragonfly.postgres.transactions import COMMIT_SECONDS, transaction
from dragonfly.queue import store
from dragonfly.redaction import storable, without_credentials
from dragonfly.runtime.process import JOB_SESSION, STATEMENT_SECONDS, Process
from dragonfly.worker import Handler

if TYPE_CHECKING:
    from asyncpg import Connection

Lend = Callable[[], AbstractAsyncContextManager["Connection"]]
PROGRESS_LETTERS = 500
_SET_LOCAL = "SELECT set_config($1, $2, true)"


class WorkerDesk:
    """Serves the jobs of one worker with connections that are lent; the desk of ``Job.desk``.

    The ``set_local`` parameters are set in each transaction. ``together`` says that a transaction's
    proof and its commit can travel in one message.
    """

    def __init__(
        self,
        lend: Lend,
        resources: Any,
        slots: int,
        set_local: Mapping[str, str] | None = None,
        *,
        together: bool = False,
    ) -> None:
        self._lend = lend
        self._resources = resources
        self._threads = anyio.CapacityLimiter(slots)
        self._set_local = set_local or {}
        self._together = together

    @classmethod
    def of(cls, process: Process, resources: Any, slots: int) -> WorkerDesk:
        """The desk of a worker of this process: it lends from the pool."""
        # where sessions are our own, the pool has set it for good
        own = process.database.keeps_sessions
        set_local = {} if own else JOB_SESSION
        return cls(process.lender.lend, resources, slots, set_local, together=own)

    def open(self, handler: Handler, claim: Claim) -> Job[Any]:
        """The job as its handler sees it; Reject for a payload that does not fit."""
        return Job(claim, handler.decode(claim.payload), self, self._resources)

    async def in_thread(self, handler: Handler, job: Job[Any]) -> Any:
        """Run a plain function where it blocks nobody; what it returned."""
        run = partial(_returned_or_raised, handler.function, job)
        result, error = await anyio.to_thread.run_sync(run, limiter=self._threads)
        if isinstance(error, concurrent.futures.CancelledError):
            # what it asked of the loop was cancelled: so is this task, at its next step
            await anyio.lowlevel.checkpoint()
        if error is not None:
            raise error
        return result

    def transaction(self, job: Job[Any]) -> JobTransaction:
        return JobTransaction(job, self._lend, self._set_local, together=self._together)

    async def progress(self, job: Job[Any], percent: float, sentence: str) -> None:
        # the author's own words: counts stay in them, what opens a door does not
        words = storable(without_credentials(sentence)[:PROGRESS_LETTERS])
        await self._write(job, lambda conn: store.progress(conn, job.claim, percent, words))

    async def checkpoint(self, job: Job[Any], value: str) -> None:
        await self._write(job, lambda conn: store.checkpoint(conn, job.claim, value))

    async def _write(self, job: Job[Any], write: Callable[[Connection], Awaitable[bool]]) -> None:
        if anyio.current_effective_deadline() == -math.inf:
            # a plain function asks, past its time: no cancellation is delivered to a thread's calls
            raise asyncio.CancelledError
        if job.connection is not None:
            with answering(job.connection, COMMIT_SECONDS):
                ours = await write(job.connection)
        else:
            async with self._lend() as conn:
                with answering(conn, COMMIT_SECONDS):
                    ours = await write(conn)
        if not ours:
            raise JobLost(f"job {job.id} belongs to another holder now")


class JobTransaction:
    """A transaction of a job: lent for it, and fenced at its end.

    Taking the job's row first would block its own renewal and cancel.
    """

    __slots__ = ("_job", "_lend", "_loan", "_set_local", "_together", "_work")

    def __init__(
        self, job: Job[Any], lend: Lend, set_local: Mapping[str, str], *, together: bool
    ) -> None:
        self._job = job
        self._lend = lend
        self._set_local = set_local
        self._together = together

    async def __aenter__(self) -> Connection:
        job = self._job
        if job.connection is not None:
            raise JobMisuse("job.transaction() is already open; use its connection.")
        if job.finished:
            raise JobMisuse("the job is finished; its handler has nothing left to write.")
        self._loan = self._lend()
        conn = await self._loan.__aenter__()
        try:
            self._work = transaction(conn, proof=partial(_proof, job), together=self._together)
            await self._begin(conn)
        except BaseException as error:
            await self._loan.__aexit__(type(error), error, error.__traceback__)
            raise
        job.connection, job.completion = conn, None
        return conn

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
        await self._loan.__aexit__(kind, error, trace)
        if error is None:
            job.finished = job.completion is not None


def _proof(job: Job[Any]) -> Proof:
    if job.completion is not None:
        return store.completing(job.claim, job.completion)
    return store.holding(job.claim)


def _returned_or_raised(
    function: Callable[[Job[Any]], Any], job: Job[Any]
) -> tuple[Any, BaseException | None]:
    """An error as a value: thrown into a coroutine, GeneratorExit would close all around it."""
    try:
        return function(job), None
    except BaseException as error:  # noqa: BLE001 - it is raised again where it belongs
        return None, error
