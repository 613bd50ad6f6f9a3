"""One handler run in place, with the outcomes of a real queue."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import anyio
import asyncpg
import pytest
from pydantic import BaseModel

from dragonfly import (
    Cancel,
    ConfigurationError,
    Job,
    JobMisuse,
    Reject,
    Retry,
    RetryPolicy,
    Snooze,
    Worker,
    enqueue,
)
from dragonfly.settings import Settings
from dragonfly.testing import Performed, perform

LATER = datetime(2030, 1, 1, tzinfo=UTC)


class Greeting(BaseModel):
    name: str
    times: int = 1


def worker_that(raises: BaseException) -> Worker:
    """A worker whose handler always raises."""
    worker = Worker("scripted")

    @worker.job("do", retry={KeyError: None, OSError: RetryPolicy(first=9, jitter=0, attempts=2)})
    async def do(job: Job[dict[str, Any]]) -> None:
        raise raises

    return worker


@pytest.fixture
def greeter() -> Worker:
    """The worker of the examples."""
    worker = Worker("greeter")

    @worker.job("greet")
    async def greet(job: Job[Greeting]) -> None:
        async with job.transaction() as conn:
            await job.progress(50, "half")
            await job.checkpoint({"next": job.payload.name})
            await enqueue(conn, "stamp", {"name": job.payload.name}, parent=job)
            if job.payload.times < 1:
                raise Reject("TOO_FEW", "greet at least once")
            job.complete({"greeted": job.payload.name})

    @worker.job("add")
    async def add(job: Job[dict[str, int]]) -> int:
        return sum(job.payload.values())

    return worker


async def status_of(conn: asyncpg.Connection, ran: Performed) -> tuple[Any, ...]:
    """What the table says of the job."""
    row = await conn.fetchrow("SELECT status, attempts FROM ops.jobs WHERE id = $1", ran.job_id)
    return tuple(row or ())


async def test_a_result_needs_no_database(greeter: Worker) -> None:
    """A handler that only computes is run without any connection."""
    assert Performed("completed", result=5) == await perform(greeter, "add", {"a": 2, "b": 3})


async def test_a_transaction_is_one_of_the_tests(greeter: Worker, conn: asyncpg.Connection) -> None:
    """complete(), progress, checkpoint and follow-up jobs are seen, and stand in the table."""
    ran = await perform(greeter, "greet", Greeting(name="Ada"), conn=conn)

    assert ("completed", {"greeted": "Ada"}, None) == (ran.outcome, ran.result, ran.error)
    assert (50, "half") == (ran.progress["percent"], ran.progress["sentence"])
    assert {"next": "Ada"} == ran.checkpoint
    assert [("stamp", {"name": "Ada"}, ran.job_id)] == [
        (job.job_type, job.payload, job.parent_id) for job in ran.enqueued
    ]
    assert ("completed", 1) == await status_of(conn, ran)


async def test_a_tests_transaction_takes_all_of_it_back(
    greeter: Worker, conn: asyncpg.Connection
) -> None:
    """Inside a transaction the handler's own is a savepoint, and the test's rollback goes last."""
    work = conn.transaction()
    await work.start()
    ran = await perform(greeter, "greet", {"name": "Ada"}, conn=conn)
    await work.rollback()

    assert "completed" == ran.outcome
    assert 0 == await conn.fetchval("SELECT count(*) FROM ops.jobs")


async def test_what_a_handler_rolled_back_is_not_there(
    greeter: Worker, conn: asyncpg.Connection
) -> None:
    """A handler that raises in its transaction has added, told and kept nothing."""
    async with conn.transaction():
        ran = await perform(greeter, "greet", {"name": "Ada", "times": 0}, conn=conn)

    assert ("rejected", "TOO_FEW: greet at least once") == (ran.outcome, ran.error)
    assert ((), None, None) == (ran.enqueued, ran.progress, ran.checkpoint)
    assert ("failed", 1) == await status_of(conn, ran)


async def test_a_payload_that_does_not_fit_is_rejected(greeter: Worker) -> None:
    """The payload is read as a worker would read it."""
    ran = await perform(greeter, "greet", {"nome": "Ada"})

    assert "rejected" == ran.outcome
    assert "PAYLOAD_INVALID: the payload of greet does not fit: name: Field required" == ran.error


@pytest.mark.parametrize(
    ("raised", "attempt", "expected"),
    [
        (Retry("not yet", after=60), 1, Performed("retried", error="not yet", delay=60)),
        (Retry("not yet"), 8, Performed("failed", error="not yet")),
        (Snooze(after=60), 1, Performed("snoozed", delay=60)),
        (Snooze(until=LATER), 1, Performed("snoozed", run_at=LATER)),
        (Reject("BAD", "no"), 1, Performed("rejected", error="BAD: no")),
        (Cancel("unwanted"), 1, Performed("cancelled", error="unwanted")),
        (KeyError(), 1, Performed("failed", error="KeyError")),
        (OSError(), 1, Performed("retried", error="OSError", delay=9)),
        (OSError(), 2, Performed("failed", error="OSError")),
        (ConnectionResetError(), 1, Performed("released", error="ConnectionResetError")),
    ],
)
async def test_outcomes_are_those_of_the_queue(
    raised: Exception, attempt: int, expected: Performed
) -> None:
    """What the handler raises decides, by its own policies and the table of failures."""
    ran = await perform(worker_that(raised), "do", {}, attempt=attempt)

    assert expected == ran
    assert raised is ran.exception


async def test_the_row_stands_as_a_worker_would_leave_it(conn: asyncpg.Connection) -> None:
    """Status, attempts and error are written; a snooze and a job given back use no attempt."""
    choices = [Retry("not yet"), Snooze(after=60), Reject("BAD", "no"), Cancel("unwanted")]
    for end in (*choices, KeyError(), ConnectionResetError()):
        await perform(worker_that(end), "do", {}, conn=conn)

    rows = await conn.fetch("SELECT status, attempts, last_error FROM ops.jobs ORDER BY id")
    assert [
        ("pending", 1, "not yet"),
        ("pending", 0, None),
        ("failed", 1, "BAD: no"),
        ("cancelled", 1, "unwanted"),
        ("failed", 1, "KeyError"),
        ("pending", 0, None),
    ] == [tuple(row) for row in rows]


async def test_a_timeout_is_kept() -> None:
    """A handler is cut off at its timeout, and nothing was raised by it."""
    worker = Worker("sleeper")

    @worker.job("sleep", timeout=0.01, retry={TimeoutError: None})
    async def sleep(job: Job[dict[str, Any]]) -> None:
        await anyio.sleep_forever()

    ran = await perform(worker, "sleep", {})

    assert Performed("failed", error="TIMEOUT: ran longer than 0.01 s") == ran
    assert ran.exception is None


@pytest.mark.parametrize("asks", ["transaction", "progress", "checkpoint"])
async def test_what_needs_a_database_says_so(asks: str) -> None:
    """Without a connection JobMisuse reaches the test, even if the handler swallows it."""
    worker = Worker("greeter")

    @worker.job("greet")
    async def greet(job: Job[Greeting]) -> None:
        try:
            match asks:
                case "progress":
                    await job.progress(1, "begun")
                case "checkpoint":
                    await job.checkpoint(1)
                case _:
                    async with job.transaction():
                        """Never reached."""
        except Exception as error:
            raise Cancel from error

    with pytest.raises(JobMisuse, match="pass a connection as conn="):
        await perform(worker, "greet", {"name": "Ada"})


async def test_a_misuse_of_the_handlers_own_is_an_outcome(conn: asyncpg.Connection) -> None:
    """What a handler does wrong with its job fails it as it would in a queue."""
    worker = Worker("greeter")

    @worker.job("greet", retry={JobMisuse: None})
    async def greet(job: Job[Greeting]) -> None:
        job.complete()

    ran = await perform(worker, "greet", {"name": "Ada"}, conn=conn)

    assert "failed" == ran.outcome
    assert isinstance(ran.exception, JobMisuse)


async def test_a_later_attempt(conn: asyncpg.Connection) -> None:
    """The handler finds the attempt, the checkpoint and the correlation id that it is given."""
    worker, correlation = Worker("resuming"), uuid4()

    @worker.job("resume")
    def resume(job: Job[dict[str, Any]]) -> list[Any]:
        return [job.attempt, job.last_checkpoint, str(job.correlation_id)]

    given: dict[str, Any] = {"attempt": 3, "checkpoint": {"row": 7}, "correlation_id": correlation}
    bare = await perform(worker, "resume", {}, **given)
    ran = await perform(worker, "resume", {}, conn=conn, **given)

    assert [3, {"row": 7}, str(correlation)] == bare.result == ran.result


async def test_resources_are_the_lifespans_or_the_tests() -> None:
    """The worker's lifespan is entered and left, unless the test brings something in its place."""
    story: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Settings) -> AsyncIterator[str]:
        story.append("opened")
        yield "real"
        story.append("closed")

    worker = Worker("lending", lifespan=lifespan)

    @worker.job("ask")
    async def ask(job: Job[dict[str, Any]]) -> Any:
        story.append("asked")
        return job.resources

    assert "real" == (await perform(worker, "ask", {})).result
    assert "fake" == (await perform(worker, "ask", {}, resources="fake")).result
    assert ["opened", "asked", "closed", "asked"] == story


