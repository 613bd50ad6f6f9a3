"""What the workers of one process share, and how they are told to stop."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil

from dragonfly.events import Events
from dragonfly.job import Claim
from dragonfly.postgres.database import Database
from dragonfly.postgres.lending import Lender
from dragonfly.postgres.line import Line
from dragonfly.postgres.sessions import Sessions
from dragonfly.runtime.logins import Logins
from dragonfly.runtime.sleepers import Sleepers
from dragonfly.runtime.solitude import Solitude
from dragonfly.settings import Settings

if TYPE_CHECKING:
    from asyncpg import Connection

# every internal statement is bounded: a half-open socket raises nothing by itself
STATEMENT_SECONDS = 10.0
# Where sessions are our own: the queue's few statements are planned once (planning a claim takes as
# long as running it), never compiled, and never wait long for a row that somebody has locked.
QUEUE_SESSION = {"plan_cache_mode": "force_generic_plan", "jit": "off", "lock_timeout": "1s"}
# a process that is frozen inside a job's transaction must not hold its locks for ever
JOB_SESSION = {"idle_in_transaction_session_timeout": "60s"}


class Mode(Enum):
    """How long the process goes on."""

    FOREVER = auto()
    DRAIN = auto()  # until nothing is due
    ONCE = auto()  # at most one job per worker


@dataclass(slots=True)
class Stop:
    """Two ways to stop: no new jobs, then no jobs at all."""

    claiming: asyncio.Event = field(default_factory=asyncio.Event)
    now: asyncio.Event = field(default_factory=asyncio.Event)
    signal: str | None = None
    since: float = 0.0  # monotonic

    def request(self, signal: str) -> None:
        """The first request stops claiming, the second cancels what runs."""
        if self.claiming.is_set():
            self.now.set()
        else:
            self.signal, self.since = signal, time.monotonic()
        self.claiming.set()

    @property
    def phase(self) -> str | None:
        """What a heartbeat says of it, should it be the last one; None while nobody asked."""
        if self.signal is None:
            return None
        twice = ", asked twice" if self.now.is_set() else ""
        return f"stopping for {time.monotonic() - self.since:.0f} s ({self.signal}{twice})"


@dataclass(slots=True)
class Process:
    """One operating-system process: its connections by purpose, its name, its end."""

    settings: Settings
    database: Database
    lender: Lender
    claims: Line
    finishes: Line
    heartbeats: Line
    logins: Logins
    sessions: Sessions
    events: Events
    mode: Mode = Mode.FOREVER
    stop: Stop = field(default_factory=Stop)
    hostname: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    # new at every start, so that nobody mistakes a restarted process for the one that died
    birth: str = field(default_factory=lambda: secrets.token_hex(4))
    # tokens of held jobs that were in flight at a crash: at most one, so that the next is telling
    suspects: set[int] = field(default_factory=set)
    solitude: Solitude = field(init=False)
    # tokens of claims whose answers were lost: whoever claims next gives back what they took
    doubtful: list[int] = field(default_factory=list)
    # how many held jobs with concurrency keys each token stands for: their ends make room
    keyed: Counter[int] = field(default_factory=Counter)
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)
    wakeups: dict[str, asyncio.Event] = field(default_factory=dict)
    sleepers: Sleepers = field(init=False)
    # finishes so far, and at which count each worker last began a look that found nothing due
    settled: int = 0
    quiet: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # only who goes on for ever falls silent for a job; all others run out of jobs anyway
        seeks = self.mode is Mode.FOREVER
        self.solitude = Solitude(self.settings, self.events, self.ring, seeks=seeks)
        self.sleepers = Sleepers(self.wakeups)

    @property
    def process_id(self) -> str:
        """The part of ``locked_by`` that all workers of this process share."""
        return f"{self.hostname}:{self.pid}:{self.birth}"

    async def connect(self, purpose: str, session: Mapping[str, str] | None = None) -> Connection:
        """A connection of its own, through the gate, and one of the sessions."""
        return await _connect(self.database, self.logins, self.sessions, purpose, session)

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(psutil.Process().memory_info().rss)

    def ring(self) -> None:
        """Let every worker look at the queue again."""
        for wakeup in self.wakeups.values():
            wakeup.set()

    def settle(self, worker: str, claims: Sequence[Claim], *, last: bool) -> None:
        """Claimed jobs came to their end (``last``: of all that their worker held).

        Who waits for that is rung: the worker when it holds nothing more, everybody when a drain
        depends on it, a suspect made room for the next, or a job for another of its key, or the
        process has been emptied for a job that is to run alone.
        """
        self.settled += len(claims)
        if self.solitude.is_kept and self.solitude.stirred(claims):
            self.ring()
        if self.keyed and self._make_room(claims):
            self.ring()
        if self.suspects and (over := self.suspects & {claim.lock_token for claim in claims}):
            self.suspects -= over
            self.ring()
        elif self.mode is Mode.DRAIN:
            self.ring()
        elif last and worker in self.wakeups:
            self.wakeups[worker].set()

    def _make_room(self, claims: Sequence[Claim]) -> bool:
        tokens = [claim.lock_token for claim in claims if claim.lock_token in self.keyed]
        self.keyed.subtract(tokens)
        self.keyed = +self.keyed  # what counts down to nothing is forgotten
        return bool(tokens)

    def stop_if_drained(self, unwritten: int) -> bool:
        """Stop if every living worker has looked in vain since the last finish."""
        if unwritten or any(self.quiet.get(name) != self.settled for name in self.wakeups):
            return False
        self.stop.request("drained")
        self.ring()
        return True


@asynccontextmanager
async def open_process(
    settings: Settings, database: Database, events: Events, mode: Mode = Mode.FOREVER
) -> AsyncIterator[Process]:
    """Open the pool and name the lines; each line connects when it is first used."""
    logins, sessions = Logins(), Sessions(database)

    def line(purpose: str, bound: float) -> Line:
        return Line(
            lambda: _connect(database, logins, sessions, purpose, QUEUE_SESSION), bound, sessions
        )

    async def log_in(*args: Any, **options: Any) -> Connection:
        return await sessions.opened(await logins.open(lambda: asyncpg.connect(*args, **options)))

    patience = min(STATEMENT_SECONDS, settings.lease_seconds / 4)
    claims, finishes = line("claim", STATEMENT_SECONDS), line("finish", STATEMENT_SECONDS)
    heartbeats = line("heartbeat", patience)
    async with database.pool(settings.pool_size, log_in, JOB_SESSION) as pool:
        lender = Lender(pool)
        try:
            yield Process(
                settings, database, lender, claims, finishes, heartbeats, logins, sessions, events,
                mode,
            )  # fmt: skip
        finally:
            for each in (claims, finishes, heartbeats):
                await each.aclose()
            await lender.give_back()


async def _connect(
    database: Database,
    logins: Logins,
    sessions: Sessions,
    purpose: str,
    session: Mapping[str, str] | None,
) -> Connection:
    return await sessions.opened(await logins.open(lambda: database.connect(purpose, session)))
