"""Finishes, coalesced: while one flush travels, everything that ends meanwhile forms the next.

No timer: an idle process writes the first finish at once, a busy one hundreds in a statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio
import asyncpg

from dragonfly.backoff import pause_seconds
from dragonfly.errors import LoginRefused
from dragonfly.job import Claim, Finish, JobStatus
from dragonfly.postgres.failures import TROUBLE, Failure, classify, describe, is_connection_lost
from dragonfly.postgres.line import Line
from dragonfly.queue import store
from dragonfly.runtime.outcomes import completed, unwritable

if TYPE_CHECKING:
    from asyncpg import Connection

FLUSH_ROWS = 2000
# below this number a statement for each claim costs more than one for all
BATCH_ROWS = 50
LOCKED_RETRY_SECONDS = 0.1
# classes of SQLSTATE that blame the values: what they are, a constraint on them, their size
UNFIT_STATES = frozenset({"22", "23", "54"})

Write = Callable[["Connection", Sequence[Finish]], Awaitable[dict[int, JobStatus]]]


class Holder(Protocol):
    """Who claimed the jobs, and hears how their ends were written."""

    worker_id: str

    def settled(self, finish: Finish, status: JobStatus | None) -> None:
        """``status`` stands in the row now; None: the lock was lost before."""

    def completed(self, claims: Sequence[Claim]) -> None:
        """These ordinary successes are durable."""


class Ack(NamedTuple):
    """A finish on its way."""

    finish: Finish
    holder: Holder


@dataclass(slots=True)
class Batch:
    """Successes without results of jobs that one statement claimed: nothing more to say of each."""

    holder: Holder
    claims: list[Claim] = field(default_factory=list)


class Acks:
    """One flush at a time, over one connection, under the fence of each job.

    ``bounded`` says that the line's session bounds how long a statement waits for a locked row;
    where it does not, only statements that never wait are used. ``refused`` hears the reason when
    the configuration lets no finish be written, and None after each flush that went through.
    """

    def __init__(
        self,
        line: Line,
        scale: float = 1.0,
        *,
        bounded: bool = True,
        refused: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._line = line
        self._refused = refused
        self._bounded = bounded
        self._scale = scale
        self._waiting: list[Ack] = []
        self._batches: dict[int, Batch] = {}  # by the token of the claim
        self._locked: list[Ack] = []
        self._in_flight: dict[int, Ack] = {}
        self._batch_in_flight: list[Claim] = []
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._answer_lost = False

    @property
    def backlog(self) -> int:
        """Finishes that are not durable yet."""
        if self._empty.is_set():
            return 0  # as a lone job finds it (benchmark W4)
        batched = sum(len(batch.claims) for batch in self._batches.values())
        odd = len(self._waiting) + len(self._locked) + len(self._in_flight)
        return batched + len(self._batch_in_flight) + odd

    def put(self, finish: Finish, holder: Holder) -> None:
        """Take a finish over; never waits."""
        self._waiting.append(Ack(finish, holder))
        self._announce()

    def complete(self, claim: Claim, holder: Holder) -> None:
        """Take an ordinary success without a result over; never waits."""
        batch = self._batches.get(claim.lock_token)
        if batch is None:
            batch = self._batches[claim.lock_token] = Batch(holder)
            self._announce()
        batch.claims.append(claim)

    def _announce(self) -> None:
        self._arrived.set()
        self._empty.clear()

    async def run(self) -> None:
        """Flush until cancelled; a flush under way is never cut off."""
        failures = 0
        while True:
            with anyio.move_on_after(LOCKED_RETRY_SECONDS if self._locked else None):
                await self._arrived.wait()
            with anyio.CancelScope(shield=True):
                failures = 0 if await self._flush() else failures + 1
            if failures:
                await asyncio.sleep(pause_seconds(failures, self._scale))

    async def drained(self, seconds: float) -> bool:
        """Wait until everything is durable; False if that took longer than ``seconds``."""
        with anyio.move_on_after(seconds):
            await self._empty.wait()
        return self._empty.is_set()

    async def _flush(self) -> bool:
        """Write what has arrived; False if the database was away and the rest waits again."""
        self._arrived.clear()
        try:
            await self._write_batches()
            await self._write_acks()
        except TROUBLE as error:
            self._answer_lost = True
            # a refused login is the claims' to tell: they count it, and wait accordingly
            if classify(error) is Failure.CONFIGURATION and not isinstance(error, LoginRefused):
                self._refused(describe(error))
            return False
        else:
            self._answer_lost = False
            self._refused(None)
            return True
        finally:
            self._waiting = [*self._in_flight.values(), *self._waiting]
            self._in_flight = {}
            if self._waiting or self._batches:
                self._arrived.set()
            elif not self._locked:
                self._empty.set()

    # --- the quick way --------------------------------------------------------------------------

    async def _write_batches(self) -> None:
        """The batches there are now, a statement each; small ones join the other finishes."""
        for token in list(self._batches):
            batch = self._batches[token]
            if self._bounded and len(batch.claims) >= BATCH_ROWS:
                await self._write_batch(token, batch)
            else:
                del self._batches[token]
                self._waiting += [Ack(completed(claim), batch.holder) for claim in batch.claims]

    async def _write_batch(self, token: int, batch: Batch) -> None:
        """One plain UPDATE; what it leaves open goes the careful way."""
        claims, batch.claims = batch.claims, []
        self._batch_in_flight = claims
        try:
            async with self._line.use() as conn:
                ids = [claim.id for claim in claims]
                if await store.complete_batch(conn, ids, token) == len(claims):
                    batch.holder.completed(claims)
                    claims = []
                else:
                    # some were lost: the others are written, and must not be taken for lost too
                    self._answer_lost = True
        except asyncpg.LockNotAvailableError:
            pass
        finally:
            self._batch_in_flight = []
            self._waiting += [Ack(completed(claim), batch.holder) for claim in claims]
            if not batch.claims:
                del self._batches[token]

    # --- the careful way ------------------------------------------------------------------------

    async def _write_acks(self) -> None:
        batch = self._locked + self._waiting[:FLUSH_ROWS]
        self._waiting = self._waiting[FLUSH_ROWS:]
        self._locked = []
        self._in_flight = {ack.finish.job_id: ack for ack in reversed(batch)}
        if len(self._in_flight) < len(batch):
            # the answer to a job's earlier end was lost, and it has ended again: one by one
            first = [ack for ack in batch if self._in_flight[ack.finish.job_id] is ack]
            later = [ack for ack in batch if self._in_flight[ack.finish.job_id] is not ack]
            batch, self._waiting = first, later + self._waiting
        successes = [ack for ack in batch if ack.finish.status is JobStatus.COMPLETED]
        others = [ack for ack in batch if ack.finish.status is not JobStatus.COMPLETED]
        await self._write(successes, store.complete)
        await self._write(others, store.finish)

    async def _write(self, acks: list[Ack], write: Write) -> None:
        """Write these together; if the database refuses them, halve them down to the culprit."""
        if not acks:
            return
        try:
            async with self._line.use() as conn:
                written = await write(conn, [ack.finish for ack in acks])
                await self._settle(conn, acks, written)
        except asyncpg.PostgresError as error:
            if is_connection_lost(error):
                raise
            await self._split(acks, write, error)

    async def _split(self, acks: list[Ack], write: Write, error: asyncpg.PostgresError) -> None:
        if len(acks) > 1:
            await self._write(acks[: len(acks) // 2], write)
            await self._write(acks[len(acks) // 2 :], write)
            return
        ack = acks[0]
        instead = ack._replace(finish=unwritable(ack.finish))
        if isinstance(error, asyncpg.UniqueViolationError | asyncpg.LockNotAvailableError):
            # a rival for its unique key: the next try sees it and yields
            self._locked.append(self._in_flight.pop(ack.finish.job_id))
        elif (error.sqlstate or "")[:2] in UNFIT_STATES and instead != ack:
            await self._write([instead], store.finish)
        else:
            raise error

    async def _settle(
        self, conn: Connection, acks: list[Ack], written: dict[int, JobStatus]
    ) -> None:
        missing = [ack for ack in acks if ack.finish.job_id not in written]
        lost: set[int] = set()
        if missing:
            pairs = [(ack.finish.job_id, ack.finish.lock_token) for ack in missing]
            lost = await store.lost(conn, pairs)
        if lost and self._answer_lost:
            holders = sorted({ack.holder.worker_id for ack in missing})
            written |= await store.finished_by_us(conn, sorted(lost), holders)
        for ack in acks:
            del self._in_flight[ack.finish.job_id]
            status = written.get(ack.finish.job_id)
            if status is not None or ack.finish.job_id in lost:
                ack.holder.settled(ack.finish, status)
            else:
                self._locked.append(ack)
