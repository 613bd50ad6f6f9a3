"""The table of schedules: who declares them, which tick is next, and the jobs that ticks become.

A row says what is in force; every process that declares its name may tick it, whoever defined it.
The row's lock is the claim of a tick: the job and the move to the next tick are one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dragonfly.cron import Cron
from dragonfly.postgres.transactions import transaction
from dragonfly.schedule import Schedule, owed

if TYPE_CHECKING:
    from asyncpg import Connection, Record

# a schedule that no process has declared for so long has lost its code; three looks at most wide
DECLARED_SECONDS = 180.0
# a mark that another look has left so lately is not written again
MARK_SECONDS = 20.0
# a tick that nobody took for so long shows that nobody ticks
OVERDUE_SECONDS = 120.0
MOST_ROWS = 1000

_NOW = "SELECT clock_timestamp()"

# $1 names, $2 crons, $3 time zones, $4 job types, $5 payloads, $6 tells tick, $7 priorities,
# $8 max attempts, $9 catch up, $10 overlap, $11 fingerprints, $12 next ticks, $13 when this process
# started, $14 seconds. The latest start wins, unless no running process declares what it declared.
# A changed expression or zone begins anew; otherwise what was missed meanwhile is still owed.
_DECLARE = """
INSERT INTO ops.schedules AS s (name, cron, timezone, job_type, payload, tells_tick, priority,
                                max_attempts, catch_up, overlap, fingerprint, next_tick_at,
                                defined_at, confirmed_at, declared_at)
SELECT new.name, new.cron, new.timezone, new.job_type, new.payload::jsonb, new.tells_tick,
       new.priority, new.max_attempts, new.catch_up, new.overlap, new.fingerprint, new.next_tick_at,
       $13, clock_timestamp(), clock_timestamp()
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[],
              $7::smallint[], $8::integer[], $9::text[], $10::text[], $11::text[],
              $12::timestamptz[])
    AS new (name, cron, timezone, job_type, payload, tells_tick, priority, max_attempts, catch_up,
            overlap, fingerprint, next_tick_at)
 ORDER BY new.name
    ON CONFLICT (name) DO UPDATE
   SET cron = excluded.cron, timezone = excluded.timezone, job_type = excluded.job_type,
       payload = excluded.payload, tells_tick = excluded.tells_tick,
       priority = excluded.priority, max_attempts = excluded.max_attempts,
       catch_up = excluded.catch_up, overlap = excluded.overlap,
       fingerprint = excluded.fingerprint, defined_at = excluded.defined_at,
       confirmed_at = excluded.confirmed_at, declared_at = excluded.declared_at,
       next_tick_at = CASE WHEN s.cron = excluded.cron AND s.timezone = excluded.timezone
                           THEN s.next_tick_at ELSE excluded.next_tick_at END
 WHERE s.defined_at < excluded.defined_at
    OR s.confirmed_at < clock_timestamp() - make_interval(secs => $14)
"""

# $1 names, $2 fingerprints, $3 when this process started, $4 seconds until a declaration is void,
# $5 seconds that a mark is good for. Leaves the marks of the living, and tells when to tick.
_LOOK = """
WITH own AS (
    SELECT * FROM unnest($1::text[], $2::text[]) AS own (name, fingerprint)
), unmarked AS (
    SELECT s.name
      FROM ops.schedules s JOIN own ON own.name = s.name
     WHERE s.declared_at < clock_timestamp() - make_interval(secs => $5)
        OR (s.fingerprint = own.fingerprint
            AND s.confirmed_at < clock_timestamp() - make_interval(secs => $5))
     ORDER BY s.name
       FOR NO KEY UPDATE OF s SKIP LOCKED
), marked AS (
    UPDATE ops.schedules s
       SET declared_at = clock_timestamp(),
           confirmed_at = CASE WHEN s.fingerprint = own.fingerprint
                               THEN clock_timestamp() ELSE s.confirmed_at END
      FROM own
     WHERE s.name = own.name AND s.name = ANY (ARRAY (SELECT unmarked.name FROM unmarked))
)
SELECT own.name, s.fingerprint IS DISTINCT FROM own.fingerprint AS foreign_definition,
       s.name IS NULL
       OR (s.fingerprint <> own.fingerprint
           AND (s.defined_at < $3
                OR s.confirmed_at < clock_timestamp() - make_interval(secs => $4))) AS to_declare,
       CASE WHEN s.paused_at IS NULL
            THEN extract(epoch FROM s.next_tick_at - clock_timestamp())::float8 END AS due_in
  FROM own LEFT JOIN ops.schedules s ON s.name = own.name
 ORDER BY own.name
