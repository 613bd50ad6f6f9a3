"""A worker as it is declared: a name, a number of slots, and one handler per job type. Pure."""

from __future__ import annotations

import inspect
import math
import re
import sys
import typing
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dragonfly.errors import ConfigurationError
from dragonfly.job import Job, Reject
from dragonfly.redaction import HIDDEN, plain_words
from dragonfly.retries import ErrorClass, Retries, RetryRules, read_rules
from dragonfly.schedule import CatchUp, Overlap, Payload, Schedule, declare
from dragonfly.settings import Settings

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
# any parameter name, any Job[P], async or not; the decorator gives back exactly what it took
_Function = TypeVar("_Function", bound=Callable[[Job[Any]], Any])
Lifespan = Callable[[Settings], AbstractAsyncContextManager[Any]]


@dataclass(slots=True)
class Handler:
    """What runs jobs of one type: ``timeout`` in seconds, or None for no limit.

    ``decode`` turns payload JSON into the annotated type, or raises Reject.
    """

    job_type: str
    function: Callable[[Job[Any]], Any]
    payload_type: Any
    timeout: float | None
    retries: Retries
    keep_days: float | None
    is_async: bool = field(init=False)
    decode: Callable[[str], Any] = field(init=False)

    def __post_init__(self) -> None:
        self.is_async = inspect.iscoroutinefunction(self.function)
        self.decode = _decoder(self.job_type, self.payload_type)


class Worker:
    """A declaration: which job types it takes, and how many jobs it runs at once.

    Of jobs enqueued with one ``concurrency_key`` it starts one only while fewer than
    ``concurrency_per_key`` run anywhere. ``lifespan(settings)`` is entered once per start; what it
    yields is ``job.resources``.
    """

    def __init__(
        self,
        name: str,
        *,
        concurrency: int = 1,
        concurrency_per_key: int = 1,
        timeout: float | None = None,
        lifespan: Lifespan | None = None,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"Worker name {name!r} must be lower-case letters, digits, - and _, "
                "start with a letter, and be at most 63 long."
            )
        if concurrency < 1:
            raise ConfigurationError(f"Worker {name!r} needs concurrency of at least 1.")
        if concurrency_per_key < 1:
            raise ConfigurationError(f"Worker {name!r} needs concurrency_per_key of at least 1.")
        self.name = name.replace("_", "-")
        self.concurrency = concurrency
        self.concurrency_per_key = concurrency_per_key
        self.timeout = _seconds(f"timeout= of worker {name!r}", timeout)
        self.lifespan = lifespan
        self.handlers: dict[str, Handler] = {}
        self.schedules: dict[str, Schedule] = {}

    @property
    def worker_type(self) -> str:
        """The name as it stands in ``ops.worker_heartbeats``."""
        return self.name.replace("-", "_")

    def job(
        self,
        job_type: str,
        *,
        timeout: float | None = None,
        retry: RetryRules[ErrorClass] | None = None,
        keep_days: float | None = None,
    ) -> Callable[[_Function], _Function]:
        """Register the decorated function as the handler of ``job_type``.

        It takes one ``Job[PayloadType]``; a plain ``def`` runs in a thread. It is cancelled after
        ``timeout`` seconds, by default the worker's; ``math.inf`` lifts that one. ``retry`` is a
        policy, or one for each class of exceptions (None: failed at once), of which the most
        specific goes. Ended jobs of this type stay for ``keep_days``, by default as the settings
        say. Raises ConfigurationError for whatever does not fit.
        """
        if job_type in self.handlers:
            raise ConfigurationError(f"Worker {self.name!r} has two handlers for {job_type!r}.")
        if not 1 <= len(job_type) <= 200:
            raise ConfigurationError(f"Job type {job_type!r} must have 1 to 200 characters.")
        caller = sys._getframe(1)  # noqa: SLF001 - annotations may name classes local to the caller

        limit = _seconds(f"timeout= of {job_type!r}", self.timeout if timeout is None else timeout)
        days = _seconds(f"keep_days= of {job_type!r}", keep_days)
        retries = read_rules(job_type, retry)

        def register(function: _Function) -> _Function:
            payload_type = _payload_type(function, caller.f_locals)
            self.handlers[job_type] = Handler(
                job_type, function, payload_type, limit, retries, days
            )
            return function

        return register

    def schedule(
        self,
        name: str,
        cron: str,
        job_type: str,
        payload: Any = None,
        *,
        timezone: str = "UTC",
        catch_up: CatchUp = "last",
        overlap: Overlap | None = None,
        priority: int = 0,
        max_attempts: int | None = None,
    ) -> Schedule:
        """Enqueue a ``job_type`` job of this worker at every tick of ``cron`` in ``timezone``.

        ``payload`` is a mapping or a pydantic model; a payload type with a field ``tick_at`` is
        told the tick's time in it. Of missed ticks ``catch_up`` enqueues the last, all (at most
        1,000) or none. While the job of the tick before has not ended, ``overlap`` skips a tick or
        queues its job; by default it skips, unless all ticks are to be caught up. ``name`` is
        unique in the database. Raises ConfigurationError for whatever does not fit.
        """
        if name in self.schedules:
            raise ConfigurationError(f"Worker {self.name!r} has two schedules named {name!r}.")
        handler = self._handler_for(name, job_type)
        self.schedules[name] = schedule = declare(
            name,
            cron,
            timezone,
            job_type,
            {} if payload is None else payload,
            Payload(handler.payload_type, handler.decode),
            catch_up=catch_up,
            overlap=overlap,
            priority=priority,
            max_attempts=max_attempts,
        )
        return schedule

    def _handler_for(self, schedule: str, job_type: str) -> Handler:
        if job_type in self.handlers:
            return self.handlers[job_type]
        raise ConfigurationError(
            f"Schedule {schedule!r} is for {job_type!r} jobs, which worker {self.name!r} does not "
            f"take; it takes: {', '.join(self.handlers) or 'none'}. "
            "Declare a schedule below the handler of its jobs."
        )