async def test_an_unknown_job_type_is_named(greeter: Worker) -> None:
    """The sentence tells which types the worker takes."""
    with pytest.raises(ConfigurationError, match="takes no 'greeet' jobs; it takes: greet, add"):
        await perform(greeter, "greeet", {})


async def test_a_cancelled_job_is_lost(conn: asyncpg.Connection) -> None:
    """A handler whose job was taken away meanwhile commits nothing."""
    await conn.execute("CREATE TABLE public.effects (n integer)")
    worker = Worker("slow")

    @worker.job("work")
    async def work(job: Job[dict[str, Any]]) -> None:
        await conn.execute(
            "UPDATE ops.jobs SET status = 'cancelled', finished_at = clock_timestamp(),"
            " lock_token = NULL, locked_until = NULL"
        )
        async with job.transaction() as tx:
            await tx.execute("INSERT INTO public.effects VALUES (1)")
            job.complete()

    ran = await perform(worker, "work", {}, conn=conn)

    assert "lost" == ran.outcome
    assert ("cancelled", 1) == await status_of(conn, ran)
    assert 0 == await conn.fetchval("SELECT count(*) FROM public.effects")


async def test_a_result_that_json_cannot_hold(conn: asyncpg.Connection) -> None:
    """It fails the job, as it would in a queue."""
    worker = Worker("odd")

    @worker.job("count")
    async def count(job: Job[dict[str, Any]]) -> float:
        return float("nan")

    ran = await perform(worker, "count", {}, conn=conn)
    kept = await conn.fetchval("SELECT errors FROM ops.jobs")

    assert "failed" == ran.outcome
    assert ran.error == json.loads(kept)[0]["error"]
