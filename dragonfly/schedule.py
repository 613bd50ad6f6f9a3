"""A schedule as it is declared: which job comes when, and what becomes of missed ticks. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from dragonfly.cron import Cron
from dragonfly.errors import ConfigurationError, UnfitValue
from dragonfly.job import Reject, to_json

CatchUp = Literal["last", "all", "none"]
Overlap = Literal["skip", "queue"]

# a payload type with a field of this name is told the tick's time in it
TICK_FIELD = "tick_at"
MOST_CAUGHT_UP = 1000
# a tick no later than this is on time: the pause between two starts of a process is no failure
ON_TIME = timedelta(seconds=60)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_SAMPLE_TICK = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Enqueues a ``job_type`` job at each tick of ``cron``; see ``Worker.schedule``.

    ``payload`` is JSON text; where ``tells_tick``, each job's payload has the tick's time besides.
    """

    name: str
    cron: Cron
    job_type: str
    payload: str = "{}"
    tells_tick: bool = False
    priority: int = 0
    max_attempts: int | None = None
    catch_up: CatchUp = "last"
    overlap: Overlap = "skip"

    @property
    def fingerprint(self) -> str:
        """The same for two declarations exactly when they say the same."""
        says = (
            self.cron.expression,
            self.cron.timezone,
            self.job_type,
            self.payload,
            self.tells_tick,
            self.priority,
            self.max_attempts,
            self.catch_up,
            self.overlap,
        )
        return hashlib.sha256(json.dumps(says).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Payload:
    """How the handler of a schedule's job type reads payloads: its type, and its decoder."""

    type: Any
    decode: Callable[[str], Any]


def declare(
    name: str,
    expression: str,
    timezone: str,
    job_type: str,
    payload: Any,
    reader: Payload,
    *,
    catch_up: str,
    overlap: str | None,
    priority: int,
    max_attempts: int | None,
) -> Schedule:
    """A schedule whose every part was checked; ConfigurationError with a sentence otherwise."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"Schedule name {name!r} must be letters, digits, - . and _, "
            "start with a letter or digit, and be at most 100 long."
        )
    tells_tick = _has_field(reader.type, TICK_FIELD)
    try:
        return Schedule(
            name,
            Cron(expression, timezone),
            job_type,
            _checked_payload(payload, reader, tells_tick=tells_tick),
            tells_tick,
            _within("priority", priority, -32768, 32767),
            max_attempts
            if max_attempts is None
            else _within("max_attempts", max_attempts, 1, 1000),
            *_checked_choices(catch_up, overlap),
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"Schedule {name!r}: {error}.") from None


def _checked_choices(catch_up: str, overlap: str | None) -> tuple[CatchUp, Overlap]:
    chosen = overlap or ("queue" if catch_up == "all" else "skip")
    if catch_up not in typing.get_args(CatchUp):
        raise ConfigurationError(f"catch_up is {catch_up!r}; allowed are last, all and none")
    if chosen not in typing.get_args(Overlap):
        raise ConfigurationError(f"overlap is {overlap!r}; allowed are skip and queue")
    if (catch_up, chosen) == ("all", "skip"):
        raise ConfigurationError(
            'catch_up "all" enqueues several jobs at once, which overlap "skip" forbids; '
            'choose overlap "queue", or catch_up "last"'
        )
    return typing.cast("CatchUp", catch_up), typing.cast("Overlap", chosen)


def _checked_payload(payload: Any, reader: Payload, *, tells_tick: bool) -> str:
    """The payload's JSON text, proved to be what the handler reads."""
    left_out = {TICK_FIELD} if tells_tick else set()
    dump = getattr(payload, "model_dump", None)
    plain = payload if dump is None else dump(mode="json", exclude=left_out)
    if not isinstance(plain, Mapping):
        raise ConfigurationError("its payload must be a mapping or a pydantic model")
    if left_out & plain.keys():
        raise ConfigurationError(f"its payload sets {TICK_FIELD!r}, which each tick fills in")
    try:
        text = to_json(dict(plain)) or "{}"
        reader.decode(to_json(dict(plain) | dict.fromkeys(left_out, _SAMPLE_TICK)) or "{}")
    except UnfitValue as error:
        raise ConfigurationError(f"its payload cannot be kept as JSON ({error})") from None
    except Reject as rejection:
        raise ConfigurationError(rejection.message) from None
    return text


def _has_field(payload_type: Any, name: str) -> bool:
    """Whether a pydantic model, dataclass or TypedDict has a field of this name."""
    fields = [
        getattr(payload_type, "model_fields", {}),
        getattr(payload_type, "__dataclass_fields__", {}),
        # typing.is_typeddict does not know those of typing_extensions before Python 3.12
        payload_type.__annotations__ if hasattr(payload_type, "__total__") else {},
    ]
    return any(name in each for each in fields)


def _within(what: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ConfigurationError(f"{what} is {value}; allowed are {least} to {most}")
    return value


@dataclass(frozen=True, slots=True)
class Owed:
    """What a schedule owes at one moment: the ``ticks`` that become jobs, the oldest first.

    ``late`` tells that ticks were missed, ``cut`` that there were more than are caught up.
    """

    ticks: tuple[datetime, ...]
    late: bool
    cut: bool


def owed(
    cron: Cron,
    catch_up: CatchUp,
    *,
    next_tick: datetime,
    last_tick: datetime | None,
    resumed: datetime | None,
    now: datetime,
) -> Owed:
    """Which ticks from ``next_tick`` to ``now`` become jobs.

    None does that is not after ``last_tick``: a changed expression may come to the same time again.
    """
    most = MOST_CAUGHT_UP if catch_up == "all" else 1
    since = (
        next_tick if last_tick is None else max(next_tick, last_tick + timedelta(microseconds=1))
    )
    ticks, more = cron.latest(since, now, most) if since <= now else ([], False)
    if catch_up == "none":
        ticks = [
            tick for tick in ticks if now - tick <= ON_TIME and (resumed is None or tick > resumed)
        ]
    return Owed(tuple(ticks), late=now - next_tick > ON_TIME, cut=more and catch_up == "all")
