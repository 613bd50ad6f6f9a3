"""Why a job does not run, in words: one sentence, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dragonfly.ops.findings import age
from dragonfly.ops.queue_report import look
from dragonfly.queue.why import Cause, Standing, standing

if TYPE_CHECKING:
    from asyncpg import Connection

# a rate of what ended so lately tells when a waiting job may start
WINDOW_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Explanation:
    """``starts_in`` is the expected wait in seconds, None where nothing tells."""

    standing: Standing
    starts_in: float | None
    sentence: str


async def explain(
    conn: Connection, job_id: int, heartbeat: float, crash_budget: int
) -> Explanation | None:
    """Look at the job as a claim would; None if there is none. ``heartbeat`` is in seconds."""
    found = await standing(conn, job_id, crash_budget)
    if found is None:
        return None
    starts_in = await _starts_in(conn, found, heartbeat)
    return Explanation(found, starts_in, _sentence(found, starts_in))


async def _starts_in(conn: Connection, found: Standing, heartbeat: float) -> float | None:
    if found.cause is not Cause.NEXT:
        return None
    if not found.ahead:
        return 0.0
    report = await look(conn, WINDOW_SECONDS, heartbeat)
    flows = [flow for _, _, flow in report.types() if flow and flow.job_type in found.job_types]
    rate = sum((f.completed + f.failed) / f.ended_over for f in flows if f.ended_over > 0)
    return found.ahead / rate if rate else None


def _sentence(found: Standing, starts_in: float | None) -> str:
    match found.cause:
        case Cause.ENDED:
            return _ended(found)
        case Cause.RUNNING:
            return f"It runs on {found.locked_by}, whose lock was renewed {_ago(found.held_for)}."
        case Cause.NOT_DUE:
            return f"It is not due before {_moment(found.run_at)}, in {age(found.due_in)}."
        case Cause.PAUSED:
            return _paused(found)
        case Cause.NO_WORKER:
            return _no_worker(found)
        case Cause.CIRCUIT_OPEN:
            return (
                f"The circuit of {found.job_type} is open in every worker that takes it: "
                f"{found.circuit}. Mend that; the workers try again by themselves."
            )
        case _:
            return _among_others(found, starts_in)


def _among_others(found: Standing, starts_in: float | None) -> str:
    match found.cause:
        case Cause.ONE_RUNS_ALONE:
            return (
                f"Job {found.blocker} runs alone on {found.blocker_on}, because one more crash "
                f"would fail it: until its end nothing else starts there, and no other living "
                f"process takes {found.job_type} jobs. To go on meanwhile, start one that does."
            )
        case Cause.KEY_BUSY:
            return _key_busy(found)
        case Cause.SUSPECT_WAITS:
            return _suspect(found)
        case Cause.LAST_CHANCE:
            return _last_chance(found)
        case _:
            return _next(found, starts_in)


def _ended(found: Standing) -> str:
    when = f"It is {found.status} since {_moment(found.finished_at)}"
    told = (found.last_error or "").removeprefix(f"{found.status}: ")
    error = f": {told}" if told and found.status != "completed" else ""
    again = " To run it again: dragonfly jobs retry." if found.status != "completed" else ""
    return f"{when}{error}.{again}"


def _paused(found: Standing) -> str:
    until = f" until {_moment(found.paused_until)}" if found.paused_until else ""
    return (
        f"Jobs of type {found.job_type} are paused{until} by {found.paused_by}: "
        f"{found.pause_reason}. To let them run: dragonfly queue resume {found.job_type}."
    )


def _no_worker(found: Standing) -> str:
    if found.last_seen is None:
        return f"No worker has ever taken {found.job_type} jobs here; start one that does."
    return (
        f"No living worker takes {found.job_type} jobs; the last one spoke {_ago(found.last_seen)}."
        " See: dragonfly workers."
    )


def _key_busy(found: Standing) -> str:
    key = f"Its key {found.concurrency_key!r} is busy (at most {found.per_key} at once)"
    runs = f": job {found.blocker} runs on {found.blocker_on}" if found.blocker else ""
    waits = f"; {_before(found, 'of the key ')}" if found.ahead else ""
    return f"{key}{runs}{waits}."


def _suspect(found: Standing) -> str:
    until = "until an attempt of its own ends, " if found.crashes == 1 else ""
    alone = f"It was in flight when a process died, so {until}it runs alone, one such job at a time"
    runs = f": job {found.blocker} runs on {found.blocker_on}" if found.blocker else ""
    waits = f"; {_before(found)}" if found.ahead else ""
    return f"{alone}{runs}{waits}."


def _last_chance(found: Standing) -> str:
    runs = f" (job {found.blocker} on {found.blocker_on})" if found.blocker else ""
    return (
        f"It was in flight at {found.crashes} crashes and one more fails it, so it runs alone, and "
        f"every process that takes it holds other jobs{runs}. They empty themselves for it now and "
        "then; one that is started now takes it sooner."
    )


def _next(found: Standing, starts_in: float | None) -> str:
    if not found.ahead:
        return "Nothing keeps it: it is the next of its workers' jobs, as soon as a slot is free."
    when = (
        f"at the pace of the last {age(WINDOW_SECONDS)} it starts in about {age(starts_in)}"
        if starts_in is not None
        else f"none of them ended in the last {age(WINDOW_SECONDS)}"
    )
    return f"It waits its turn: {_before(found)}; {when}."


def _before(found: Standing, of: str = "") -> str:
    if found.ahead == 1:
        return f"1 job {of}comes before it"
    return f"{found.ahead:,}{'' if found.ahead_exact else ' or more'} jobs {of}come before it"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _ago(seconds: float | None) -> str:
    return "some time ago" if seconds is None else f"{age(max(seconds, 0))} ago"
