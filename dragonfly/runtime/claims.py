"""The claims of one worker: one statement each, never cut off, and nothing stranded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio

from dragonfly.postgres.failures import TROUBLE
from dragonfly.queue import store
from dragonfly.queue.store import Claimed
from dragonfly.runtime.process import Mode, Process

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
        """Claim up to ``limit`` jobs, and beside them one suspect if its turn has come."""
        # cut off in flight, it might leave rows locked that nobody knows of
        with anyio.CancelScope(shield=True):
            async with self._process.claims.use() as conn:
                await self._return_doubtful(conn)
                claimed = await self._claim(conn, job_types, limit)
                if self._is_a_suspects_turn(claimed):
                    claimed = await self._claim_suspect(conn, job_types, claimed)
        return claimed

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
        claimed = await store.claim(conn, job_types, limit, self._worker_id, lease, token)
        self._doubtful.clear()
        return claimed

    def _is_a_suspects_turn(self, claimed: Claimed) -> bool:
        """A busy queue must not starve the suspects: look for one at each heartbeat at least."""
        if self._process.suspects or (claimed.jobs and self._process.mode is Mode.ONCE):
            return False
        now = time.monotonic()
        overdue = now - self._suspects_seen_at > self._process.settings.heartbeat_seconds
        if not claimed.suspects_wait and not (claimed.jobs and overdue):
            return False
        self._suspects_seen_at = now
        return True

    async def _claim_suspect(
        self, conn: Connection, job_types: Sequence[str], claimed: Claimed
    ) -> Claimed:
        """A process holds at most one suspect, so that a crash tells which job is to blame."""
        token, lease = store.new_token(), self._process.settings.lease_seconds
        self._process.suspects.add(token)
        try:
            suspect = await store.claim_suspect(conn, job_types, self._worker_id, lease, token)
        except TROUBLE:
            self._doubtful.append(token)
            self._process.suspects.discard(token)
            if not claimed.jobs:
                raise
            return claimed
        if suspect is None:
            self._process.suspects.discard(token)
            return claimed
        return Claimed([*claimed.jobs, suspect])
