"""The claims of one worker: one at a time, never cut off, and nothing stranded."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from dragonfly.job import Claim
from dragonfly.postgres.failures import TROUBLE
from dragonfly.postgres.line import TooLate
from dragonfly.queue import keyed, store
from dragonfly.queue.keyed import ClaimedKeyed
from dragonfly.queue.store import Claimed
from dragonfly.runtime.process import Process
from dragonfly.worker import Worker

if TYPE_CHECKING:
    from asyncpg import Connection

CLOSE_SECONDS = 2.0
# a look from the start of the queue comes after so many times as long as the last one took
START_SHARE = 20
# so often a worker that is never idle looks for jobs with concurrency keys, if it knows of none
KEYED_SECONDS = 0.1


class Claims:
    """Draws a token for each claim, and gives back what a claim took whose answer was lost."""

    def __init__(self, process: Process, worker: Worker, worker_id: str) -> None:
        self._process = process
        self._worker_id = worker_id
        self._worker = worker.name
        self._per_key = worker.concurrency_per_key
        self._suspects_seen_at = time.monotonic()
        self._only_last_chances = False  # is what the last look for suspects saw
        self._last: int | None = None  # the job claimed last, while there was more behind it
        self._start_seen_at = 0.0
        self._start_seconds = 0.0
        self._keyed_wait = False
        self._keyed_seen_at: float | None = None  # None: idle, and nothing says that there are any
        self._behind_key = ""

    async def take(
        self,
        job_types: Sequence[str],
        limit: int,
        *,
        head: bool,
        scope: anyio.CancelScope | None = None,
    ) -> Claimed | None:
        """Claim up to ``limit`` jobs, a suspect among them or beside them if its turn has come.

        With ``head`` the head of the queue alone is tried first: right for a worker that was rung,
        or that got all it asked for the last time. Only an answer without jobs tells of the rest.
        None while the process is kept for a job that runs alone, or once it is to claim no more.
        In a ``scope`` the claim enters none of its own, see ``Line.use()``.
        """
        process = self._process
        try:
            # cut off in flight, it might leave rows locked that nobody knows of
            async with process.claims.use(
                shield=True, unless=process.stop.claiming, scope=scope
            ) as conn:
                # here, because the line may have been waited for; and whoever had it before has
                # counted its jobs as held by now: nothing is awaited between an answer and that
                if not process.solitude.lets(self._worker):
                    return None
                await self._return_doubtful(conn)
                try:
                    claimed = await self._take(conn, job_types, limit, head=head)
                except BaseException:
                    self._forget(process.doubtful)
                    raise
                process.doubtful.clear()
                return claimed
        except TooLate:
            return None

    async def _take(
        self, conn: Connection, job_types: Sequence[str], limit: int, *, head: bool
    ) -> Claimed | None:
        apart: list[Claim] = []
        if self._suspects_overdue():  # before the others, or long jobs would always be ahead of it
            apart = await self._claim_suspect(conn, job_types, idle=False)
            if self._process.solitude.is_kept:
                return Claimed(apart) if apart else None
        if len(apart) < limit and await self._keyed_turn(conn, job_types):
            apart += (await self._claim_keyed(conn, job_types, limit - len(apart))).jobs
        if len(apart) == limit:
            return Claimed(apart)
        if head and (jobs := await self._claim_head(conn, job_types, limit - len(apart))):
            return Claimed([*apart, *jobs])
        claimed = await self._claim(conn, job_types, limit - len(apart))
        if claimed.jobs or apart:
            return Claimed([*apart, *claimed.jobs])
        return await self._claim_apart(conn, job_types, limit, claimed)

    async def _claim_apart(
        self, conn: Connection, job_types: Sequence[str], limit: int, nothing: Claimed
    ) -> Claimed | None:
        """What an empty claim told of: a suspect, and jobs with concurrency keys."""
        jobs: list[Claim] = []
        if not nothing.suspects_wait:
            self._suspects_seen_at = time.monotonic()  # such an answer tells of suspects, too
        elif self._suspect_may_be_free():
            jobs = await self._claim_suspect(conn, job_types, idle=True)
            if self._process.solitude.is_kept:
                return Claimed(jobs) if jobs else None
        self._keyed_wait, self._keyed_seen_at = nothing.keyed_wait, None
        if not nothing.keyed_wait or len(jobs) == limit:
            return replace(nothing, jobs=jobs)
        found = await self._claim_keyed(conn, job_types, limit - len(jobs))
        waits = [wait for wait in (nothing.due_in, found.due_in) if wait is not None]
        return replace(nothing, jobs=[*jobs, *found.jobs], due_in=min(waits, default=None))

    async def close(self) -> None:
        """Give back what may have been taken, if the database lets us within a bound."""
        if not self._process.doubtful:
            return
        try:
            with anyio.fail_after(CLOSE_SECONDS, shield=True):
                async with self._process.claims.use() as conn:
                    await self._return_doubtful(conn)
        except TROUBLE:
            return  # the lease decides

    async def _return_doubtful(self, conn: Connection) -> None:
        if self._process.doubtful:
            await store.unclaim(conn, self._process.doubtful)
            self._process.doubtful.clear()

    def _draw(self) -> tuple[str, float, int]:
        """Who claims, for how long, and under which token."""
        token = store.new_token()
        self._process.doubtful.append(token)
        return self._worker_id, self._process.settings.lease_seconds, token

    async def _claim_head(
        self, conn: Connection, job_types: Sequence[str], limit: int
    ) -> list[Claim]:
        """Go on behind the last claim, but look from the start for a twentieth of the time.

        So what a pinned horizon keeps in the index costs little, and what came to stand in front
        waits twenty times as long as looking for it takes.
        """
        began = time.monotonic()
        behind = self._last
        if began - self._start_seen_at > START_SHARE * self._start_seconds:
            behind = None
        jobs = await store.claim_head(conn, job_types, limit, *self._draw(), behind=behind)
        if behind is None:
            self._start_seen_at = time.monotonic()
            self._start_seconds = self._start_seen_at - began
        self._last = jobs[-1].id if len(jobs) == limit else None
        return jobs

    async def _claim(self, conn: Connection, job_types: Sequence[str], limit: int) -> Claimed:
        return await store.claim(conn, job_types, limit, *self._draw())

    def _forget(self, tokens: Sequence[int]) -> None:
        """These claims took nothing, or it goes back."""
        self._process.suspects.difference_update(tokens)
        for token in tokens:
            self._process.keyed.pop(token, None)

    def _suspects_overdue(self) -> bool:
        """A busy queue must not starve suspects: each leads to the next, a heartbeat to one."""
        if self._process.suspects:
            return False
        since = time.monotonic() - self._suspects_seen_at
        return (
            since > self._process.settings.heartbeat_seconds
            or self._process.solitude.is_sought_by(self._worker)
        )

    def _suspect_may_be_free(self) -> bool:
        """One waits: is it worth the statements that claim it?"""
        if self._process.suspects:
            return False
        return not self._only_last_chances or self._process.solitude.is_empty

    async def _claim_suspect(
        self, conn: Connection, job_types: Sequence[str], *, idle: bool
    ) -> list[Claim]:
        """One or none: a process holds at most one, so that a crash tells which job is to blame.

        One at its last chance only if the process is empty, and that is then kept for it.
        """
        solitude = self._process.solitude
        crashes = solitude.crashes_for(self._worker, idle=idle)
        worker_id, lease, token = self._draw()
        self._suspects_seen_at = time.monotonic()
        self._process.suspects.add(token)
        found = await store.claim_suspect(
            conn, job_types, worker_id, lease, token, crashes=crashes, per_key=self._per_key
        )
        suspect = found.job
        if suspect is None:
            options = (job_types, self._per_key, worker_id, lease, token)
            suspect = await keyed.claim_keyed_suspect(conn, *options, crashes=crashes)
            self._process.keyed[token] = 1
        self._only_last_chances = suspect is None and found.last_chance_waits
        if suspect is None:
            self._forget([token])
            solitude.forgo(self._worker)  # if the process was emptied for it: others have it
        else:
            self._suspects_seen_at = -math.inf  # there may be more: look as soon as it has ended
            solitude.took(self._worker, suspect)
        if found.last_chance_waits:
            solitude.seek(self._worker)
        return [] if suspect is None else [suspect]

    async def _keyed_turn(self, conn: Connection, job_types: Sequence[str]) -> bool:
        """Only a claim that finds nothing tells of jobs with keys; a busy worker must ask."""
        now = time.monotonic()
        if self._keyed_seen_at is None:
            self._keyed_seen_at = now
        if not self._keyed_wait and now - self._keyed_seen_at > KEYED_SECONDS:
            self._keyed_seen_at = now
            return await keyed.keyed_wait(conn, job_types)
        return self._keyed_wait

    async def _claim_keyed(
        self, conn: Connection, job_types: Sequence[str], limit: int
    ) -> ClaimedKeyed:
        self._keyed_seen_at = time.monotonic()
        worker_id, lease, token = self._draw()
        options = (limit, self._per_key, worker_id, lease, token)
        found = await keyed.claim_keyed(conn, job_types, *options, behind=self._behind_key)
        self._keyed_wait, self._behind_key = bool(found.jobs), found.behind
        if found.jobs:
            self._process.keyed[token] = len(found.jobs)
        return found
