"""What a handler declares about its failures, and what becomes of its jobs."""

from __future__ import annotations

from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly import (
    ConfigurationError,
    InputRefused,
    Job,
    JobLost,
    Reject,
    Retry,
    RetryPolicy,
    Snooze,
    UnfitValue,
    Worker,
    enqueue_many,
)
from dragonfly.events import CrashLoopDetected, JobFinished
from dragonfly.job import Claim
from dragonfly.retries import RetryRules, read_rules
from dragonfly.runtime.outcomes import HandlerTimeout, Verdict, ending_of
from tests.support import drain, running

EXACT = RetryPolicy(first=30, cap=300, jitter=0)


class ServerBusy(Exception):
    """A failure of somebody else's server."""


class ServerVeryBusy(ServerBusy):
    """A more specific one."""


def claim(attempt: int = 1, max_attempts: int = 8) -> Claim:
    """A job in the hands of its worker."""
    return Claim(7, "fetch", "{}", attempt, max_attempts, 0, 99, None, None)


def fate(
    rules: RetryRules[Any] | None, error: BaseException, attempt: int = 1, max_attempts: int = 8
) -> tuple[str, float | None]:
    """How the attempt ends, and after how many seconds the next one begins."""
    ending = ending_of(claim(attempt, max_attempts), error, read_rules("fetch", rules))
    assert ending.finish is not None
    return ending.outcome, ending.finish.delay


@pytest.mark.parametrize(
    ("error", "attempt", "expected"),
    [
        (ServerBusy(), 1, ("retried", 30)),
        (ServerBusy(), 4, ("retried", 240)),
        (ServerBusy(), 5, ("retried", 300)),
        (ServerBusy(), 7, ("retried", 300)),
        (ServerBusy(), 8, ("failed", None)),
        (ServerVeryBusy(), 2, ("retried", 60)),
        (ServerVeryBusy(), 3, ("failed", None)),
        (ValueError(), 1, ("failed", None)),
        (UnicodeError(), 1, ("failed", None)),
        (ExceptionGroup("in a group", [ValueError()]), 1, ("failed", None)),
        (ExceptionGroup("in a group", [ServerBusy()]), 3, ("retried", 120)),
        (TimeoutError(), 2, ("retried", 2)),
        (TimeoutError(), 3, ("failed", None)),
        (HandlerTimeout(5), 3, ("failed", None)),
        (KeyError(), 2, ("failed", None)),
        (Retry(after=7), 7, ("retried", 7)),
    ],
)
def test_the_most_specific_class_decides(
    error: Exception, attempt: int, expected: tuple[str, float | None]
) -> None:
    """A failure goes by the policy of its nearest declared class, pause and number of attempts."""
    rules = {
        ServerBusy: EXACT,
        ServerVeryBusy: RetryPolicy(first=30, jitter=0, attempts=3),
        ValueError: None,
        TimeoutError: RetryPolicy(first=1, jitter=0, attempts=3),
    }

    assert expected == fate(rules, error, attempt)


def test_a_job_never_runs_more_often_than_it_says() -> None:
    """The job's own max_attempts is a bound for every policy."""
    rules = {ServerBusy: RetryPolicy(attempts=20)}

    assert "failed" == fate(rules, ServerBusy(), attempt=2, max_attempts=2)[0]


def test_one_policy_for_everything() -> None:
    """A policy in place of a mapping gives every failure its attempts, defects included."""
    policy = RetryPolicy(first=30, jitter=0, attempts=3)
    fates = [
        fate(policy, error, attempt)
        for error in (KeyError(), TimeoutError(), Retry())
        for attempt in (2, 3)
    ]

    assert 3 * [("retried", 60), ("failed", None)] == fates


def test_a_rule_for_exception_is_the_usual_one() -> None:
    """Exception stands for whatever no other class names, a Retry without a pause included."""
    rules = {Exception: EXACT, ValueError: None}
    fates = [fate(rules, error, 3) for error in (KeyError(), Retry(), TimeoutError())]

    assert 3 * [("retried", 120)] == fates
    assert ("failed", None) == fate(rules, ValueError())
    assert ("retried", 120) == fate(rules, ExceptionGroup("a group", [KeyError()]), 3)


def test_a_group_may_be_named_itself() -> None:
    """A class of groups goes before what is in the group."""
    rules = {ExceptionGroup: None, ServerBusy: EXACT}

    assert ("failed", None) == fate(rules, ExceptionGroup("several", [ServerBusy()]))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.UndefinedTableError('relation "x" does not exist'),
        ConfigurationError("the schema is old"),
    ],
)
def test_what_is_not_the_jobs_fault_stays_so(error: Exception) -> None:
    """A database that is away, and a configuration, give the attempt back whatever is declared."""
    ending = ending_of(claim(), error, read_rules("fetch", {Exception: None, OSError: None}))

    assert ending.finish is not None
    assert ("released", True) == (ending.outcome, ending.finish.refund)


