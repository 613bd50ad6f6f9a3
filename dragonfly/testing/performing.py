"""One handler, run in place with one payload; what decides its outcome is what decides it always.

The job gets its row in the test's own transaction, held under a token as if it had been claimed, so
whatever the handler writes through it is fenced, and rolled back with the test's transaction.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from dragonfly.errors import ConfigurationError, InputRefused, JobMisuse
from dragonfly.job import Claim, Reject, to_json
from dragonfly.queue import store
from dragonfly.runtime.execution import WorkerDesk
from dragonfly.runtime.job_transactions import Lend
from dragonfly.runtime.outcomes import Ending, Verdict, completed
from dragonfly.runtime.slots import Deadlines, Slot
from dragonfly.settings import Settings
from dragonfly.testing.enqueued import EnqueuedJob, enqueued_after
from dragonfly.worker import Handler, Worker

if TYPE_CHECKING:
    from asyncpg import Connection

Outcome = Literal[
    "completed", "retried", "snoozed", "rejected", "cancelled", "failed", "released", "lost"
]
# stands for whatever the worker's own lifespan opens
FROM_LIFESPAN: Any = object()

_HOLD = """
INSERT INTO ops.jobs (job_type, payload, status, attempts, max_attempts, locked_by, locked_at,
                      locked_until, lock_token, correlation_id, checkpoint)
VALUES ($1::text, $2::jsonb, 'processing', $3::integer, $4::integer, 'test', clock_timestamp(),
        clock_timestamp() + interval '1 hour', $5, $6, $7::jsonb)
RETURNING id
"""
_LEFT = "SELECT result, last_error, progress, checkpoint FROM ops.jobs WHERE id = $1"


@dataclass(frozen=True, slots=True)
class Performed:
    """How an attempt ended.

    ``result``, ``progress`` and ``checkpoint`` are what JSON brings back. ``error`` is the sentence
    that ``last_error`` shows, ``exception`` what the handler raised. A job that is to run again
    does so after ``delay`` seconds, or at ``run_at``. ``enqueued`` are the jobs that were added
    meanwhile. ``rejected`` and ``failed`` are both the status failed; ``released`` is a job given
    back because the database was away or does not fit; ``lost`` one that somebody cancelled.
    """

    outcome: Outcome
    result: Any = None
    error: str | None = None
    exception: Exception | None = field(default=None, compare=False)
    delay: float | None = None
    run_at: datetime | None = None
    progress: Any = None
    checkpoint: Any = None
    enqueued: tuple[EnqueuedJob, ...] = ()
    job_id: int | None = None


async def perform(
    worker: Worker,
    job_type: str,
    payload: Any,
    *,
    conn: Connection | None = None,
    resources: Any = FROM_LIFESPAN,
    attempt: int = 1,
    max_attempts: int = 8,
    checkpoint: Any = None,
    correlation_id: UUID | None = None,
) -> Performed:
    """Run the handler of ``job_type`` once, without a queue, and tell how it ended.

    With ``conn`` the job has a row there, and ``job.transaction()`` is one of that connection's: a
    savepoint if it is in a transaction. Without, what needs a database raises JobMisuse, here.
    ``resources`` stand in for what the worker's lifespan opens. ``attempt`` and ``checkpoint`` make
    it a later attempt.
    """
    handler = _handler_of(worker, job_type)
    text, kept, token = store.payload_json(payload), to_json(checkpoint), store.new_token()
    claim = Claim(0, job_type, text, attempt, max_attempts, 0, token, correlation_id, kept)
    if conn is not None:
        claim = await _hold(conn, claim)
    trial = _Trial(claim)
    async with _opened(worker, resources) as opened:
        await trial.run(handler, _connection_of(conn, trial), opened)
    finish = trial.ending.finish
    if conn is None:
        return trial.performed(finish and finish.result)
    if finish is not None:
        await store.finish(conn, [finish])
    (row,) = await conn.fetch(_LEFT, claim.id)
    added = await enqueued_after(conn, claim.id)
    return trial.performed(row["result"], row["progress"], row["checkpoint"], added, claim.id)


def _handler_of(worker: Worker, job_type: str) -> Handler:
    if job_type in worker.handlers:
        return worker.handlers[job_type]
    raise ConfigurationError(
        f"Worker {worker.name!r} takes no {job_type!r} jobs; "
        f"it takes: {', '.join(worker.handlers) or 'none'}."
    )


async def _hold(conn: Connection, claim: Claim) -> Claim:
    """Give the job a row, held under the claim's token."""
    job_id = await conn.fetchval(
        _HOLD,
        claim.job_type,
        claim.payload,
        claim.attempt,
        claim.max_attempts,
        claim.lock_token,
        claim.correlation_id,
        claim.checkpoint,
    )
    return claim._replace(id=job_id)


