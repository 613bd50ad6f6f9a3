"""New York's 62 counties and their courts, and which of them a file's print means.

A court is named by a readable text that never changes, such as ``nyc_civil:kings``.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Final, Literal

CourtType = Literal[
    "supreme",
    "county",
    "nyc_civil",
    "nyc_small_claims",
    "district",
    "city",
    "town_village",
    "family",
    "surrogate",
]

_DISTRICT_COUNTIES: Final = frozenset(("Nassau", "Suffolk"))


@dataclass(frozen=True, slots=True)
class County:
    """One county; ``nyc_code`` is what the Civil Court prints in index numbers (KI, QU …)."""

    fips: str
    name: str
    nyc_code: str | None
    aliases: tuple[str, ...]
    in_nyc: bool

    @property
    def slug(self) -> str:
        return self.name.lower().replace(".", "").replace(" ", "_")


@dataclass(frozen=True, slots=True)
class Court:
    """One court of one county.

    ``needs_transcript``: its judgments must be docketed with the county clerk before a sheriff's
    execution or a lien on real property (CPLR 5018(a), 5230(a)).
    """

    court_id: str
    court_type: CourtType
    name: str
    county_fips: str
    needs_transcript: bool


def _load_counties() -> dict[str, County]:
    table = resources.files("dragonfly.judgments").joinpath("data/ny_counties.csv")
    with table.open(encoding="utf-8") as lines:
        return {
            row["fips"]: County(
                fips=row["fips"],
                name=row["county"],
                nyc_code=row["nyc_civil_code"] or None,
                aliases=tuple(filter(None, row["aliases"].split(";"))),
                in_nyc=row["is_nyc"] == "y",
            )
            for row in csv.DictReader(lines)
        }


def _courts_of(county: County) -> list[tuple[CourtType, str, bool]]:
    """Type, name and need of a transcript of each court that sits in the county."""
    courts: list[tuple[CourtType, str, bool]] = [
        ("supreme", f"Supreme Court, {county.name} County", False),
        ("family", f"Family Court, {county.name} County", False),
        ("surrogate", f"Surrogate's Court, {county.name} County", True),
    ]
    if county.in_nyc:
        civil = f"Civil Court of the City of New York, {county.name} County"
        return [
            *courts,
            ("nyc_civil", civil, True),
            ("nyc_small_claims", f"{civil}, Small Claims Part", True),
        ]
    if county.name in _DISTRICT_COUNTIES:
        courts.append(("district", f"District Court, {county.name} County", True))
    return [
        *courts,
        ("county", f"County Court, {county.name} County", False),
        ("city", f"A City Court in {county.name} County", True),
        ("town_village", f"A Town or Village Court in {county.name} County", True),
    ]


COUNTIES: Final[Mapping[str, County]] = MappingProxyType(_load_counties())
"""Every county of the state by its FIPS code."""

COURTS: Final[Mapping[str, Court]] = MappingProxyType(
    {
        f"{kind}:{county.slug}": Court(f"{kind}:{county.slug}", kind, name, county.fips, transcript)
        for county in COUNTIES.values()
        for kind, name, transcript in _courts_of(county)
    }
)
"""Every court the firm knows by its id."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where a judgment was rendered; what is unknown is None.

    ``problem`` is COURT_COUNTY_CONFLICT, COUNTY_UNKNOWN, COURT_UNKNOWN or None, and ``detail`` the
    sentence that goes with it.
    """

    court_id: str | None
    county_fips: str | None
    problem: str | None = None
    detail: str | None = None


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).upper().replace("\u2019", "'").replace("'", "")
    return " ".join(re.sub(r"[^A-Z0-9]+", " ", plain.replace(".", "")).split())


_BY_NAME: Final = {
    _fold(name): county
    for county in COUNTIES.values()
    for name in (county.name, county.nyc_code or county.name, *county.aliases)
}
_NAMES_IN_TEXT: Final = re.compile(
    rf"\b({'|'.join(sorted(_BY_NAME, key=len, reverse=True))})\b(?! STATE)( COUNTY\b)?"
)
_CITY_OR_STATE: Final = re.compile(
    r"\b(?:CITY|STATE) OF (?:NEW YORK|NY)\b|\b(?:NEW YORK|NY) CITY\b"
)
_COUNTY_WORDS: Final = re.compile(r"^(?:THE )?COUNTY OF | (?:COUNTY|CO|CTY|BOROUGH)$")
_TYPES: Final[tuple[tuple[re.Pattern[str], CourtType], ...]] = (
    (re.compile(r"\bSMALL CLAIMS\b"), "nyc_small_claims"),
    (re.compile(r"\bSUPREME\b"), "supreme"),
    (re.compile(r"\bFAMILY\b"), "family"),
    (re.compile(r"\bSURROGATES?\b"), "surrogate"),
    (re.compile(r"\bCIVIL\b"), "nyc_civil"),
    (re.compile(r"\bDISTRICT\b"), "district"),
    (re.compile(r"\b(?:TOWN|VILLAGE|JUSTICE)\b"), "town_village"),
    (re.compile(r"\bCITY COURT\b|\bCITY CT\b"), "city"),
    (re.compile(r"\bCOUNTY (?:COURT|CT)\b"), "county"),
)


@lru_cache(maxsize=1_024)
def find_county(text: str) -> County | None:
    """The county that a cell of a county column names, by name, alias or Civil Court code."""
    folded = _fold(text)
    return _BY_NAME.get(folded) or _BY_NAME.get(_COUNTY_WORDS.sub("", folded))


@lru_cache(maxsize=8_192)
def resolve(
    court_raw: str | None, county_raw: str | None, borough_code: str | None = None
) -> Resolution:
    """The court and county that a row names, ``borough_code`` being that of its index number.

    A contradiction is never settled by preference: it is COURT_COUNTY_CONFLICT.
    """
    county = find_county(county_raw) if county_raw else None
    if county_raw and county is None:
        return Resolution(None, None, "COUNTY_UNKNOWN", _county_hint(county_raw))
    text = _fold(court_raw or "")
    kind = next((kind for pattern, kind in _TYPES if pattern.search(text)), None)
    named, certain = _county_in(text, town=kind in {"city", "town_village"})
    coded = _BY_NAME.get(borough_code) if borough_code else None
    claims = {c.fips for c in (county, named if certain else None, coded) if c is not None}
    if len(claims) > 1:
        return Resolution(
            None,
            None,
            "COURT_COUNTY_CONFLICT",
            "The court, the county and the index number name different counties; correct the row"
            " from the court's record.",
        )
    county = county or coded or named
    if county is None:
        return Resolution(
            None, None, "COUNTY_UNKNOWN", "The row names no county, so it stays unknown."
        )
    return _court_in(text, kind, county)


def _county_hint(county_raw: str) -> str:
    if _fold(county_raw) in {"NYC", "NEW YORK CITY"}:
        return (
            "The county is given as the whole city, which has five; write Kings, Queens, New York,"
            " Bronx or Richmond."
        )
    return "The county is none of New York State's 62; write its name, such as Kings or Erie."


def _county_in(text: str, *, town: bool) -> tuple[County | None, bool]:
    """The county a court's name mentions; not certain where New York may mean city or state.

    A ``town`` often bears the name of a county it is not in (Oneida City Court sits in Madison).
    """
    remaining = _CITY_OR_STATE.sub(" ", text)
    found = [(_BY_NAME[m[1]], bool(m[2])) for m in _NAMES_IN_TEXT.finditer(remaining)]
    if "COUNTY OF " in remaining:
        after = _NAMES_IN_TEXT.match(remaining.partition("COUNTY OF ")[2])
        found = [(_BY_NAME[after[1]], True)] if after else found
    said = [county for county, with_word in found if with_word]
    if town:
        return (said[0], True) if said else (None, False)
    said = said or [county for county, _ in found if county.name != "New York"]
    if said:
        return said[0], True
    manhattan = re.search(r"\b(?:MANHATTAN|MN)\b", remaining) is not None
    return (found[0][0], manhattan) if found else (None, False)


def _court_in(text: str, kind: CourtType | None, county: County) -> Resolution:
    if kind == "nyc_small_claims" and not county.in_nyc:
        kind = "district" if county.name in _DISTRICT_COUNTIES else None
    court = COURTS.get(f"{kind}:{county.slug}")
    if court is not None:
        return Resolution(court.court_id, county.fips)
    if not text:
        detail = "The row names no court, so it stays unknown until a person fills it in."
    elif kind is None:
        detail = "The court is none that the system knows, so it stays unknown."
    else:
        detail = f"{county.name} County has no court of that kind, so the court stays unknown."
    return Resolution(None, county.fips, "COURT_UNKNOWN", detail)