def test_errors_of_the_database_may_be_declared() -> None:
    """A deadlock, or a constraint that was broken, is a class like any other."""
    rules = {asyncpg.UniqueViolationError: None, asyncpg.DeadlockDetectedError: EXACT}

    assert ("failed", None) == fate(rules, asyncpg.UniqueViolationError())
    assert ("retried", 60) == fate(rules, asyncpg.DeadlockDetectedError(), 2)


@pytest.mark.parametrize("rules", [None, {ValueError: None}, {ValueError: EXACT}])
def test_the_worker_counts_what_it_counted(rules: RetryRules[Any] | None) -> None:
    """What is declared changes the job's way, not whether the worker has failed."""
    ending = ending_of(claim(), ValueError(), read_rules("fetch", rules))

    assert Verdict.COUNTED is ending.verdict


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([ValueError], "is a list"),
        ({"ValueError": None}, "names 'ValueError', which is no class of exceptions"),
        ({ValueError(): None}, "which is no class of exceptions"),
        ({SystemExit: None}, "which is no class of exceptions"),
        ({ValueError: 3}, "gives ValueError a int"),
        ({ValueError: False}, "gives ValueError a bool"),
        ({Reject: None}, "names Reject, which says by itself what becomes of the job"),
        ({Snooze: EXACT}, "names Snooze, which says by itself"),
        ({JobLost: EXACT}, "names JobLost, which says by itself"),
        ({UnfitValue: EXACT}, "names UnfitValue, which says by itself"),
        ({InputRefused: EXACT}, "names InputRefused, which says by itself"),
        ({ConnectionResetError: None}, "for which a job never loses an attempt"),
        ({ConfigurationError: None}, "for which a job never loses an attempt"),
    ],
)
def test_rules_that_do_not_fit_are_refused(rules: Any, words: str) -> None:
    """What could not be kept is refused where the handler is declared, with a sentence."""
    worker = Worker("fetcher")

    with pytest.raises(ConfigurationError, match=words):
        worker.job("fetch", retry=rules)


@pytest.mark.parametrize(
    "values",
    [
        {"first": -1},
        {"first": float("nan")},
        {"cap": float("inf")},
        {"jitter": 1.5},
        {"attempts": 0},
    ],
)
def test_policies_that_do_not_fit_are_refused(values: dict[str, Any]) -> None:
    """A policy names the argument that makes no sense."""
    (name,) = values
    with pytest.raises(ConfigurationError, match=f"{name}="):
        RetryPolicy(**values)


async def test_jobs_go_by_their_policies(dsn: str, conn: asyncpg.Connection) -> None:
    """On a real queue one job is failed at once, one after its attempts, one at its timeout."""
    worker = Worker("fetcher", concurrency=3)

    @worker.job(
        "fetch",
        timeout=0.05,
        retry={
            ServerBusy: RetryPolicy(first=0.001, attempts=3),
            ValueError: None,
            TimeoutError: None,
        },
    )
    async def fetch(job: Job[dict[str, str]]) -> None:
        match job.payload["meets"]:
            case "a busy server":
                raise ServerBusy("not now")
            case "bad input":
                raise ValueError("no number")
        await anyio.sleep_forever()

    met = ["a busy server", "bad input", "silence"]
    await enqueue_many(conn, "fetch", [{"meets": what} for what in met])
    async with running(dsn, worker) as (_, seen):
        await seen.wait_for(JobFinished, lambda event: event.outcome == "failed", count=3)

    rows = await conn.fetch("SELECT status, attempts, last_error FROM ops.jobs ORDER BY id")
    assert [
        ("failed", 3, "ServerBusy: not now"),
        ("failed", 1, "ValueError: no number"),
        ("failed", 1, "TIMEOUT: ran longer than 0.05 s"),
    ] == [tuple(row) for row in rows]


async def test_declared_failures_are_a_crash_loop_too(dsn: str, conn: asyncpg.Connection) -> None:
    """Ten jobs in a row that fail by a declared class bring the worker down as any others do."""
    worker = Worker("fetcher")

    @worker.job("fetch", retry={ServerBusy: None})
    async def fetch(job: Job[dict[str, str]]) -> None:
        raise ServerBusy

    await enqueue_many(conn, "fetch", [{}] * 12)
    code, seen = await drain(dsn, worker, backoff_scale=0.001)

    assert (1, 1) == (code, len(seen.of(CrashLoopDetected)))
    assert 10 == await conn.fetchval("SELECT count(*) FROM ops.jobs WHERE status = 'failed'")