"""

# $1 name. Whoever comes second finds the row locked, or its next tick in the future.
_TAKE = """
SELECT s.cron, s.timezone, s.catch_up, s.next_tick_at, s.last_tick_at, s.resumed_at,
       clock_timestamp() AS now,
       CASE WHEN s.overlap = 'skip'
            THEN (SELECT j.id FROM ops.jobs j
                   WHERE j.id = s.last_job_id AND j.status IN ('pending', 'processing'))
            END AS running_job
  FROM ops.schedules s
 WHERE s.name = $1 AND s.paused_at IS NULL AND s.next_tick_at <= clock_timestamp()
   FOR NO KEY UPDATE OF s SKIP LOCKED
"""

# $1 name, $2 the ticks that become jobs, as the schedule's clock shows them, $3 the last of them,
# $4 the next tick
_TICK = """
WITH enqueued AS (
    INSERT INTO ops.jobs (job_type, payload, priority, max_attempts, unique_key, correlation_id,
                          run_at, created_at)
    SELECT s.job_type,
           CASE WHEN s.tells_tick THEN s.payload || jsonb_build_object('tick_at', tick.shown)
                ELSE s.payload END,
           s.priority, coalesce(s.max_attempts, 8), s.name || '@' || tick.shown,
           gen_random_uuid(), clock_timestamp(), clock_timestamp()
      FROM unnest($2::text[]) WITH ORDINALITY AS tick (shown, place), ops.schedules s
     WHERE s.name = $1
     ORDER BY tick.place
        ON CONFLICT (job_type, unique_key) WHERE status = 'pending' AND unique_key IS NOT NULL
        DO NOTHING
    RETURNING id
)
UPDATE ops.schedules s
   SET next_tick_at = $4, last_tick_at = coalesce($3, s.last_tick_at),
       last_job_id = coalesce((SELECT max(enqueued.id) FROM enqueued), s.last_job_id)
 WHERE s.name = $1
RETURNING (SELECT coalesce(array_agg(enqueued.id ORDER BY enqueued.id), '{}') FROM enqueued)
              AS job_ids,
          extract(epoch FROM s.next_tick_at - clock_timestamp())::float8 AS next_in
"""

_PAUSE = """
UPDATE ops.schedules
   SET paused_at = clock_timestamp(), paused_by = $2, pause_reason = $3
 WHERE name = $1 AND paused_at IS NULL
RETURNING name
"""

_RESUME = """
UPDATE ops.schedules
   SET paused_at = NULL, paused_by = NULL, pause_reason = NULL,
       resumed_at = clock_timestamp(), resumed_by = $2, resume_reason = $3
 WHERE name = $1 AND paused_at IS NOT NULL
RETURNING name
"""

_ROWS = """
SELECT name, cron, timezone, job_type, catch_up, overlap, next_tick_at, last_tick_at, last_job_id,
       declared_at, declared_at >= clock_timestamp() - make_interval(secs => $1) AS declared,
       greatest(next_tick_at, resumed_at) < clock_timestamp() - make_interval(secs => $2)
           AS overdue,
       paused_at, paused_by, pause_reason, resumed_at, resumed_by, resume_reason,
       clock_timestamp() AS now
  FROM ops.schedules ORDER BY name LIMIT $3
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """A schedule of this process as a look finds it.

    ``due_in`` is seconds until its next tick, None while it is paused or not declared yet;
    ``foreign`` tells that the definition in force is that of another declaration.
    """

    name: str
    foreign_definition: bool
    to_declare: bool
    due_in: float | None


