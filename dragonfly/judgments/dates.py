"""Dates, whose order is decided once for a whole column and never cell by cell."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final, Literal

from dragonfly.errors import InputRefused

DateStyle = Literal["iso", "mdy", "dmy", "named"]

_EARLIEST_YEAR: Final = 1900
_CLOCK: Final = (
    r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?: ?[AaPp][Mm])? ?(?:Z|[+-]\d{2}:?\d{2})?)?"
)
_ISO: Final = re.compile(rf"(\d{{4}})([-/])(\d{{1,2}})\2(\d{{1,2}}){_CLOCK}", re.ASCII)
_NUMERIC: Final = re.compile(rf"(\d{{1,2}})([-/.])(\d{{1,2}})\2(\d{{4}}|\d{{2}}){_CLOCK}", re.ASCII)
_DAY_NAMED: Final = re.compile(
    r"(?P<day>\d{1,2})[- ](?P<month>[A-Za-z]{3,9})\.?(?:[- ]|, ?)(?P<year>\d{4}|\d{2})", re.ASCII
)
_NAMED_DAY: Final = re.compile(
    r"(?P<month>[A-Za-z]{3,9})\.? (?P<day>\d{1,2})(?:, ?| )(?P<year>\d{4}|\d{2})", re.ASCII
)
_SERIAL: Final = re.compile(r"[2-5]\d{4}|60000", re.ASCII)
_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            ("jan", "january"),
            ("feb", "february"),
            ("mar", "march"),
            ("apr", "april"),
            ("may",),
            ("jun", "june"),
            ("jul", "july"),
            ("aug", "august"),
            ("sep", "sept", "september"),
            ("oct", "october"),
            ("nov", "november"),
            ("dec", "december"),
        ),
        start=1,
    )
    for name in names
}


@dataclass(frozen=True, slots=True)
class DateColumn:
    """How one column prints its dates; ``assumed`` when no day above 12 proves the US order."""

    style: DateStyle
    assumed: bool = False


def full_year(digits: str) -> int:
    """Four digits as they stand; two digits fall into 1976 to 2075."""
    year = int(digits)
    if len(digits) > 2:
        return year
    return year + (1900 if year >= 76 else 2000)


@lru_cache(maxsize=65_536)
def read_date(text: str, style: DateStyle) -> date | None:
    """The date of a cleaned text in one style, or None when it is no date in that style.

    A time of day or an offset is ignored: a court date is the day as printed.
    """
    if style == "iso":
        match = _ISO.fullmatch(text)
        return match and _day(int(match[1]), int(match[3]), int(match[4]))
    if style == "named":
        match = _DAY_NAMED.fullmatch(text) or _NAMED_DAY.fullmatch(text)
        month = _MONTHS.get(match["month"].lower()) if match else None
        return _day(full_year(match["year"]), month, int(match["day"])) if match and month else None
    match = _NUMERIC.fullmatch(text)
    if match is None:
        return None
    first, second, year = int(match[1]), int(match[3]), full_year(match[4])
    return _day(year, first, second) if style == "mdy" else _day(year, second, first)


def _day(year: int, month: int, day: int) -> date | None:
    if year < _EARLIEST_YEAR:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def parse_date(text: str, column: DateColumn, today: date) -> date:
    """The date of a cell that says something, not after ``today``.

    Refusals: DATE_INVALID, DATE_ORDER_CONFLICT, DATE_FUTURE.
    """
    parsed = read_date(text, column.style)
    if parsed is None:
        if column.style == "mdy" and read_date(text, "dmy"):
            raise InputRefused(
                "DATE_ORDER_CONFLICT",
                "The day stands before the month here but after it elsewhere in the column;"
                " write month/day/year.",
            )
        raise InputRefused(
            "DATE_INVALID", "This is no date in the form the column uses; write it like the others."
        )
    if parsed > today:
        raise InputRefused("DATE_FUTURE", "The date lies after today in New York; check the year.")
    return parsed


class DateTally:
    """Counts, cell by cell, which styles a column's dates could be in."""

    __slots__ = ("_fits",)

    def __init__(self) -> None:
        self._fits: Counter[frozenset[str]] = Counter()

    def add(self, text: str) -> None:
        """Count one cell that says something."""
        self._fits[_styles_of(text)] += 1

    def decide(self) -> DateColumn | None:
        """The style that reads most cells; None when all of them are Excel serial numbers.

        US order is the default; day-first needs a day above 12 in first place and no cell that
        contradicts it.
        """
        if self._fits and set(self._fits) == {frozenset(("serial",))}:
            return None
        day_first_only = self._count(has="dmy", lacks="mdy")
        month_first_only = self._count(has="mdy", lacks="dmy")
        numeric: DateStyle = "dmy" if day_first_only and not month_first_only else "mdy"
        ranking: tuple[DateStyle, ...] = ("iso", numeric, "named")
        best = max(ranking, key=self._count)
        return DateColumn(best, assumed=best == "mdy" and not month_first_only)

    def _count(self, has: str, lacks: str | None = None) -> int:
        return sum(n for fits, n in self._fits.items() if has in fits and lacks not in fits)


@lru_cache(maxsize=65_536)
def _styles_of(text: str) -> frozenset[str]:
    if _SERIAL.fullmatch(text):
        return frozenset(("serial",))
    styles: tuple[DateStyle, ...] = ("iso", "mdy", "dmy", "named")
    return frozenset(style for style in styles if read_date(text, style))
