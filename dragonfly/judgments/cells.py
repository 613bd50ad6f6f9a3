"""What a cell may hold whatever its column: blanks, stand-ins for nothing, invisible characters."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]"
)
_NOTHING: Final = frozenset(
    ("", "null", "n/a", "na", "n.a.", "#n/a", "none", "nan", "-", "--", "unknown")
)
_FORMULA_STARTS: Final = ("=", "+", "-", "@")


def has_invisible(text: str) -> bool:
    """Whether control, zero-width or text-direction characters hide in the text."""
    return not _is_plain(text) and _INVISIBLE.search(text) is not None


def clean(text: str) -> str:
    """The text as a person reads it: no invisible characters, single blanks, composed letters."""
    if _is_plain(text):
        return " ".join(text.split()) if "  " in text else text.strip()
    text = unicodedata.normalize("NFC", text)
    return " ".join(_INVISIBLE.sub("", text).split())


def _is_plain(text: str) -> bool:
    """Nearly every cell is, and needs no closer look."""
    return text.isascii() and text.isprintable()


def stands_for_nothing(text: str) -> bool:
    """Whether a cleaned text is blank or one of the words that exports print for "no value"."""
    return text.casefold() in _NOTHING


def value_of(cell: str) -> str | None:
    """The cleaned text, or None where the cell says nothing (blank, NULL, N/A, None, nan, -)."""
    text = clean(cell)
    return None if stands_for_nothing(text) else text


def looks_like_formula(cell: str) -> bool:
    """Whether a spreadsheet would run the cell instead of showing it."""
    return len(cell) > 1 and cell.startswith(_FORMULA_STARTS) and not stands_for_nothing(cell)


@lru_cache(maxsize=512)
def column_letters(position: int) -> str:
    """Excel's letters of a column counted from 0: 0 is A, 25 is Z, 26 is AA."""
    letters = ""
    number = position + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
