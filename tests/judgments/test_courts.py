"""Counties and courts as files print them."""

from __future__ import annotations

from collections import Counter

import pytest

from dragonfly.judgments.courts import COUNTIES, COURTS, find_county, resolve


def test_the_table_holds_every_court_it_should() -> None:
    """62 counties; Civil Courts in five, District Courts in two, County Courts outside the city."""
    kinds = Counter(court.court_type for court in COURTS.values())
    assert {
        "supreme": 62,
        "family": 62,
        "surrogate": 62,
        "nyc_civil": 5,
        "nyc_small_claims": 5,
        "district": 2,
        "county": 57,
        "city": 57,
        "town_village": 57,
    } == kinds
    assert set(COUNTIES) == {court.county_fips for court in COURTS.values()}


def test_only_the_higher_courts_need_no_transcript() -> None:
    """Judgments of all courts but Supreme, County and Family must be docketed first."""
    assert {"supreme", "county", "family"} == {
        court.court_type for court in COURTS.values() if not court.needs_transcript
    }


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("Queens", "Queens"),
        ("Kings County", "Kings"),
        ("BROOKLYN", "Brooklyn"),
        ("County of Kings", "Kings"),
        ("Manhattan", "New York"),
        ("New York", "New York"),
        ("The Bronx", "Bronx"),
        ("Staten Island", "Richmond"),
        ("Saint Lawrence", "St. Lawrence"),
        ("St. Lawrence Co.", "St. Lawrence"),
        ("NYC", None),
        ("Los Angeles", None),
        ("", None),
    ],
)
def test_counties_are_found_by_name_and_alias(printed: str, name: str | None) -> None:
    """A county answers to its name and to the names people use; the whole city is no county."""
    county = find_county(printed)
    expected = {"Brooklyn": "Kings"}.get(name or "", name)
    assert expected == (county.name if county else None)


@pytest.mark.parametrize(
    ("court", "county", "court_id"),
    [
        ("NY CIVIL", "New York", "nyc_civil:new_york"),
        ("NY CIVIL", None, "nyc_civil:new_york"),
        ("BRONX CIVIL", "Bronx", "nyc_civil:bronx"),
        ("BRONX CIVIL", None, "nyc_civil:bronx"),
        ("Kings County Civil Court", "Kings", "nyc_civil:kings"),
        ("Brooklyn Civil", "Kings", "nyc_civil:kings"),
        ("Civil Court of the City of New York, County of Kings", "Brooklyn", "nyc_civil:kings"),
        ("New York City Civil Court", "Queens", "nyc_civil:queens"),
        ("Small Claims", "Queens", "nyc_small_claims:queens"),
        ("Supreme Court", "New York", "supreme:new_york"),
        ("Supreme Court, County of New York", "Manhattan", "supreme:new_york"),
        ("Supreme Court of the State of New York, County of Queens", None, "supreme:queens"),
        ("New York State Supreme Court", "Erie", "supreme:erie"),
        ("Family Court", "Kings", "family:kings"),
        ("Surrogate's Court", "Kings", "surrogate:kings"),
        ("Albany County Court", "Albany", "county:albany"),
        ("St. Lawrence County Court", "St Lawrence", "county:st_lawrence"),
        ("First District Court, Nassau County", "Nassau", "district:nassau"),
        ("Small Claims", "Suffolk", "district:suffolk"),
        ("Yonkers City Court", "Westchester", "city:westchester"),
        ("Oneida City Court", "Madison", "city:madison"),
        ("Town of Greene Justice Court", "Chenango", "town_village:chenango"),
    ],
)
def test_courts_are_found_by_what_files_print(
    court: str, county: str | None, court_id: str
) -> None:
    """The court's kind and its county together name one court of the table."""
    place = resolve(court, county)
    assert (court_id, COURTS[court_id].county_fips, None) == (
        place.court_id,
        place.county_fips,
        place.problem,
    )


@pytest.mark.parametrize(
    ("court", "county", "code", "problem"),
    [
        ("Queens County Civil Court", "Kings", None, "COURT_COUNTY_CONFLICT"),
        ("BRONX CIVIL", "New York", None, "COURT_COUNTY_CONFLICT"),
        ("Supreme Court, County of New York", "Erie", None, "COURT_COUNTY_CONFLICT"),
        ("Civil Court", "Kings", "QU", "COURT_COUNTY_CONFLICT"),
        ("Supreme Court", "Kingz", None, "COUNTY_UNKNOWN"),
        ("Supreme Court", "NYC", None, "COUNTY_UNKNOWN"),
        ("Supreme Court", None, None, "COUNTY_UNKNOWN"),
        ("Kings County Court", "Kings", None, "COURT_UNKNOWN"),
        ("Civil Court", "Erie", None, "COURT_UNKNOWN"),
        ("Court of Tennis", "Erie", None, "COURT_UNKNOWN"),
        (None, "Erie", None, "COURT_UNKNOWN"),
    ],
)
def test_doubtful_places_are_named_and_never_guessed(
    court: str | None, county: str | None, code: str | None, problem: str
) -> None:
    """A contradiction or an unknown name leaves the court empty and says why."""
    place = resolve(court, county, code)
    assert (None, problem) == (place.court_id, place.problem)
    assert place.detail


def test_the_index_number_tells_the_county_where_nothing_else_does() -> None:
    """A Civil Court index number that ends in KI is a Kings number."""
    assert "nyc_civil:kings" == resolve("Civil Court", None, "KI").court_id
