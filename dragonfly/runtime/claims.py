"""The claims of one worker: one statement each, never cut off, and nothing stranded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from dragonfly.job import Claim
from dragonfly.postgres.failures import TROUBLE
from dragonfly.queue import store
from dragonfly.queue.store import Claimed
from dragonfly.runtime.process import Process

if TYPE_CHECKING:
    from asyncpg import Connection

CLOSE_SECONDS = 2.0


class Claims:
    """Draws a token for each claim, and gives back what a claim took whose answer was lost."""

    def __init__(self, process: Process, worker_id: str) -> None:
        self._process = process
        self._worker_id = worker_id
        self._doubtful: list[int] = []
        self._suspects_seen_at = time.monotonic()

    async def take(self, job_types: Sequence[str], limit: int) -> Claimed:
        """Claim up to ``limit`` jobs, a suspect among them or beside them if its turn has come."""
        # cut off in flight, it might leave rows locked that nobody knows of
        with anyio.CancelScope(shield=True):
            async with self._process.claims.use() as conn:
                await self._return_doubtful(conn)
                try:
                    claimed = await self._take(conn, job_types, limit)
                except BaseException:
                    self._process.suspects.difference_update(self._doubtful)
                    raise
                self._doubtful.clear()
        return claimed

    async def _take(self, conn: Connection, job_types: Sequence[str], limit: int) -> Claimed:
        suspects = []
        if self._is_overdue():  # before the others, or long jobs would always be ahead of it
            suspects = await self._claim_suspect(conn, job_types)
            if len(suspects) == limit:
                return Claimed(suspects)
        claimed = await self._claim(conn, job_types, limit - len(suspects))
        if claimed.suspects_wait and not suspects and not self._process.suspects:
            suspects = await self._claim_suspect(conn, job_types)
        return Claimed([*suspects, *claimed.jobs]) if suspects else claimed

    async def close(self) -> None:
        """Give back what may have been taken, if the database lets us within a bound."""
        if not self._doubtful:
            return
        try:
            with anyio.fail_after(CLOSE_SECONDS, shield=True):
                async with self._process.claims.use() as conn:
                    await self._return_doubtful(conn)
        except TROUBLE:
            return  # the lease decides

    async def _return_doubtful(self, conn: Connection) -> None:
        if self._doubtful:
            await store.unclaim(conn, self._doubtful)
            self._doubtful = []

    async def _claim(self, conn: Connection, job_types: Sequence[str], limit: int) -> Claimed:
        token, lease = store.new_token(), self._process.settings.lease_seconds
        self._doubtful.append(token)
        return await store.claim(conn, job_types, limit, self._worker_id, lease, token)

    def _is_overdue(self) -> bool:
        """A busy queue must not starve the suspects: look for one at each heartbeat at least."""
        return (
            not self._process.suspects
            and time.monotonic() - self._suspects_seen_at > self._process.settings.heartbeat_seconds
        )

    async def _claim_suspect(self, conn: Connection, job_types: Sequence[str]) -> list[Claim]:
        """One or none: a process holds at most one, so that a crash tells which job is to blame."""
        token, lease = store.new_token(), self._process.settings.lease_seconds
        self._suspects_seen_at = time.monotonic()
        self._process.suspects.add(token)
        self._doubtful.append(token)
        suspect = await store.claim_suspect(conn, job_types, self._worker_id, lease, token)
        if suspect is None:
            self._process.suspects.discard(token)
            return []
        return [suspect]
