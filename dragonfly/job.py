"""A job as its handler sees it, the outcomes a handler may choose, and the retry schedule.

Pure: what a job can do to the database is handed to it as a ``Desk`` value by the runtime.
"""

from __future__ import annotations

import json
import math
import random
import re
import uuid
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from pydantic_core import to_json as _encode

from dragonfly.errors import ConfigurationError, JobMisuse, UnfitValue

if TYPE_CHECKING:
    from asyncpg import Connection

Payload = TypeVar("Payload")

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class JobStatus(StrEnum):
    """The life of a job; ``failed`` is the dead-letter state."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Claim(NamedTuple):
    """One row of a claim: the job, and the token that fences every later write about it.

    ``payload`` and ``checkpoint`` are JSON text; ``attempt`` counts from 1. The fields stand in the
    order of the columns that a claim answers.
    """

    id: int
    job_type: str
    payload: str
    attempt: int
    max_attempts: int
    crashes: int
    lock_token: int
    correlation_id: uuid.UUID | None
    checkpoint: str | None


class Finish(NamedTuple):
    """What is to be written about a claimed job, under its fence.

    ``result`` is JSON text. ``delay`` (seconds from the database's now) or ``run_at`` say when a
    job that goes back to pending is due; both None leaves its time. ``refund`` returns the attempt.
    ``acquits``: the handler came to an end of its own, so if the job goes back to pending, the
    charge of a first crash is taken back.
    """

    job_id: int
    lock_token: int
    status: JobStatus
    result: str | None = None
    error: str | None = None
    detail: str | None = None
    delay: float | None = None
    run_at: datetime | None = None
    refund: bool = False
    acquits: bool = False


class Retry(Exception):
    """Run the job again after a pause, by default the usual one; uses up the attempt."""

    def __init__(
        self,
        reason: str = "the handler asked for a retry",
        *,
        after: timedelta | float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = _seconds("Retry", after)


class Snooze(Exception):
    """Put the job off until a time or for a while; the attempt is given back."""

    def __init__(
        self, *, until: datetime | None = None, after: timedelta | float | None = None
    ) -> None:
        if (until is None) == (after is None):
            raise JobMisuse("Snooze takes either until= or after=.")
        if until is not None and until.tzinfo is None:
            raise JobMisuse("Snooze(until=…) needs a time with a time zone.")
        super().__init__("snoozed")
        self.until = until
        self.after = _seconds("Snooze", after)


class Reject(Exception):
    """The input cannot be used, now or later: the job is failed with this code and sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Cancel(Exception):
    """The job is no longer wanted: it is cancelled with this reason."""

    def __init__(self, reason: str = "the handler cancelled it") -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The pause before the next attempt: ``first`` s, doubled each time, at most ``cap``, ±20 %.

    ``attempts`` is how often the job may run in all; None leaves that to the job's
    ``max_attempts``, and to the table of failures. Whatever is reached first counts.
    """

    first: float = 5.0
    cap: float = 900.0
    jitter: float = 0.2
    attempts: int | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.first < math.inf and 0 <= self.cap < math.inf):
            raise ConfigurationError("RetryPolicy takes first= and cap= in seconds, 0 or more.")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError("RetryPolicy takes jitter= from 0 to 1: 0.2 is ±20 %.")
        if self.attempts is not None and self.attempts < 1:
            raise ConfigurationError("RetryPolicy takes attempts= of 1 (never again) or more.")

    def most_attempts(self, claim: Claim) -> int:
        """How often this job may run in all."""
        return min(self.attempts or claim.max_attempts, claim.max_attempts)

    def delay(self, attempt: int) -> float:
        """Seconds to wait after attempt number ``attempt`` (1 or more) failed."""
        plain = min(self.first * 2.0 ** min(attempt - 1, 30), self.cap)
        return plain * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311


class Desk(Protocol):
    """What the runtime lends a job: the database, under the job's fence."""

    def transaction(self, job: Job[Any]) -> AbstractAsyncContextManager[Connection]: ...

    async def progress(self, job: Job[Any], percent: float, sentence: str) -> None: ...

    async def checkpoint(self, job: Job[Any], value: str) -> None: ...


class Job(Generic[Payload]):
    """A claimed job in the hands of its handler."""

    __slots__ = ("claim", "completion", "connection", "desk", "finished", "payload", "resources")

    def __init__(self, claim: Claim, payload: Payload, desk: Desk, resources: Any = None) -> None:
        self.claim = claim
        self.payload = payload
        self.desk = desk
        self.resources = resources
        self.connection: Connection | None = None
        self.completion: Completion | None = None
        self.finished = False

    @property
    def id(self) -> int:
        return self.claim.id

    @property
    def job_type(self) -> str:
        return self.claim.job_type

    @property
    def attempt(self) -> int:
        """1 for the first try."""
        return self.claim.attempt

    @property
    def max_attempts(self) -> int:
        """How often the job may run in all, whatever a policy says."""
        return self.claim.max_attempts

    @property
    def correlation_id(self) -> uuid.UUID | None:
        return self.claim.correlation_id

    @property
    def last_checkpoint(self) -> Any:
        """What an earlier attempt passed to ``checkpoint``; None if there was none."""
        return None if self.claim.checkpoint is None else json.loads(self.claim.checkpoint)

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction that commits only while this job is still ours.

        ``now()`` in it is never before the job's claim; of short jobs that follow each other it may
        be 10 ms older than the block. Raises JobLost (and rolls back) if another worker holds the
        job at the end.
        """
        return self.desk.transaction(self)

    def complete(self, result: Any = None) -> None:
        """Finish the job in the commit of the open ``transaction()``, exactly once.

        Raises JobMisuse outside a transaction, UnfitValue for a result JSON cannot hold.
        """
        if self.connection is None:
            raise JobMisuse(
                "job.complete() works only inside `async with job.transaction()`; "
                "to finish without one, return the result."
            )
        self.completion = Completion(to_json(result))

    async def progress(self, percent: float, sentence: str) -> None:
        """Tell watchers how far the job is; inside ``transaction()`` it shows at the commit.

        Raises JobMisuse for a percentage that is not from 0 to 100, JobLost as ``transaction()``.
        """
        if not 0 <= percent <= 100:
            raise JobMisuse(f"job.progress() takes a percentage from 0 to 100, not {percent!r}.")
        await self.desk.progress(self, percent, sentence)

    async def checkpoint(self, value: Any) -> None:
        """Keep a JSON value for the next attempt, should this one not finish."""
        text = to_json(value)
        if text is None:
            raise JobMisuse("job.checkpoint(None) would keep nothing; pass a JSON value.")
        await self.desk.checkpoint(self, text)


class Completion(NamedTuple):
    """The result (JSON text) that the open transaction's commit will write."""

    result: str | None


def to_json(value: Any) -> str | None:
    """JSON text for jsonb, None for None.

    Takes what JSON has, and dates, UUIDs, decimals, dataclasses and pydantic models in it.
    Raises UnfitValue for NaN, NUL characters, lone surrogates and other objects.
    """
    if value is None:
        return None
    try:
        text = _encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UnfitValue(
            f"RESULT_INVALID: the value is not JSON ({type(error).__name__})."
        ) from None
    # looked for in this order: a search for the odd would cost more than all the rest
    if "NaN" in text or "Infinity" in text:
        _refuse_constants(text)
    if "\\u0000" in text and _NUL.search(text):
        raise UnfitValue("RESULT_INVALID: the value holds a character that jsonb cannot.")
    return text


def _refuse_constants(text: str) -> None:
    def refuse(constant: str) -> None:
        raise UnfitValue(f"RESULT_INVALID: the value is not JSON ({constant}).")

    json.loads(text, parse_constant=refuse)


def _seconds(outcome: str, value: timedelta | float | None) -> float | None:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is not None and not 0 <= seconds < math.inf:
        raise JobMisuse(f"{outcome}(after=…) takes seconds from now, 0 or more, not {seconds:g}.")
    return seconds
