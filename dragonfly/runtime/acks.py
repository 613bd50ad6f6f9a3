"""Finishes, coalesced: while one flush travels, everything that ends meanwhile forms the next.

No timer: an idle process writes the first finish at once, a busy one hundreds in a statement.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import anyio
import asyncpg

from dragonfly.backoff import pause_seconds
from dragonfly.job import Finish, JobStatus
from dragonfly.postgres.failures import TROUBLE, is_connection_lost
from dragonfly.postgres.line import Line
from dragonfly.queue import store
from dragonfly.runtime.outcomes import unwritable

if TYPE_CHECKING:
    from asyncpg import Connection

FLUSH_ROWS = 2000
# below this number a statement for each claim costs more than one for all
BATCH_ROWS = 50
LOCKED_RETRY_SECONDS = 0.1

Write = Callable[["Connection", Sequence[Finish]], Awaitable[dict[int, JobStatus]]]


class Ack(NamedTuple):
    """A finish on its way; ``settled`` hears the status written, None if the lock was lost."""

    finish: Finish
    holder: str
    settled: Callable[[Finish, JobStatus | None], None]


class Acks:
    """One flush at a time, over one connection, under the fence of each job.

    ``bounded`` says that the line's session bounds how long a statement waits for a locked row;
    where it does not, only statements that never wait are used.
    """

    def __init__(self, line: Line, scale: float = 1.0, *, bounded: bool = True) -> None:
        self._line = line
        self._bounded = bounded
        self._scale = scale
        self._waiting: list[Ack] = []
        self._locked: list[Ack] = []
        self._in_flight: dict[int, Ack] = {}
        self._arrived = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._answer_lost = False

    @property
    def backlog(self) -> int:
        """How many finishes are not durable yet."""
        return len(self._waiting) + len(self._locked) + len(self._in_flight)

    def put(self, ack: Ack) -> None:
        """Take a finish over; never waits."""
        self._waiting.append(ack)
        self._arrived.set()
        self._empty.clear()

    async def run(self) -> None:
        """Flush until cancelled; a flush under way is never cut off."""
        failures = 0
        while True:
            await self._work()
            with anyio.CancelScope(shield=True):
                failures = 0 if await self._flush() else failures + 1
            if failures:
                await asyncio.sleep(pause_seconds(failures, self._scale))

    async def drained(self, seconds: float) -> bool:
        """Wait until everything is durable; False if that took longer than ``seconds``."""
        with anyio.move_on_after(seconds):
            await self._empty.wait()
        return self._empty.is_set()

    async def _work(self) -> None:
        if self._waiting:
            return
        self._arrived.clear()
        if self._locked:
            with anyio.move_on_after(LOCKED_RETRY_SECONDS):
                await self._arrived.wait()
        else:
            await self._arrived.wait()

    async def _flush(self) -> bool:
        """Write what has arrived; False if the database was away and all of it waits again."""
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
        try:
            for token, together in self._together(successes):
                if token is None:
                    await self._write(together, store.complete)
                else:
                    await self._write_batch(together, token)
            await self._write(others, store.finish)
        except TROUBLE:
            self._answer_lost = True
            return False
        else:
            self._answer_lost = False
            return True
        finally:
            self._waiting = [*self._in_flight.values(), *self._waiting]
            self._in_flight = {}
            if not self.backlog:
                self._empty.set()

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

    def _together(self, acks: list[Ack]) -> Iterable[tuple[int | None, list[Ack]]]:
        return _by_claim(acks) if self._bounded else [(None, acks)]

    async def _write_batch(self, acks: list[Ack], token: int) -> None:
        """The quick way for many at once; what it leaves open goes the careful way."""
        ids = [ack.finish.job_id for ack in acks]
        try:
            async with self._line.use() as conn:
                if await store.complete_batch(conn, ids, token) == len(ids):
                    for ack in acks:
                        del self._in_flight[ack.finish.job_id]
                        ack.settled(ack.finish, JobStatus.COMPLETED)
                    return
            # some were lost: the others are written by now, and must not be taken for lost as well
            self._answer_lost = True
        except asyncpg.LockNotAvailableError:
            pass
        await self._write(acks, store.complete)

    async def _split(self, acks: list[Ack], write: Write, error: asyncpg.PostgresError) -> None:
        if len(acks) > 1:
            await self._write(acks[: len(acks) // 2], write)
            await self._write(acks[len(acks) // 2 :], write)
        elif (error.sqlstate or "").startswith("22"):
            ack = acks[0]
            await self._write([ack._replace(finish=unwritable(ack.finish))], store.finish)
        elif isinstance(error, asyncpg.UniqueViolationError | asyncpg.LockNotAvailableError):
            # a rival for its unique key: the next try sees it and yields
            self._locked.append(self._in_flight.pop(acks[0].finish.job_id))
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
            holders = sorted({ack.holder for ack in missing})
            written |= await store.finished_by_us(conn, sorted(lost), holders)
        for ack in acks:
            del self._in_flight[ack.finish.job_id]
            status = written.get(ack.finish.job_id)
            if status is not None or ack.finish.job_id in lost:
                ack.settled(ack.finish, status)
            else:
                self._locked.append(ack)


def _by_claim(acks: list[Ack]) -> Iterator[tuple[int | None, list[Ack]]]:
    """Large groups without results by the token of their claim; under None all others."""
    groups: defaultdict[int | None, list[Ack]] = defaultdict(list)
    for ack in acks:
        groups[None if ack.finish.result is not None else ack.finish.lock_token].append(ack)
    rest = groups.pop(None, [])
    for token, together in groups.items():
        if len(together) >= BATCH_ROWS:
            yield token, together
        else:
            rest.extend(together)
    yield None, rest
