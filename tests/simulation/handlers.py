"""Workers whose handlers do what the seed says, and tell the watch how each attempt ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import anyio
import asyncpg

from dragonfly.errors import JobLost, LoginRefused
from dragonfly.job import Cancel, Job, Reject, Retry, Snooze
from dragonfly.settings import Settings
from dragonfly.worker import Worker
from tests.simulation.answers import INSERT_EFFECT
from tests.simulation.fate import Deed, Fate

if TYPE_CHECKING:
    from tests.simulation.incarnation import Incarnation

TIMEOUT_SECONDS = 30.0
WORKERS = {"left": ("a", "b"), "right": ("c",)}


class End(Enum):
    """What the table of failures makes of the end of an attempt."""

    SUCCESS = "success"
    NEUTRAL = "a choice of the handler"
    COUNTED = "counted"
    AWAY = "database away"
    CONFIGURATION = "configuration"
    CUT_OFF = "cancelled, for a reason the handler does not see"


@dataclass(slots=True)
class Attempt:
    """One run of a handler."""

    worker: str
    job_id: int
    job_type: str
    number: int
    started: float
    deed: Deed
    alone: bool  # its job is at its last chance
    end: End | None = None
    ended_at: float = math.inf
    charged: bool = False


def end_of(error: BaseException) -> End:
    """The table of failures, written down once more."""
    match error:
        case asyncio.CancelledError():
            return End.CUT_OFF
        case Reject() | Retry() | Snooze() | Cancel() | JobLost():
            return End.NEUTRAL
        case LoginRefused() | asyncpg.InvalidPasswordError():
            return End.CONFIGURATION
        case asyncpg.UndefinedTableError() | asyncpg.InsufficientPrivilegeError():
            return End.CONFIGURATION
        case ConnectionError() | asyncpg.AdminShutdownError() | asyncpg.TooManyConnectionsError():
            return End.AWAY
        case asyncpg.InterfaceError() if "closed" in str(error):
            return End.AWAY
        case _:
            return End.COUNTED


class Hands:
    """The handlers of one process."""

    def __init__(self, incarnation: Incarnation, fate: Fate) -> None:
        self.incarnation = incarnation
        self.fate = fate

    def workers(self) -> list[Worker]:
        """Two workers: one takes two types, the other one."""
        made = []
        for name, types in WORKERS.items():
            worker = Worker(name, concurrency=self.fate.slots[name], lifespan=self._lifespan)
            for job_type in types:
                worker.job(job_type, timeout=TIMEOUT_SECONDS if job_type == "a" else None)(
                    self._handler(name)
                )
            made.append(worker)
        return made

    @asynccontextmanager
    async def _lifespan(self, _settings: Settings) -> AsyncIterator[None]:
        if self.fate.broken_lifespan and not self.fate.quiet:
            raise LookupError("no such resource")
        yield

    def _handler(self, worker: str) -> Any:
        async def handle(job: Job[Any]) -> Any:
            now = self.incarnation.loop.now
            deed = self.fate.deed()
            alone = job.claim.crashes >= max(1, self.fate.settings.crash_budget)
            attempt = Attempt(worker, job.id, job.job_type, job.attempt, now, deed, alone)
            self.incarnation.watch.begun(attempt)
            try:
                result = await self._do(deed, job)
            except BaseException as error:
                attempt.end = End.SUCCESS if job.finished else end_of(error)
                late = job.job_type == "a" and self.incarnation.loop.now >= now + TIMEOUT_SECONDS
                attempt.charged = isinstance(error, Retry) or attempt.end is End.COUNTED
                attempt.charged |= attempt.end is End.CUT_OFF and late
                raise
            else:
                attempt.end = End.SUCCESS
                return result
            finally:
                attempt.ended_at = self.incarnation.loop.now
                self.incarnation.watch.ended(attempt)

        return handle

    async def _do(self, deed: Deed, job: Job[Any]) -> Any:
        await asyncio.sleep(self.fate.work_seconds())
        match deed:
            case Deed.RESULT:
                return {"seen": job.id}
            case Deed.COMPLETE | Deed.WRITE:
                await self._write(job, complete=deed is Deed.COMPLETE)
            case Deed.STUBBORN:
                with anyio.CancelScope(shield=True):
                    await asyncio.sleep(self.fate.rng.choice((1.0, 20.0, 100.0)))
            case Deed.BLOCK:
                # its own process alone stands still: the others live on beside it
                self.incarnation.freeze(self.fate.rng.choice((1.0, 10.0, 100.0)))
                await asyncio.sleep(0)
            case Deed.TIMEOUT:
                await asyncio.sleep(3 * TIMEOUT_SECONDS)
            case Deed.KILL:
                self.incarnation.die(137)
                await asyncio.Event().wait()
            case _:
                self._raise(deed)
        return None

    async def _write(self, job: Job[Any], *, complete: bool) -> None:
        async with job.transaction() as conn:
            await conn.execute(INSERT_EFFECT, job.id, job.claim.lock_token)
            await asyncio.sleep(self.fate.work_seconds() / 2)
            if complete:
                job.complete()
        await asyncio.sleep(0 if self.fate.happens(0.9) else 2.0)

    def _raise(self, deed: Deed) -> None:
        rng = self.fate.rng
        match deed:
            case Deed.BUG:
                raise ValueError("nobody expected that")
            case Deed.TRANSIENT:
                raise rng.choice((TimeoutError, asyncpg.DeadlockDetectedError))("later")
            case Deed.AWAY:
                raise rng.choice((ConnectionRefusedError, ConnectionResetError))("gone")
            case Deed.CONFIGURATION:
                raise asyncpg.UndefinedTableError('relation "letters" does not exist')
            case Deed.REJECT:
                raise Reject("UNREADABLE", "the file cannot be read")
            case Deed.RETRY:
                raise Retry(after=rng.choice((None, 1.0)))
            case Deed.SNOOZE:
                raise Snooze(after=rng.choice((1.0, 100.0)))
            case Deed.CANCEL:
                raise Cancel
            case _:
                return
