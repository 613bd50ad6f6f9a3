"""What the end of an attempt means: the row to write, and what the worker should make of it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import PurePath
from typing import Any

from dragonfly.errors import InputRefused, JobLost, UnfitValue
from dragonfly.job import (
    Cancel,
    Claim,
    Finish,
    JobStatus,
    Reject,
    Retry,
    RetryPolicy,
    Snooze,
    to_json,
)
from dragonfly.postgres.failures import Failure, classify, describe
from dragonfly.redaction import storable
from dragonfly.retries import Retries

BUG_ATTEMPTS = 2
# characters of a reason that a handler words; it may hold a path or a header as long as the input
LONGEST_REASON = 2000
FRAMES_MOST = 15


class Verdict(Enum):
    """What a finished attempt says about its worker."""

    SUCCESS = auto()
    NEUTRAL = auto()  # a choice of the handler, or input nobody can mend: neither counts nor resets
    COUNTED = auto()
    AWAY = auto()
    CONFIGURATION = auto()


@dataclass(frozen=True, slots=True)
class Ending:
    """``finish`` is None when there is nothing left to write."""

    finish: Finish | None
    verdict: Verdict
    outcome: str
    reason: str | None = None


# shared by all: making one a job would be a tenth of a short job's cost
COMPLETED = Ending(None, Verdict.SUCCESS, "completed")
GIVEN_BACK = Ending(None, Verdict.NEUTRAL, "released")


class HandlerTimeout(TimeoutError):
    """The handler ran longer than its declaration allows."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"TIMEOUT: ran longer than {seconds:g} s")


def completed(claim: Claim) -> Finish:
    """The finish of an ordinary success without a result."""
    return Finish(claim.id, claim.lock_token, JobStatus.COMPLETED)


def succeeded(claim: Claim, result: Any) -> Ending:
    """The end of a handler that returned; UnfitValue if JSON cannot hold what it returned."""
    finish = Finish(claim.id, claim.lock_token, JobStatus.COMPLETED, to_json(result))
    return Ending(finish, Verdict.SUCCESS, "completed")


def released(claim: Claim) -> Finish:
    """Back to pending as if it had never been claimed: due at once, the attempt refunded."""
    return Finish(claim.id, claim.lock_token, JobStatus.PENDING, refund=True)


def failed(claim: Claim, error: str, detail: str | None = None) -> Finish:
    """The dead-letter state."""
    return Finish(claim.id, claim.lock_token, JobStatus.FAILED, error=_kept(error), detail=detail)


def _kept(reason: str) -> str:
    return storable(reason[:LONGEST_REASON])


def unwritable(finish: Finish) -> Finish:
    """What to write instead of a result that PostgreSQL refused."""
    return Finish(
        finish.job_id,
        finish.lock_token,
        JobStatus.FAILED,
        error="RESULT_INVALID: PostgreSQL cannot hold what the handler returned or raised",
    )


def ending_of(claim: Claim, error: BaseException, retries: Retries) -> Ending:
    """The end of an attempt that raised, by the table of failures and outcomes: one row a case."""
    match error:
        case Reject():
            return _ended(failed(claim, f"{error.code}: {error.message}"), Verdict.NEUTRAL)
        case InputRefused():
            return _ended(failed(claim, f"{error.code}: {error.message}"), Verdict.NEUTRAL)
        case Snooze():
            pending = released(claim)._replace(delay=error.after, run_at=error.until, acquits=True)
            return Ending(pending, Verdict.NEUTRAL, "snoozed")
        case JobLost():
            return Ending(None, Verdict.NEUTRAL, "lost")
        case Cancel():
            reason = _kept(error.reason)
            cancelled = Finish(claim.id, claim.lock_token, JobStatus.CANCELLED, error=reason)
            return _ended(cancelled, Verdict.NEUTRAL)
        case Retry():
            reason = _kept(error.reason)
            return _again(claim, reason, None, error.after, retries.usual, Verdict.NEUTRAL)
        case UnfitValue():
            return _ended(failed(claim, str(error)), Verdict.COUNTED)
        case HandlerTimeout():
            policy = retries.declared_for(error) or retries.usual
            return _again(claim, str(error), None, None, policy, Verdict.COUNTED)
    return _ending_of_failure(claim, error, retries)


def _ending_of_failure(claim: Claim, error: BaseException, retries: Retries) -> Ending:
    reason = describe(error)
    match classify(error):
        case Failure.AWAY:
            return Ending(released(claim), Verdict.AWAY, "released", reason)
        case Failure.CONFIGURATION:
            pending = released(claim)._replace(error=reason)
            return Ending(pending, Verdict.CONFIGURATION, "released", reason)
        case Failure.TRANSIENT:
            policy = retries.declared_for(error) or retries.usual
            return _again(claim, reason, None, None, policy, Verdict.COUNTED)
        case _:
            return bug(claim, error, retries)


def bug(claim: Claim, error: BaseException, retries: Retries) -> Ending:
    """As often as the handler declares, else once more; then failed, with where it happened."""
    policy = retries.declared_for(error)
    if policy is None:
        policy = replace(retries.usual, attempts=retries.usual.attempts or BUG_ATTEMPTS)
    return _again(claim, describe(error), where(error), None, policy, Verdict.COUNTED)


def _again(
    claim: Claim,
    reason: str,
    detail: str | None,
    after: float | None,
    policy: RetryPolicy,
    verdict: Verdict,
) -> Ending:
    if claim.attempt >= policy.most_attempts(claim):
        return _ended(failed(claim, reason, detail), verdict)
    delay = after if after is not None else policy.delay(claim.attempt)
    pending = Finish(
        claim.id,
        claim.lock_token,
        JobStatus.PENDING,
        error=reason,
        detail=detail,
        delay=delay,
        acquits=True,
    )
    return Ending(pending, verdict, "retried", reason)


def _ended(finish: Finish, verdict: Verdict) -> Ending:
    return Ending(finish, verdict, finish.status.value, finish.error)


def where(error: BaseException) -> str:
    """The traceback without source lines and values: file, line and function of each frame."""
    if isinstance(error, BaseExceptionGroup):
        return where(error.exceptions[0])
    frames = traceback.extract_tb(error.__traceback__)
    return "\n".join(
        place(frame.filename, frame.lineno, frame.name) for frame in frames[-FRAMES_MOST:]
    )


def place(filename: str, line: int | None, function: str) -> str:
    """A frame of a stack in a few words: folder/file:line in function."""
    return f"{'/'.join(PurePath(filename).parts[-2:])}:{line} in {function}"
