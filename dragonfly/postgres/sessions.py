"""The sessions of one process: which of them wait for an answer, and what the server says of them.

A half-open connection raises nothing. Once one has not answered in time, the others are in doubt:
each proves itself by a trivial statement before its next use, and of those that are waiting the
server is asked over a new connection. One that it knows to be idle, while here somebody waits for
its answer, is dead; one at which it works is merely slow.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from dragonfly.postgres.bounds import doubters, unanswered
from dragonfly.postgres.database import Database

if TYPE_CHECKING:
    from asyncpg import Connection

# a trivial statement is answered in this time, or its connection is replaced
PROOF_SECONDS = 2.0
# closed sessions are remembered, so that the server can be rid of them; no more than so many
REMEMBERED_MOST = 64
# the server's clock may be set back by so much since a session began
SLACK_SECONDS = 5.0

# $1 pids, $2 the age of each session in seconds: a pid that somebody has by now is younger
ASK = """
SELECT a.pid, a.state LIKE 'idle%' AS idle,
       extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS quiet
  FROM unnest($1::integer[], $2::float8[]) AS ours (pid, age)
  JOIN pg_stat_activity a
    ON a.pid = ours.pid AND a.backend_start < clock_timestamp() - make_interval(secs => ours.age)
"""
# The same, and $3 seconds: what nobody here listens to any more would keep its locks and its place.
END = """
SELECT count(pg_terminate_backend(a.pid))
  FROM unnest($1::integer[], $2::float8[]) AS ours (pid, age)
  JOIN pg_stat_activity a
    ON a.pid = ours.pid AND a.backend_start < clock_timestamp() - make_interval(secs => ours.age)
 WHERE a.usename = current_user AND a.datname = current_database()
   AND a.state LIKE 'idle%' AND a.state_change < clock_timestamp() - make_interval(secs => $3)
"""


@dataclass(eq=False, slots=True)
class Session:
    """A connection, the server's own pid of it, and when (monotonic) its login was over."""

    conn: Connection
    pid: int
    since: float

    @property
    def is_asking(self) -> bool:
        """A handler's statement is under way; asyncpg tells only of those with arguments."""
        section = getattr(self.conn, "_stmt_exclusive_section", None)
        return bool(section is not None and section._acquired)  # noqa: SLF001 - nothing else tells


@dataclass(frozen=True, slots=True)
class Said:
    """What the server says of a session: whether it works at nothing, and the seconds of that."""

    idle: bool
    quiet: float


class Sessions:
    """Every connection of a process, and whether they are in doubt.

    ``generation`` counts the doubts: a connection whose last proof is of an earlier one must prove
    itself before its next use. ``suspected`` is replaced by a new event with each.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[int, Session] = {}  # by the pid that the client was told
        self.generation = 0
        self.doubted = asyncio.Event()
        self.suspected = asyncio.Event()
        doubters.add(self)

    # --- who is there ---------------------------------------------------------------------------

    async def opened(self, conn: Connection) -> Connection:
        """Remember this connection, and pass it on."""
        if len(self._known) >= REMEMBERED_MOST:
            self._known = {each: s for each, s in self._known.items() if not s.conn.is_closed()}
        pid = await self._database.pid_of(conn)
        if pid is not None:
            self._known[conn.get_server_pid()] = Session(conn, pid, time.monotonic())
        return conn

    @property
    def open(self) -> set[Session]:
        return {session for session in self._known.values() if not session.conn.is_closed()}

    @property
    def closed(self) -> set[Session]:
        """Closed here; the server may not know."""
        return {session for session in self._known.values() if session.conn.is_closed()}

    @property
    def waiting(self) -> set[Session]:
        """Those that have not answered to what they were asked."""
        asked: set[int] = set()
        for conn in unanswered():
            with suppress(asyncpg.InterfaceError):  # its loan is over
                asked.add(conn.get_server_pid())
        return {
            session for pid, session in self._known.items()
            if not session.conn.is_closed() and (pid in asked or session.is_asking)
        }  # fmt: skip

    # --- doubts ---------------------------------------------------------------------------------

    def doubt(self) -> None:
        """A connection gave no answer within its bound."""
        self.doubted.set()

    def gave_up(self, conn: Connection) -> None:
        """This one did; perhaps it is ours."""
        with suppress(asyncpg.InterfaceError):
            if conn.get_server_pid() in self._known:
                self.doubt()

    def suspect(self) -> None:
        """From now on each connection proves itself before its next use."""
        self.generation += 1
        self.suspected.set()
        self.suspected = asyncio.Event()

    # --- what the server says -------------------------------------------------------------------

    async def ask(self, conn: Connection, sessions: Iterable[Session]) -> dict[Session, Said]:
        """What it says of those that it still has."""
        by_pid = {session.pid: session for session in sessions}
        rows = await conn.fetch(ASK, *_named(by_pid.values()))
        return {by_pid[row["pid"]]: Said(row["idle"], row["quiet"]) for row in rows}

    @property
    def knows_all(self) -> bool:
        """A session of which the server says nothing is gone; behind a pooler it may be another."""
        return self._database.true_pids

    async def end_the_closed(self, conn: Connection, quiet: float) -> None:
        """Rid the server of sessions that were closed here and have been ``quiet`` there."""
        if not (closed := self.closed):
            return
        with suppress(asyncpg.InsufficientPrivilegeError):
            await conn.fetchval(END, *_named(closed), quiet)
        gone = closed - (await self.ask(conn, closed)).keys()
        self._known = {pid: s for pid, s in self._known.items() if s not in gone}


def _named(sessions: Iterable[Session]) -> tuple[list[int], list[float]]:
    now = time.monotonic() - SLACK_SECONDS
    return [s.pid for s in sessions], [max(0.0, now - s.since) for s in sessions]
