"""One job: its handler, and the transactions, progress and checkpoints the handler asks for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread

from dragonfly.errors import JobLost
from dragonfly.job import Claim, Job
from dragonfly.postgres.bounds import answering
from dragonfly.postgres.transactions import COMMIT_SECONDS
from dragonfly.queue import store
from dragonfly.redaction import storable, without_credentials
from dragonfly.runtime.job_transactions import BriefJobTransaction, JobTransaction, Lend, Rush
from dragonfly.runtime.ledger import Ledger
from dragonfly.runtime.pace import Pace
from dragonfly.runtime.process import JOB_SESSION, Process
from dragonfly.worker import Handler

if TYPE_CHECKING:
    from asyncpg import Connection

PROGRESS_LETTERS = 500


class WorkerDesk:
    """Serves the jobs of one worker with connections that are lent; the desk of ``Job.desk``.

    The ``set_local`` parameters are set in each transaction. With a ``rush`` transactions are
    brief ones; its lender lends for them.
    """

    def __init__(
        self,
        lend: Lend,
        resources: Any,
        slots: int,
        set_local: Mapping[str, str] | None = None,
        rush: Rush | None = None,
    ) -> None:
        self._lend = lend
        self._resources = resources
        self._threads = anyio.CapacityLimiter(slots)
        self._set_local = set_local or {}
        self._rush = rush

    @classmethod
    def of(
        cls, process: Process, resources: Any, slots: int, ledger: Ledger, pace: Pace
    ) -> WorkerDesk:
        """The desk of a worker of this process: it lends from the pool."""
        lender = process.lender
        if process.database.keeps_sessions:  # the pool has set the parameters for good
            return cls(lender.lend, resources, slots, rush=Rush(lender, ledger, pace))
        return cls(lender.lend, resources, slots, JOB_SESSION)

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
        if self._rush is not None:
            return BriefJobTransaction(job, self._rush)
        return JobTransaction(job, self._lend, self._set_local)

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


def _returned_or_raised(
    function: Callable[[Job[Any]], Any], job: Job[Any]
) -> tuple[Any, BaseException | None]:
    """An error as a value: thrown into a coroutine, GeneratorExit would close all around it."""
    try:
        return function(job), None
    except BaseException as error:  # noqa: BLE001 - it is raised again where it belongs
        return None, error
