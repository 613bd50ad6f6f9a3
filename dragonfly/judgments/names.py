"""Names of parties: what is shown, what two prints of one name share, and who hides in a list."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

from dragonfly.judgments.cells import clean
from dragonfly.judgments.records import Party, PartyKind

LONGEST_NAME: Final = 300
"""Characters of a name as shown."""

_SHORT_FORMS: Final = {
    "incorporated": "inc",
    "corporation": "corp",
    "company": "co",
    "limited": "ltd",
    "&": "and",
}
_SUFFIXES: Final = frozenset(
    ("inc", "corp", "co", "ltd", "llc", "llp", "pllc", "lp", "pc", "plc", "fsb")
)
_TRADE_WORDS: Final = re.compile(
    r"\b(?:"
    r"acceptance|agency|apartments|associates|association|auto|automotive|bakery|bank"
    r"|builders|cafe|capital|center|clinic|college|condominium|construction|consulting"
    r"|contracting|cooperative|credit|deli|dental|design|development|diner|distributors"
    r"|electrical|enterprise|enterprises|equities|federal|finance|financial|foods"
    r"|foundation|fuel|funding|furniture|garage|group|grocery|hardware|healthcare|heating"
    r"|holding|holdings|homes|hospital|hotel|imports|industries|institute|insurance"
    r"|international|investments|kitchen|landscaping|laundromat|leasing|lenders|lending"
    r"|logistics|lumber|management|market|marketing|medical|merchants|motors|owners"
    r"|partners|partnership|pharmacy|pizza|plumbing|portfolio|printing|productions"
    r"|properties|realty|receivables|recovery|rentals|restaurant|roofing|salon|school"
    r"|securities|services|shop|society|solutions|sons|staffing|storage|store|stores"
    r"|studio|supplies|supply|systems|tavern|tech|technologies|telecom|tenants|tire|towing"
    r"|trading|transport|transportation|trucking|trust|trustees|university|utilities"
    r"|ventures|warehouse|wholesale"
    r")\b"
)
_GENERATIONS: Final = frozenset(("jr", "sr", "ii", "iii", "iv", "esq", "md"))
_GOVERNMENT: Final = re.compile(
    r"\b(?:(?:city|county|state|town|village|people|commissioner|department|dept|board|comptroller)"
    r" of|united states|new york city|nyc|housing authority|transit authority|school district"
    r"|internal revenue|social services|workers compensation board|thruway authority)\b"
)
_ESTATE: Final = re.compile(
    r"\bestate of\b|\bdeceased\b"
    r"|\bas (?:executor|executrix|administrator|administratrix|personal representative)\b"
)
_ALSO: Final = re.compile(
    r" (?:, )?(?:(?:d[ ,]*b|a[ ,]*k|f[ ,]*k|n[ ,]*k)[ ,]*a|doing business as"
    r"|(?:also|formerly|now) known as)\b.*"
)
_ALSO_PRINTED: Final = re.compile(
    r"[\s,(]+(?:(?:d\W{0,2}b|a\W{0,2}k|f\W{0,2}k|n\W{0,2}k)\W{0,2}a|doing business as"
    r"|(?:also|formerly|now) known as)\b",
    re.IGNORECASE,
)
_OTHERS: Final = re.compile(r"[ ,]+et (?:al|ano|ux|vir)[ ,]*$")
_OTHERS_PRINTED: Final = re.compile(r"[\s,]+et\.?\s+(?:al|ano|ux|vir)\b\W*$", re.IGNORECASE)
_SPELT_OUT: Final = re.compile(r"\b(?:p l l c|l l c|l l p|p c|n a|l p)$")
_NATIONAL_BANK: Final = re.compile(r"(?:,\s*|\s)N\.\s?A\.?$|,\s*NA$", re.IGNORECASE)
_APOSTROPHES: Final = re.compile("['\u2019.`\u00b4]")
_NO_WORD: Final = re.compile(r"[^\w&,]+|_+")
_LIST: Final = re.compile(r"\s*[;|\n\r]+\s*")
_AND: Final = re.compile(r",?\s+(?:and|&)\s+", re.IGNORECASE)
_PERSON_WORD: Final = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


@lru_cache(maxsize=65_536)
def name_key(display: str) -> str:
    """What two prints of one party share: letters and digits, accents and punctuation off.

    ``ACME Corp``, ``Acme Corp.`` and ``Acme Corporation`` have one key, so have ``Doe, John`` and
    ``John Doe``. A trade name behind d/b/a or an alias behind a/k/a does not change the party.
    Empty when the name holds no letter and no digit.
    """
    folded = _fold(display)
    legal = _OTHERS.sub("", _ALSO.sub("", folded))
    return _without_commas(_given_name_first(legal)) or _without_commas(folded)


def _fold(text: str) -> str:
    """Small letters without accents or punctuation; commas stay, as words of their own."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        text = "".join(c for c in text if not unicodedata.combining(c))
    text = _NO_WORD.sub(" ", _APOSTROPHES.sub("", text.casefold()))
    words = text.replace("&", " & ").replace(",", " , ").split()
    return " ".join(_SHORT_FORMS.get(word, word) for word in words)


