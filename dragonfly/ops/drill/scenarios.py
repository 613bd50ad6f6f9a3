"""Faults on purpose, against real processes on a scratch database: do the guarantees hold here?"""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import anyio
import asyncpg

from dragonfly.errors import ConfigurationError
from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import QUICK, Crew, DrillBroken, crew, until
from dragonfly.ops.drill.history import Finding
from dragonfly.ops.drill.proxy import Proxy, proxy_to
from dragonfly.ops.drill.worker import HOLD_LOCK
from dragonfly.postgres.database import Database, Pooling, close, connect
from dragonfly.postgres.failures import describe
from dragonfly.queue.migrate import migrate

if TYPE_CHECKING:
    from asyncpg import Connection

PREFIX = "dragonfly_drill_"
SETTLE_SECONDS = 45.0
GONE_SECONDS = 5.0
JOBS = 240
JOB_SECONDS = 0.02
BUDGET = 1
LEASE = float(QUICK["DRAGONFLY_LEASE_SECONDS"])
HEARTBEAT = float(QUICK["DRAGONFLY_HEARTBEAT_SECONDS"])
# a lease, the heartbeat that notices, and what a busy machine may add
RECOVERY_SECONDS = LEASE + HEARTBEAT + 3.0
# the same, and the bound of a heartbeat, the looks that tell silence from slowness, new logins
SILENCE_SECONDS = RECOVERY_SECONDS + 6.0
KINDS = ("listen", "claim", "finish", "heartbeat", "jobs")

_CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'dragonfly ' || $1
"""
_OPEN = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'dragonfly jobs'
   AND xact_start IS NOT NULL
"""
_HAVE_ENDED = f"SELECT ({history.ENDED}) >= $1"
_STARTS = "SELECT count(*) FROM drill.history WHERE step = 'start'"
_EFFECT_STEPS = "SELECT count(*) FROM drill.history WHERE step = 'effect'"
_NOW = "SELECT clock_timestamp()"
_SECONDS_SINCE = "SELECT extract(epoch FROM clock_timestamp() - $1::timestamptz)::float8"
# $1 when it went silent: what was on its way then does not count
_BEAT_SINCE = """
SELECT count(*) FROM ops.worker_heartbeats
 WHERE last_heartbeat_at > $1::timestamptz + interval '0.5 seconds'
"""
_NEIGHBOURS_CHARGED = """
SELECT count(*) FROM ops.jobs WHERE job_type <> 'drill_poison' AND crashes > 1
"""
_POISON = """
SELECT jsonb_array_length(errors) AS crashes, errors -> -1 -> 'detail' AS evidence
  FROM ops.jobs WHERE job_type = 'drill_poison'
"""


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario: its findings, its seconds, and how long the jobs of the dead waited."""

    scenario: str
    sentence: str
    findings: tuple[Finding, ...]
    seconds: float
    recovery: float | None = None

    @property
    def held(self) -> bool:
        return all(finding.held for finding in self.findings)

    def json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"held": self.held}


Scenario = Callable[["Connection", Crew], Awaitable[tuple[list[Finding], float | None]]]


async def kill9(conn: Connection, team: Crew) -> tuple[list[Finding], float | None]:
    """A process dies by kill -9 in the middle of its jobs; the other one and its heir go on."""
    first, _ = await team.started(conn, 2)
    await history.put_mixed(conn, JOBS, seconds=JOB_SECONDS)
    await until(conn, _HAVE_ENDED, JOBS // 4, seconds=SETTLE_SECONDS)
    died_at = await conn.fetchval(_NOW)
    first.kill()
    await team.start()
    await until(conn, history.UNENDED, expected=0, seconds=SETTLE_SECONDS)
    recovery = await history.recovery_seconds(conn, died_at)
    await team.stop()
    return [*await _examined(conn), _recovered(recovery)], recovery


async def zombie(conn: Connection, team: Crew) -> tuple[list[Finding], float | None]:
    """A frozen process wakes up after its lease, in the middle of a transaction."""
    await conn.execute("SELECT pg_advisory_lock($1)", HOLD_LOCK)
    await history.put_mixed(conn, 1, hold=True)
    (sleeper,) = await team.started(conn, 1)
    await until(conn, _EFFECT_STEPS, expected=1, seconds=SETTLE_SECONDS)
    frozen_at = await conn.fetchval(_NOW)
    sleeper.signal(signal.SIGSTOP)
    await team.started(conn, 1)
    await until(conn, _EFFECT_STEPS, expected=2, seconds=SETTLE_SECONDS)
    recovery = await history.recovery_seconds(conn, frozen_at)
    await conn.execute("SELECT pg_advisory_unlock($1)", HOLD_LOCK)
    await until(conn, history.UNENDED, expected=0, seconds=SETTLE_SECONDS)
    sleeper.signal(signal.SIGCONT)
    await until(conn, _OPEN, expected=0, seconds=SETTLE_SECONDS)
    await team.stop()
    return await _examined(conn), recovery


async def terminate(conn: Connection, team: Crew) -> tuple[list[Finding], float | None]:
    """The server closes every kind of connection, one kind after the other, under load."""
    members = await team.started(conn, 2)
    await history.put_mixed(conn, JOBS, seconds=JOB_SECONDS)
    for number, kind in enumerate(KINDS, 1):
        share = number * JOBS // (len(KINDS) + 1)
        await until(conn, _HAVE_ENDED, share, seconds=SETTLE_SECONDS)
        await until(conn, _CUT.replace("count(", "0 < count(", 1), kind, seconds=SETTLE_SECONDS)
    await until(conn, history.UNENDED, expected=0, seconds=SETTLE_SECONDS)
    alive = all(member.code is None for member in members)
    await team.stop()
    return [*await _examined(conn), Finding("no process ended", alive)], None


async def silence(conn: Connection, team: Crew) -> tuple[list[Finding], float | None]:
    """The network goes silent and closes no connection; new ones are served."""
    async with proxy_to(team.dsn, Proxy) as between:
        members = await team.started(conn, 2, SUPABASE_DB_URL_DEV=between.dsn)
        await history.put_mixed(conn, JOBS, seconds=JOB_SECONDS)
        await until(conn, _HAVE_ENDED, JOBS // 4, seconds=SETTLE_SECONDS)
        since = await conn.fetchval(_NOW)
        between.silence(*(f"dragonfly {kind}" for kind in KINDS))
        await until(conn, _BEAT_SINCE, since, expected=len(members), seconds=SETTLE_SECONDS)
        await until(conn, history.UNENDED, expected=0, seconds=SETTLE_SECONDS)
        seconds = await conn.fetchval(_SECONDS_SINCE, since)
        alive = all(member.code is None for member in members)
        await team.stop()
    found = Finding(
        f"all is well again within {SILENCE_SECONDS:g} s", seconds <= SILENCE_SECONDS,
        f"{seconds:.1f} s",
    )  # fmt: skip
    return [*await _examined(conn), found, Finding("no process ended", alive)], None


async def poison(conn: Connection, team: Crew) -> tuple[list[Finding], float | None]:
    """A job kills every process that runs it; each is started again, as a platform does."""
    settings = {"DRAGONFLY_CRASH_BUDGET": str(BUDGET)}
    await team.started(conn, 2, **settings)
    await history.put_mixed(conn, JOBS // 4, seconds=JOB_SECONDS)
    await conn.execute(
        "INSERT INTO ops.jobs (job_type, payload) VALUES ($1::text, $2)",
        history.POISON,
        '{"ends": "failed"}',
    )
    with anyio.move_on_after(SETTLE_SECONDS) as bound:
        while await conn.fetchval(history.UNENDED):
            for member in [each for each in team.members if each.code is not None]:
                team.members.remove(member)
                await team.start(**settings)
            await anyio.sleep(JOB_SECONDS)
    if bound.cancelled_caught:
        raise DrillBroken("A job that kills its process was not stopped by its crash budget.")
    await team.stop()
    return [*await _examined(conn), *await _poisoned(conn)], None


SCENARIOS: dict[str, Scenario] = {
    "kill9": kill9,
    "zombie": zombie,
    "terminate": terminate,
    "silence": silence,
    "poison": poison,
}


def scenarios() -> list[str]:
    """Those that this platform can play: without SIGSTOP nobody can be frozen."""
    return [name for name in SCENARIOS if name != "zombie" or hasattr(signal, "SIGSTOP")]


async def play(dsn: str, folder: Path, names: Iterable[str]) -> AsyncIterator[Result]:
    """Play these scenarios on a scratch database, one after the other, each from an empty queue."""
    conn = await connect(dsn, "drill")
    try:
        await migrate(conn)
        await history.prepare(conn)
        for name in names:
            await conn.execute(history.FORGET)
            (folder / name).mkdir()
            yield await _play(conn, dsn, folder / name, name)
    finally:
        await close(conn)


async def _play(conn: Connection, dsn: str, folder: Path, name: str) -> Result:
    scenario = SCENARIOS[name]
    began, recovery = time.monotonic(), None
    async with crew(dsn, folder) as team:
        try:
            findings, recovery = await scenario(conn, team)
        except DrillBroken as broken:
            findings = [Finding("it could be played to its end", held=False, detail=str(broken))]
        finally:
            await conn.execute("SELECT pg_advisory_unlock_all()")
    sentence = (scenario.__doc__ or "").strip()
    return Result(name, sentence, tuple(findings), time.monotonic() - began, recovery)


async def _examined(conn: Connection) -> list[Finding]:
    """The promises, once the server has noticed that the processes are gone."""
    findings: list[Finding] = []
    deadline = time.monotonic() + GONE_SECONDS
    while not findings or (time.monotonic() < deadline and not all(f.held for f in findings)):
        if findings:
            await anyio.sleep(JOB_SECONDS)
        findings = await history.examine(conn, crash_budget=BUDGET)
    return findings


def _recovered(recovery: float | None) -> Finding:
    promise = f"jobs of the dead are free within {RECOVERY_SECONDS:g} s"
    if recovery is None:
        return Finding(promise, held=False, detail="no job was in flight: play it again")
    return Finding(promise, recovery <= RECOVERY_SECONDS, f"{recovery:.1f} s")


async def _poisoned(conn: Connection) -> list[Finding]:
    charged = await conn.fetchval(_NEIGHBOURS_CHARGED)
    row = await conn.fetchrow(_POISON)
    told = row is not None and all(
        word in (row["evidence"] or "") for word in ("rss_bytes", "last_heartbeat_at", "sentence")
    )
    return [
        Finding("neighbours are charged once at most", charged == 0),
        Finding("the evidence names memory, heartbeat and progress", told),
    ]


# --- the scratch database -------------------------------------------------------------------------


@asynccontextmanager
async def scratch(database: Database) -> AsyncIterator[str]:
    """The address of a new database on the same server, dropped again at the end.

    ConfigurationError with a sentence where none can be made: nothing else is ever touched.
    """
    if database.pooling is Pooling.TRANSACTION:
        raise ConfigurationError(
            f"{database.shown} is behind a transaction pooler, which reaches no scratch database; "
            "name the direct address, or another server."
        )
    name = PREFIX + secrets.token_hex(6)
    admin = await database.connect("drill")
    try:
        await _create(admin, name, database.shown)
        try:
            yield _address(database.dsn, name)
        finally:
            with anyio.CancelScope(shield=True):
                await admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await close(admin)


async def _create(admin: Connection, name: str, shown: str) -> None:
    try:
        await admin.execute(f'CREATE DATABASE "{name}"')
    except asyncpg.PostgresError as error:
        raise ConfigurationError(
            f"No scratch database can be created on {shown} ({describe(error)}), and a drill uses "
            "no other; let an owner run: ALTER ROLE ... CREATEDB, or name another server."
        ) from error


def _address(dsn: str, name: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))
