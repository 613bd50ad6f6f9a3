"""Finds the connections that fell silent, once one of the process gave no answer in time.

Its witness is a connection opened for that. Only where the witness is answered promptly is there
something to compare with: while the whole database is slow or away, each keeps its own bound.
"""

from __future__ import annotations

import asyncio
import time

import anyio

from dragonfly.events import ConnectionsSilent
from dragonfly.postgres.failures import TROUBLE
from dragonfly.postgres.line import Line
from dragonfly.postgres.sessions import Said, Session
from dragonfly.runtime.process import STATEMENT_SECONDS, Process

LOOK_SECONDS = 1.0
# what the witness is told later than this is no witness against others
PROMPT_SECONDS = 1.0
# so long has a session been idle that was waited for all the time since the last look
QUIET_SECONDS = LOOK_SECONDS + PROMPT_SECONDS


class Inspector:
    """Waits for a doubt, and looks until each session that was open then is heard of or ended."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._sessions = process.sessions

    async def run(self) -> None:
        """Inspect until cancelled; while the database is away, try again."""
        settings = self._process.settings
        pause = min(settings.heartbeat_seconds, settings.lease_seconds / 4)
        while True:
            await self._sessions.doubted.wait()
            self._sessions.doubted.clear()
            witness = Line(lambda: self._process.connect("witness"), STATEMENT_SECONDS)
            try:
                await self._inspect(witness)
            except* TROUBLE:
                await asyncio.sleep(pause)
                self._sessions.doubt()
            finally:
                await witness.aclose()

    async def _inspect(self, witness: Line) -> None:
        unheard = self._sessions.open
        if await self._promptly(witness, unheard) is None:
            return
        self._sessions.suspect()
        began = time.monotonic()
        async with anyio.create_task_group() as group:
            group.start_soon(self._process.lender.prove_idle)
            while unheard or self._sessions.closed:
                if time.monotonic() - began > self._process.settings.lease_seconds:
                    break  # what is left has its own bounds
                waiting = self._sessions.waiting
                await asyncio.sleep(LOOK_SECONDS)
                said = await self._promptly(witness, self._sessions.open)
                if said is None:
                    continue
                waiting &= self._sessions.waiting
                self._give_up([each for each in waiting if self._is_silent(said.get(each))])
                passed = time.monotonic() - began
                heard = {each for each in said if said[each].quiet < passed} - waiting
                unheard &= self._sessions.open - heard
                async with witness.use() as conn:
                    await self._sessions.end_the_closed(conn, QUIET_SECONDS)

    async def _promptly(self, witness: Line, sessions: set[Session]) -> dict[Session, Said] | None:
        """What the server says of them; None if it took so long that it proves nothing."""
        async with witness.use() as conn:
            began = time.monotonic()
            said = await self._sessions.ask(conn, sessions)
            return said if time.monotonic() - began < PROMPT_SECONDS else None

    def _is_silent(self, said: Said | None) -> bool:
        """It was waited for all the time since the last look; the server knows of no question."""
        if said is None:
            return self._sessions.knows_all
        return said.idle and said.quiet >= QUIET_SECONDS

    def _give_up(self, silent: list[Session]) -> None:
        for session in silent:
            session.conn.terminate()
        if silent:
            self._process.events.emit(ConnectionsSilent(len(silent)))