def _without_commas(folded: str) -> str:
    joined = " ".join(folded.replace(",", " ").split())
    return _SPELT_OUT.sub(lambda match: match[0].replace(" ", ""), joined)


def _given_name_first(legal: str) -> str:
    """``smith , john jr`` as ``john smith jr``; anything else as it stands."""
    family, comma, given = legal.partition(" , ")
    rest = given.split()
    if not comma or "," in given or rest == ["na"] or _kind_of_folded(legal) != "person":
        return legal
    names = [word for word in rest if word not in _GENERATIONS]
    generation = [word for word in rest if word in _GENERATIONS]
    return " ".join([*names, family, *generation]) if names else legal


@lru_cache(maxsize=65_536)
def kind_of(display: str) -> PartyKind:
    """What a name reads like: a hint for people, never a fact about the party."""
    if _NATIONAL_BANK.search(display):
        return "company"
    return _kind_of_folded(_fold(display))


def _kind_of_folded(folded: str) -> PartyKind:
    if _ESTATE.search(folded):
        return "estate"
    if _GOVERNMENT.search(folded):
        return "government"
    legal = _without_commas(_OTHERS.sub("", _ALSO.sub("", folded)))
    words = legal.split()
    if _SUFFIXES.intersection(words[1:]) or _TRADE_WORDS.search(legal):
        return "company"
    if 2 <= len(words) <= 6 and "and" not in words and all(map(_PERSON_WORD.fullmatch, words)):
        return "person"
    return "unknown"


def party(name: str, address: str | None = None) -> Party | None:
    """The party of a cleaned name, or None when it holds no letter and no digit."""
    key = name_key(name)
    return Party(name, key, kind_of(name), address) if key else None


def names_others(cell: str) -> bool:
    """Whether the cell ends with "et al.", so that it does not name everybody."""
    return _OTHERS_PRINTED.search(clean(cell)) is not None


def split_names(cell: str) -> tuple[tuple[str, ...], bool]:
    """The cleaned names of the debtors that one cell lists, and whether the split is clear.

    Semicolons, bars and line breaks part names; "and" parts only what is a whole name on both
    sides. An unclear list stays one name, for a person to part.
    """
    names: list[str] = []
    clear = True
    for piece in _LIST.split(cell):
        display = _OTHERS_PRINTED.sub("", clean(piece))
        if display:
            parted, certain = _split_and(display)
            names.extend(parted)
            clear = clear and certain
    return tuple(dict.fromkeys(names)), clear


def _split_and(display: str) -> tuple[tuple[str, ...], bool]:
    also = _ALSO_PRINTED.search(display)
    legal, tail = (display[: also.start()], display[also.start() :]) if also else (display, "")
    if kind_of(legal) in {"estate", "government"}:
        return (display,), True
    parts = _AND.split(legal)
    if len(parts) == 1:
        return (display,), not _lists_by_comma(legal)
    if _are_whole_names(parts):
        return (*parts[:-1], parts[-1] + tail), True
    return (display,), _is_one_company(parts)


def _are_whole_names(parts: list[str]) -> bool:
    """Persons only, or companies each closed by its own suffix and perhaps a person at the end."""
    if all(map(_is_person, parts)):
        return True
    *firsts, last = parts
    return all(map(_is_closed_company, firsts)) and (_is_person(last) or _is_closed_company(last))


def _is_person(part: str) -> bool:
    return kind_of(part) == "person"


def _is_closed_company(part: str) -> bool:
    words = _without_commas(_fold(part)).split()
    closed = len(words) > 1 and words[-1] in _SUFFIXES
    return closed or _NATIONAL_BANK.search(part) is not None


def _is_one_company(parts: list[str]) -> bool:
    """``Smith and Sons Inc`` is one: what stands before the "and" is no name by itself."""
    whole = " and ".join(parts)
    return len(parts) == 2 and len(parts[0].split()) == 1 and kind_of(whole) == "company"


def _lists_by_comma(legal: str) -> bool:
    """``John Smith, Jane Smith`` may be two people, or one with two surnames and given names."""
    before, comma, after = legal.partition(",")
    return bool(comma) and len(before.split()) > 1 and _is_person(before) and _is_person(after)
