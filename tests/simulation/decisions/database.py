"""What the supervisor meets on the small stage instead of lines, statements and heartbeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from dragonfly.backoff import pause_seconds
from dragonfly.errors import LoginRefused
from dragonfly.job import Claim, Finish, JobStatus
from dragonfly.postgres.failures import TROUBLE, Failure, classify, describe
from dragonfly.queue.heartbeats import WorkerStatus
from dragonfly.queue.store import Claimed
from dragonfly.runtime.loop import WorkerLoop
from dragonfly.runtime.outcomes import completed
from dragonfly.worker import Worker
from tests.simulation.decisions.kernel import Bell, Scope, move_on_after, sleep
from tests.simulation.watch import NEXT_TO_NOTHING

if TYPE_CHECKING:
    from dragonfly.runtime.ledger import Ledger
    from tests.simulation.decisions.fate import Planned
    from tests.simulation.decisions.life import Life

LOGIN_TRIES, LOGIN_PAUSE_SECONDS = 3, 1200.0
MAX_ATTEMPTS = 8


@dataclass(slots=True)
class Row:
    """A job as it stands in the table."""

    id: int
    job_type: str
    due: float
    status: JobStatus = JobStatus.PENDING
    attempts: int = 0
    claimed: float = 0.0  # when
    rung: float | None = None  # when it came, being due; None if it became so later
    token: int | None = None
    started: bool = False  # whether a handler has begun what was claimed last

    @property
    def is_open(self) -> bool:
        return self.status in {JobStatus.PENDING, JobStatus.PROCESSING}

    def is_due(self, now: float) -> bool:
        return self.status is JobStatus.PENDING and self.due <= now


class Queue:
    """The rows, and what is true of them."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self._tokens = 0

    def enqueue(self, planned: Planned, now: float) -> None:
        number = len(self.rows) + 1
        rung = None if planned.delay else now
        self.rows[number] = Row(number, planned.job_type, now + planned.delay, rung=rung)

    def claim(self, types: Sequence[str], limit: int, now: float) -> Claimed:
        mine = [
            row
            for row in self.rows.values()
            if row.status is JobStatus.PENDING and row.job_type in types
        ]
        mine.sort(key=lambda row: (row.due, row.id))
        due = [row for row in mine if row.due <= now][:limit]
        if not due:
            return Claimed([], mine[0].due - now if mine else None)
        self._tokens += 1
        return Claimed([self._take(row, now) for row in due])

    def _take(self, row: Row, now: float) -> Claim:
        row.status, row.token, row.started = JobStatus.PROCESSING, self._tokens, False
        row.attempts, row.claimed = row.attempts + 1, now
        return Claim(
            row.id, row.job_type, "{}", row.attempts, MAX_ATTEMPTS, 0, self._tokens, None, None
        )

    def finish(self, finish: Finish, now: float) -> JobStatus | None:
        row = self.rows[finish.job_id]
        if row.token != finish.lock_token:
            return None
        row.status, row.token = finish.status, None
        row.attempts -= int(finish.refund)
        if finish.delay is not None:
            row.due = now + finish.delay
        row.rung = now if row.is_due(now) else None
        return row.status

    def cancel(self, row: Row) -> None:
        row.status, row.token = JobStatus.CANCELLED, None


class Server:
    """Answers, or does not; every way to it goes through the real door for logins."""

    def __init__(self, life: Life) -> None:
        self.away = self.refusing_logins = False
        self.refused: frozenset[str] = frozenset()  # purposes whose statements lack a grant
        self.error_rate = life.fate.error_rate
        self.open: set[str] = set()
        self._life = life
        self._refusals, self._trying, self._refused_at = 0, 0, -math.inf

    async def answer(self, purpose: str) -> None:
        """One statement: it goes through, or raises what asyncpg would."""
        if purpose not in self.open:
            await self.reach(purpose)
        fate = self._life.fate
        await sleep(fate.latency())
        if self.away or fate.happens(self.error_rate):
            self.open.discard(purpose)
            raise ConnectionResetError("the connection was lost")
        if purpose in self.refused:
            raise asyncpg.InsufficientPrivilegeError("permission denied for table jobs")
        if fate.happens(self.error_rate):
            raise asyncpg.DeadlockDetectedError("deadlock detected")

    async def reach(self, purpose: str) -> None:
        """Connect, if this purpose has no connection."""
        if purpose not in self.open:
            await self._life.process.logins.open(self._connect)
            self.open.add(purpose)

    async def _connect(self) -> Any:
        self._judge_the_try()
        self._trying += 1
        try:
            await sleep(self._life.fate.latency())
        finally:
            self._trying -= 1
        if self.away:
            raise ConnectionRefusedError("connection refused")
        if self.refusing_logins:
            self._refusals, self._refused_at = self._refusals + 1, self._life.kernel.now
            raise LoginRefused("password authentication failed")
        self._refusals = 0

    def _judge_the_try(self) -> None:
        """A pooler locks out whoever is refused too often."""
        refused, now = self._refusals, self._life.kernel.now
        if refused >= LOGIN_TRIES:
            early = now < self._refused_at + LOGIN_PAUSE_SECONDS - NEXT_TO_NOTHING
            if early or self._trying:
                self._life.complain("a login is tried again soon after three refusals")
        elif refused + self._trying >= LOGIN_TRIES:
            self._life.complain("more than three logins are tried at once")

    def cut(self) -> None:
        self.open.clear()