def _seconds(what: str, value: float | None) -> float | None:
    """A span of time above 0; None for none or an endless one."""
    if value is None or value == math.inf:
        return None
    if not value > 0:
        raise ConfigurationError(f"{what} must be more than 0, not {value:g}.")
    return value


def _payload_type(function: Callable[..., Any], local_names: dict[str, Any]) -> Any:
    """The ``P`` of the handler's ``Job[P]``; Any if it is not annotated."""
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != 1:
        raise ConfigurationError(f"Handler {function.__qualname__} must take exactly one job.")
    try:
        hints = typing.get_type_hints(function, localns=local_names)
    except NameError as error:
        raise ConfigurationError(
            f"The annotations of handler {function.__qualname__} name {error.name!r}, "
            "which cannot be found; import it at run time, not under TYPE_CHECKING."
        ) from None
    annotation = hints.get(parameters[0])
    arguments = typing.get_args(annotation)
    return arguments[0] if typing.get_origin(annotation) is Job and arguments else Any


def _decoder(job_type: str, payload_type: Any) -> Callable[[str], Any]:
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import from_json

    is_plain = payload_type in (dict, dict[str, Any], dict[str, object])

    def read(text: str) -> Any:
        try:
            payload = from_json(text)
        except ValueError:
            # jsonb has checked all but the depth
            raise Reject(
                "PAYLOAD_INVALID", f"the payload of {job_type} is nested too deeply to be read"
            ) from None
        if is_plain and not isinstance(payload, dict):
            raise Reject("PAYLOAD_INVALID", f"the payload of {job_type} must be an object")
        return payload

    if is_plain or payload_type is Any:
        return read
    adapter = TypeAdapter(payload_type)
    validate = adapter.validate_json

    def decode(text: str) -> Any:
        try:
            return validate(text)
        except ValidationError as error:
            names = _strings_of(adapter.core_schema)
            raise Reject("PAYLOAD_INVALID", payload_sentence(job_type, error, names)) from None

    return decode


def _strings_of(schema: Any) -> set[str]:
    """Every word of the declared type: what is none of them comes from a payload."""
    found: set[str] = set()
    seen: set[int] = set()
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, str):
            found.add(part)
        elif isinstance(part, type):
            found.add(part.__name__)
        elif isinstance(part, Mapping | Sequence) and id(part) not in seen:
            seen.add(id(part))
            left += [*part, *part.values()] if isinstance(part, Mapping) else part
    return found


def payload_sentence(job_type: str, error: Any, names: Container[str]) -> str:
    """Name each field that does not fit and why, without its value.

    Of what stands where only those of ``names`` are told: a key of a mapping is a value, too.
    """
    problems = error.errors(include_input=False, include_context=False)
    parts = [
        f"{_place(problem['loc'], names) or 'payload'}: {_reason(problem)}"
        for problem in problems[:5]
    ]
    more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
    return f"the payload of {job_type} does not fit: {'; '.join(parts)}{more}"


def _place(location: Sequence[str | int], names: Container[str]) -> str:
    return ".".join(
        str(step) if isinstance(step, int) or step in names else HIDDEN for step in location
    )


def _reason(problem: dict[str, Any]) -> str:
    """Pydantic's own words; those of a validator or of a tag may repeat the input."""
    said: str = problem["msg"]
    if problem["type"] == "union_tag_invalid":
        return "its tag is none of those that are known"
    # only pydantic's own kinds of error have a page about them
    worded_here = "url" not in problem or problem["type"] in {"value_error", "assertion_error"}
    return plain_words(said) if worded_here else said
