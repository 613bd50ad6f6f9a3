"""Index numbers: the many prints of one court file number, and the key that they share.

Separators are never deleted before parsing: ``1-234/05`` and ``12-34/05`` are two numbers.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dragonfly.errors import InputRefused
from dragonfly.judgments.cells import clean
from dragonfly.judgments.dates import full_year

LONGEST_INDEX: Final = 100
"""Characters of an index number as printed; courts print fewer than thirty."""

_PREFIX: Final = r"(?:(?P<prefix>[A-Z]{1,5})[-/. ]*)?"
_SUFFIX: Final = r"(?:[-/ ]*\(?(?P<suffix>[A-Z]{1,2})\)?)?"
_NUMBER: Final = r"(?P<number>\d{1,9})"
_SHAPES: Final = tuple(
    re.compile(shape, re.ASCII)
    for shape in (
        # CV-009001-20NY, 806195/2023E, 13804/08: the way New York's courts print it
        rf"{_PREFIX}{_NUMBER}(?: ?[-/] ?| )(?P<year>\d{{4}}|\d{{2}}){_SUFFIX}",
        # QSC-2023-1234, EF2021-1234
        rf"{_PREFIX}(?P<year>\d{{4}})(?: ?[-/] ?| ){_NUMBER}{_SUFFIX}",
        # CGC-21-123456
        r"(?P<prefix>[A-Z]{1,5})[-/. ]*(?P<year>\d{2}) ?[-/] ?(?P<number>\d{5,9})(?P<suffix>)",
        # 2024-CV-98765, 21STCV45678
        rf"(?P<year>\d{{4}}|\d{{2}})[-/ ]*(?P<prefix>[A-Z]{{1,5}})[-/ ]*{_NUMBER}(?P<suffix>)",
        # E2021001234
        r"(?P<prefix>EF?)(?P<year>20\d{2})(?P<number>\d{6})(?P<suffix>)",
    )
)
_CIVIL_COURT: Final = re.compile(r"CV|CC|LT|SC[A-Z]?")
_MONTH: Final = r"(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)"
_DATE_LIKE: Final = re.compile(
    rf"\d{{1,2}}-{_MONTH}(?:-\d{{2,4}})?|{_MONTH}-\d{{2,4}}"
    r"|\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d{2}-\d{2}(?: 0?0:00(?::00)?)?",
    re.ASCII,
)
_SCIENTIFIC: Final = re.compile(r"\d(?:\.\d+)?E\+\d{1,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class IndexNumber:
    """A printed index number in its parts; unparsed ones keep ``year`` and ``number`` empty.

    ``key`` is ``PREFIX|NUMBER|YYYY|SUFFIX`` without leading zeros, or ``RAW|`` and the print.
    It identifies a judgment only together with its court and county.
    """

    display: str
    key: str
    parsed: bool
    prefix: str = ""
    number: str = ""
    year: int | None = None
    suffix: str = ""

    @property
    def borough_code(self) -> str | None:
        """The county code that the New York City Civil Court prints behind the year, if any."""
        return self.suffix if self.suffix and _CIVIL_COURT.fullmatch(self.prefix) else None


@lru_cache(maxsize=4_096)
def parse_index(raw: str) -> IndexNumber:
    """The parts and the key of an index number as printed.

    Refusals: INDEX_LOOKS_LIKE_DATE and INDEX_SCIENTIFIC (a spreadsheet replaced the number),
    VALUE_TOO_LONG.
    """
    display = clean(raw)
    folded = " ".join(unicodedata.normalize("NFKC", display).upper().split())
    _refuse_damaged(folded)
    for shape in _SHAPES:
        match = shape.fullmatch(folded)
        if match is None:
            continue
        year = full_year(match["year"])
        if not 1900 <= year <= 2075:
            continue
        prefix, suffix = match["prefix"] or "", match["suffix"] or ""
        if _year_comes_first(match, shape, prefix):
            continue
        number = match["number"].lstrip("0") or "0"
        key = f"{prefix}|{number}|{year}|{suffix}"
        return IndexNumber(display, key, True, prefix, number, year, suffix)
    return IndexNumber(display, f"RAW|{folded}", False)


def _year_comes_first(match: re.Match[str], shape: re.Pattern[str], prefix: str) -> bool:
    """QSC-2023-1999 is number 1999 of 2023, unless a Civil Court, which prints the year last."""
    return (
        shape is _SHAPES[0]
        and bool(prefix)
        and not _CIVIL_COURT.fullmatch(prefix)
        and "/" not in match.string
        and len(match["year"]) == len(match["number"]) == 4
        and 1976 <= int(match["number"]) <= 2075
    )


def _refuse_damaged(folded: str) -> None:
    if len(folded) > LONGEST_INDEX:
        raise InputRefused(
            "VALUE_TOO_LONG",
            f"The index number is longer than {LONGEST_INDEX} characters; write only the number.",
        )
    if _DATE_LIKE.fullmatch(folded):
        raise InputRefused(
            "INDEX_LOOKS_LIKE_DATE",
            "The index number is a date; Excel turns 1/25 into 25-Jan, so format the column as text"
            " and write the number again.",
        )
    if _SCIENTIFIC.fullmatch(folded):
        raise InputRefused(
            "INDEX_SCIENTIFIC",
            "Excel has rounded the index number and its digits are lost; format the column as text"
            " and write the number again.",
        )