class Claims:
    """What stands for the claims of one worker; the life judges each as it is asked."""

    def __init__(self, process: Any, worker: Worker, _worker_id: str) -> None:
        self._life: Life = process.claims
        self._worker = worker.name

    async def take(self, types: Sequence[str], limit: int, *, head: bool, scope: object) -> Claimed:
        life, judge = self._life, self._life.judge
        probed = judge.asked(self._worker, types, limit)
        with Scope(shield=True):
            await life.server.answer("claim")
        now = life.kernel.now
        claimed = life.queue.claim(types, limit, now)
        judge.answered(self._worker, claimed, probed)
        return claimed

    async def close(self) -> None:
        """Nothing is ever in doubt here."""


class Finishes:
    """What stands for the acks: one flush at a time; they settle when the seed lets them."""

    def __init__(
        self, line: Any, _scale: float, *, bounded: bool, refused: Callable[[str | None], None]
    ) -> None:
        assert bounded
        self._life: Life = line
        self._life.finishes = self
        self._refused = refused
        self._waiting: list[tuple[Finish, Ledger]] = []
        self._arrived, self._empty = Bell(), Bell()
        self._empty.set()

    @property
    def backlog(self) -> int:
        return len(self._waiting)

    def put(self, finish: Finish, holder: Ledger) -> None:
        self._life.judge.finished(finish)
        self._waiting.append((finish, holder))
        self._empty.clear()
        self._arrived.set()

    def complete(self, claim: Claim, holder: Ledger) -> None:
        self.put(completed(claim), holder)

    async def run(self) -> None:
        failures = 0
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            with Scope(shield=True):
                failures = 0 if await self._flush() else failures + 1
            if failures:
                self._arrived.set()
                await sleep(pause_seconds(failures))

    async def _flush(self) -> bool:
        flushed = list(self._waiting)
        try:
            await self._life.server.answer("finish")
        except TROUBLE as error:
            if classify(error) is Failure.CONFIGURATION and not isinstance(error, LoginRefused):
                self._tell(describe(error))
            return False
        for finish, holder in flushed:
            status = self._life.queue.finish(finish, self._life.kernel.now)
            self._waiting.remove((finish, holder))
            holder.settled(finish, status)
            self._life.judge.settled(finish.job_id)
            row = self._life.queue.rows[finish.job_id]
            if status is not None and row.is_due(self._life.kernel.now):
                self._life.boss._ring(row.job_type)
        self._tell(None)
        if not self._waiting:
            self._empty.set()
        self._life.look_whether_all_is_over()
        return True

    def _tell(self, reason: str | None) -> None:
        judge = self._life.judge
        judge.finishes_tell = True
        self._refused(reason)
        judge.finishes_tell = False

    async def drained(self, seconds: float) -> bool:
        with move_on_after(seconds):
            await self._empty.wait()
        return self._empty.is_set()


class Pulse:
    """What stands for a worker's heartbeat: it looks at what the row would say."""

    def __init__(self, process: Any, _rescuer: object) -> None:
        self._life: Life = process.claims

    def nudge(self) -> None:
        """Each claim looks at it anyway, and so does each minute."""

    async def run(self, loop: WorkerLoop) -> None:
        life = self._life
        pause = life.fate.settings.heartbeat_seconds
        while True:
            with suppress(*TROUBLE):
                await life.server.reach("heartbeat")
                life.judge.shown(loop.worker.name, loop.health)
                loop.give_back_the_late()
                life.judge.waiting(loop.worker.name, loop.ledger.waiting)
            await sleep(pause)

    async def last_word(self, loop: WorkerLoop, status: WorkerStatus, _reason: str | None) -> None:
        self._life.judge.last_word(loop.worker.name, status)


class Lender:
    """What stands for the connections of handlers, which none of the stage's handlers opens."""

    def lend(self) -> Any:
        raise AssertionError("a handler of the stage asked for a connection")

    async def give_back(self) -> None:
        """Nothing is kept."""

    async def end_unused(self) -> None:
        """Nothing is begun."""


class Bystander:
    """What stands for a service that has nothing to do here."""

    def __init__(self, *_: object) -> None:
        return

    async def run(self) -> None:
        return