@dataclass(frozen=True, slots=True)
class Tick:
    """What became of the ticks that a schedule owed.

    ``since`` is the first of them, ``ticks`` are those that became jobs with ``job_ids``;
    ``running_job`` is the unended job for which all were skipped. ``next_in`` is in seconds.
    """

    since: datetime
    ticks: tuple[datetime, ...]
    job_ids: tuple[int, ...]
    late: bool
    cut: bool
    running_job: int | None
    next_in: float


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule in a list; ``now`` is the database's time."""

    name: str
    cron: str
    timezone: str
    job_type: str
    catch_up: str
    overlap: str
    next_tick_at: datetime
    last_tick_at: datetime | None
    last_job_id: int | None
    declared_at: datetime
    declared: bool
    overdue: bool
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    resumed_at: datetime | None
    resumed_by: str | None
    resume_reason: str | None
    now: datetime


async def now(conn: Connection) -> datetime:
    """The database's time, by which a process remembers when it started."""
    moment: datetime = await conn.fetchval(_NOW)
    return moment


async def declare(conn: Connection, schedules: Sequence[Schedule], started: datetime) -> None:
    """Put these definitions in force, except where a process that started later has spoken.

    ``started`` is when this process did, by the database's time.
    """
    moment = await now(conn)
    columns = zip(*(_row(schedule, moment) for schedule in schedules), strict=True)
    await conn.execute(_DECLARE, *map(list, columns), started, DECLARED_SECONDS)


def _row(schedule: Schedule, moment: datetime) -> tuple[object, ...]:
    return (
        schedule.name,
        schedule.cron.expression,
        schedule.cron.timezone,
        schedule.job_type,
        schedule.payload,
        schedule.tells_tick,
        schedule.priority,
        schedule.max_attempts,
        schedule.catch_up,
        schedule.overlap,
        schedule.fingerprint,
        schedule.cron.next_after(moment),
    )


async def look(conn: Connection, schedules: Sequence[Schedule], started: datetime) -> list[Seen]:
    """Say that this process declares these schedules, and see when each is due; one statement."""
    rows = await conn.fetch(
        _LOOK,
        [schedule.name for schedule in schedules],
        [schedule.fingerprint for schedule in schedules],
        started,
        DECLARED_SECONDS,
        MARK_SECONDS,
    )
    return [Seen(*row) for row in rows]


async def tick(conn: Connection, name: str) -> Tick | None:
    """Turn the ticks that are owed into jobs and move on, in one transaction.

    None if nothing is owed, or somebody else is at it. Raises ConfigurationError for a definition
    that this version does not understand.
    """
    async with transaction(conn):
        row = await conn.fetchrow(_TAKE, name)
        return None if row is None else await _tick(conn, name, row)


async def _tick(conn: Connection, name: str, row: Record) -> Tick:
    cron = Cron(row["cron"], row["timezone"])
    due = owed(
        cron,
        row["catch_up"],
        next_tick=row["next_tick_at"],
        last_tick=row["last_tick_at"],
        resumed=row["resumed_at"],
        now=row["now"],
    )
    ticks = () if row["running_job"] else due.ticks
    shown = [cron.local(each) for each in ticks]
    last, following = ticks[-1] if ticks else None, cron.next_after(row["now"])
    (done,) = await conn.fetch(_TICK, name, shown, last, following)
    return Tick(
        row["next_tick_at"],
        ticks,
        tuple(done["job_ids"]),
        due.late,
        due.cut,
        row["running_job"] if due.ticks else None,
        done["next_in"],
    )


async def pause(conn: Connection, name: str, by: str, reason: str) -> bool:
    """Stop a schedule's ticks; False if there is none of this name or it is paused."""
    return await conn.fetchval(_PAUSE, name, by, reason) is not None


async def resume(conn: Connection, name: str, by: str, reason: str) -> bool:
    """Let a schedule tick again, with what its catch_up says of the pause; False if it does."""
    return await conn.fetchval(_RESUME, name, by, reason) is not None


async def rows(conn: Connection) -> list[ScheduleRow]:
    """All schedules by name, those of vanished code too."""
    found = await conn.fetch(_ROWS, DECLARED_SECONDS, OVERDUE_SECONDS, MOST_ROWS)
    return [ScheduleRow(**dict(row)) for row in found]
