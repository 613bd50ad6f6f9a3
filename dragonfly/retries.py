"""What a handler declares about its failures: which are tried again, when, and how often. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from dragonfly.errors import ConfigurationError, InputRefused, JobLost, UnfitValue
from dragonfly.job import Cancel, Reject, Retry, RetryPolicy, Snooze

# a variable, so that a dict of some classes of exceptions is a mapping of classes of exceptions
ErrorClass = TypeVar("ErrorClass", bound=type[Exception])
RetryRules: TypeAlias = RetryPolicy | Mapping[ErrorClass, RetryPolicy | None]

_NEVER = RetryPolicy(attempts=1)
_OUTCOMES = (Reject, Retry, Snooze, Cancel, InputRefused, JobLost, UnfitValue)
# the table of failures gives the attempt back for these, whoever raised them
_NOT_THE_JOBS_FAULT = (ConnectionError, ConfigurationError)


@dataclass(frozen=True, slots=True)
class Retries:
    """A handler's rules: ``usual`` for what no class in ``by_class`` names."""

    usual: RetryPolicy
    by_class: Mapping[type[Exception], RetryPolicy]

    def declared_for(self, error: BaseException) -> RetryPolicy | None:
        """The policy of the most specific class of ``error`` that has one; None if none has.

        Of a group of exceptions its first leaf decides, unless the group's own class is named.
        """
        for parent in type(error).__mro__:
            if parent in self.by_class and not _is_mere_group(error, parent):
                return self.by_class[parent]
        if isinstance(error, BaseExceptionGroup):
            return self.declared_for(error.exceptions[0])
        return None


def _is_mere_group(error: BaseException, named: type) -> bool:
    """A rule for Exception means what went wrong, not the group it came in."""
    return isinstance(error, BaseExceptionGroup) and not issubclass(named, BaseExceptionGroup)


def read_rules(job_type: str, rules: RetryRules[ErrorClass] | None) -> Retries:
    """Check what ``retry=`` of a handler was given; ConfigurationError says what does not fit."""
    if rules is None or isinstance(rules, RetryPolicy):
        return Retries(rules or RetryPolicy(), {})
    if not isinstance(rules, Mapping):
        raise ConfigurationError(
            f"retry= of {job_type!r} is a {type(rules).__name__}; give a RetryPolicy, or a mapping "
            "of exception classes to a RetryPolicy, or to None for those never to be retried."
        )
    for error, policy in rules.items():
        _check(job_type, error, policy)
    by_class: dict[type[Exception], RetryPolicy] = {
        error: policy or _NEVER for error, policy in rules.items()
    }
    usual = by_class.get(Exception, _NEVER)
    return Retries(RetryPolicy() if usual is _NEVER else usual, by_class)


def _check(job_type: str, error: Any, policy: Any) -> None:
    if not (isinstance(error, type) and issubclass(error, Exception)):
        raise ConfigurationError(
            f"retry= of {job_type!r} names {error!r}, which is no class of exceptions."
        )
    if issubclass(error, _OUTCOMES):
        raise ConfigurationError(
            f"retry= of {job_type!r} names {error.__name__}, which says by itself what becomes of "
            "the job; leave it out."
        )
    if issubclass(error, _NOT_THE_JOBS_FAULT):
        raise ConfigurationError(
            f"retry= of {job_type!r} names {error.__name__}, for which a job never loses an "
            "attempt, since the database may be away; where you mean another server, raise an "
            "exception of your own."
        )
    if not (policy is None or isinstance(policy, RetryPolicy)):
        raise ConfigurationError(
            f"retry= of {job_type!r} gives {error.__name__} a {type(policy).__name__}; give it a "
            "RetryPolicy, or None if it is never to be retried."
        )