@asynccontextmanager
async def _opened(worker: Worker, resources: Any) -> AsyncIterator[Any]:
    if resources is not FROM_LIFESPAN:
        yield resources
    elif worker.lifespan is None:
        yield None
    else:
        async with worker.lifespan(Settings()) as opened:
            yield opened


def _connection_of(conn: Connection | None, trial: _Trial) -> Lend:
    @asynccontextmanager
    async def lend() -> AsyncIterator[Connection]:
        if conn is None:
            trial.misuse = JobMisuse(
                "job.transaction(), progress() and checkpoint() need a database here: "
                "pass a connection as conn= to perform()."
            )
            raise trial.misuse
        yield conn

    return lend


class _Trial:
    """The feed of one slot with one job, and the witness of its end."""

    def __init__(self, claim: Claim) -> None:
        self._claims = [claim]
        self.ending = Ending(None, Verdict.NEUTRAL, "lost")
        self.error: BaseException | None = None
        self.misuse: JobMisuse | None = None

    async def run(self, handler: Handler, lend: Lend, resources: Any) -> None:
        """One attempt, from payload to outcome, in a slot like any other."""
        deadlines = Deadlines()
        desk = WorkerDesk(lend, resources, slots=1)
        handlers = {handler.job_type: self._watched(handler)}
        try:
            await Slot(handlers, desk, deadlines, self).run()
        finally:
            deadlines.close()
        if self.misuse is not None:
            raise self.misuse

    def _watched(self, handler: Handler) -> Handler:
        """The same handler; what it raises is seen on its way."""
        function, decode = handler.function, handler.decode

        async def run_async(job: Any) -> Any:
            with self._seeing():
                return await function(job)

        def run_plain(job: Any) -> Any:
            with self._seeing():
                return function(job)

        def read(text: str) -> Any:
            with self._seeing():
                return decode(text)

        watched = copy.copy(handler)
        watched.function = run_async if handler.is_async else run_plain
        watched.decode = read
        return watched

    @contextmanager
    def _seeing(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            self.error = error
            raise

    def performed(
        self,
        result: str | None,
        progress: str | None = None,
        checkpoint: str | None = None,
        enqueued: tuple[EnqueuedJob, ...] = (),
        job_id: int | None = None,
    ) -> Performed:
        """The end, told; the first three are JSON text."""
        ending, finish = self.ending, self.ending.finish
        rejected = ending.outcome == "failed" and isinstance(self.error, Reject | InputRefused)
        return Performed(
            outcome="rejected" if rejected else ending.outcome,  # type: ignore[arg-type]
            result=_value(result),
            error=ending.reason,
            exception=self.error if isinstance(self.error, Exception) else None,
            delay=finish and finish.delay,
            run_at=finish and finish.run_at,
            progress=_value(progress),
            checkpoint=_value(checkpoint),
            enqueued=enqueued,
            job_id=job_id,
        )

    # --- what the slot asks and tells -----------------------------------------------------------

    def next(self) -> Claim | None:
        """The one job, once."""
        return self._claims.pop() if self._claims else None

    async def more(self) -> bool:
        """There is no other."""
        return False

    def completed(self, claim: Claim, seconds: float, *, committed: bool) -> None:
        """It succeeded, and there is only that to write, or nothing."""
        finish = None if committed else completed(claim)
        self.ending = Ending(finish, Verdict.SUCCESS, "completed")

    def ended(self, slot: Slot, claim: Claim, ending: Ending, seconds: float) -> None:
        """Any other end."""
        self.ending = ending


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)
