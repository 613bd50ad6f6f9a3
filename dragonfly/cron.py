"""Cron expressions: what they may say, when they are due, and how they read. Pure.

cronsim parses them and finds the times as Debian's cron does, also in the nights of a clock change:
an expression whose minute or hour begins with ``*`` follows real time, so each real hour counts;
any other follows the clock on the wall, and what it leaves out or shows twice is due once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from dragonfly.errors import ConfigurationError

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# in the order of an expression, under cronsim's names
_ALLOWED = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31 (a day the month has), L (its last day) and LW (its last weekday)",
    "month": "1 to 12 and JAN to DEC",
    "day-of-week": "0 to 7 and SUN to SAT, 1#2 (the second Monday) and 5L (the last Friday)",
}
_FIELDS = tuple(_ALLOWED)
# a moment from which an expression is asked whether it is ever due
_ONCE = datetime(2024, 1, 1, tzinfo=UTC)
_BEFORE = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression of five fields, or a nickname, in a time zone of the IANA database.

    Raises ConfigurationError with a sentence for what it does not understand. Times are given in
    UTC: two of one zone compare by the clock on the wall, which shows an hour twice in autumn.
    """

    expression: str
    timezone: str = "UTC"
    zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "zone", _zone(self.timezone))
        _check(self.expression)
        if next(self.after(_ONCE), None) is None:
            raise ConfigurationError(
                f"the cron expression {self.expression!r} is never due; "
                "its day of month, month and day of week must meet on some day"
            )

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The times later than ``moment``, in order; it ends before fifty years without one."""
        for local in CronSim(_fields(self.expression), moment.astimezone(self.zone)):
            found = local.astimezone(UTC)
            # started within an hour that comes twice, cronsim begins with the first of the two
            if found > moment:
                moment = found
                yield found

    def next_after(self, moment: datetime) -> datetime:
        """The first time later than ``moment``."""
        found = next(self.after(moment), None)
        if found is None:
            raise ConfigurationError(f"the cron expression {self.expression!r} is not due any more")
        return found

    def latest(self, since: datetime, until: datetime, most: int) -> tuple[list[datetime], bool]:
        """The newest ``most`` times from ``since`` to ``until``, both included, the oldest first.

        Also whether there were more. The work grows with ``most``, hardly with the years between.
        """
        span = timedelta(hours=1)
        while True:
            start = max(since, until - span)
            found = list(takewhile(lambda time: time <= until, self.after(start - _BEFORE)))
            if start == since or len(found) > most:
                return found[-most:], len(found) > most
            span *= 4

    def words(self) -> str:
        """The expression in English: ``At 06:00 on Monday through Friday``."""
        return str(CronSim(_fields(self.expression), _ONCE).explain())

    def local(self, moment: datetime) -> str:
        """The moment as ISO 8601 with the zone's own offset: ``2026-11-24T06:00:00-05:00``."""
        return moment.astimezone(self.zone).isoformat(timespec="seconds")


def _fields(expression: str) -> str:
    return _NICKNAMES.get(expression.strip().lower(), expression)


def _check(expression: str) -> None:
    parts = _fields(expression).split()
    if len(parts) != len(_FIELDS):
        count = f"{len(parts)} field{'' if len(parts) == 1 else 's'}"
        raise ConfigurationError(
            f"the cron expression {expression!r} has {count}; it must have five: "
            f"minute, hour, day of month, month, day of week; or be {', '.join(_NICKNAMES)}"
        )
    try:
        CronSim(" ".join(parts), _ONCE)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        if name not in _ALLOWED:
            raise ConfigurationError(f"the cron expression {expression!r}: {error}") from None
        raise ConfigurationError(
            f"the {name.replace('-', ' ')} {parts[_FIELDS.index(name)]!r} of the cron expression "
            f"{expression!r} is not valid; allowed are {_ALLOWED[name]}, "
            "also as list 1,3, range 1-3, step */3, or * for every one"
        ) from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        close = difflib.get_close_matches(name, available_timezones(), 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigurationError(
            f"the time zone {name!r} is unknown; allowed are the names of the IANA database, "
            f"such as America/New_York or UTC{hint}"
        ) from None
