"""The reference rows of the schema say what the code says."""

from __future__ import annotations

import csv
from importlib import resources

import asyncpg
import pytest

from dragonfly.judgments.courts import COURTS


async def test_courts_are_those_of_the_code(conn: asyncpg.Connection) -> None:
    """civil.courts holds exactly the courts that a row can be resolved to."""
    rows = await conn.fetch(
        "SELECT court_id, court_type, name, county_fips, needs_transcript FROM civil.courts"
    )

    assert {tuple(row) for row in rows} == {
        (court.court_id, court.court_type, court.name, court.county_fips, court.needs_transcript)
        for court in COURTS.values()
    }


async def test_counties_are_those_of_the_table(conn: asyncpg.Connection) -> None:
    """civil.counties holds the 62 counties with their regions and bands."""
    text = (resources.files("dragonfly.judgments") / "data" / "ny_counties.csv").read_text("utf-8")
    table = csv.DictReader(text.splitlines())
    names = ("fips", "county", "is_nyc", "wage_region", "homestead_band")
    expected = {tuple(row[name] for name in names) for row in table}
    rows = await conn.fetch(
        "SELECT county_fips, name, is_nyc, wage_region, homestead_band FROM civil.counties"
    )

    assert {(r[0], r[1], "y" if r[2] else "n", r[3], r[4]) for r in rows} == expected


async def test_payments_are_only_added(conn: asyncpg.Connection) -> None:
    """A payment is reversed by another one, never changed or deleted."""
    judgment_id = await conn.fetchval(
        "WITH p AS (INSERT INTO civil.plaintiffs (name_display, name_key, source_system)"
        " VALUES ('A', 'a', 'manual') RETURNING plaintiff_id)"
        " INSERT INTO civil.judgments (plaintiff_id, index_raw, index_display, index_key,"
        " index_parsed, amount_awarded, source_system)"
        " SELECT plaintiff_id, '1/20', '1/20', '|1|2020|', true, 10, 'manual' FROM p"
        " RETURNING judgment_id"
    )
    add = (
        "INSERT INTO civil.judgment_payments (judgment_id, received_on, amount, source)"
        " VALUES ($1, '2026-01-05', 5, 'check') RETURNING payment_id"
    )
    first, second = [await conn.fetchval(add, judgment_id) for _ in range(2)]

    await conn.execute(
        "UPDATE civil.judgment_payments SET reversed_by = $2 WHERE payment_id = $1", first, second
    )
    for statement in (
        "UPDATE civil.judgment_payments SET amount = 6",
        "UPDATE civil.judgment_payments SET reversed_by = NULL",
        "DELETE FROM civil.judgment_payments",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            await conn.execute(statement)


async def test_no_table_is_open_to_everybody(conn: asyncpg.Connection) -> None:
    """Row-level security is on, not forced, and PUBLIC has no right to any table."""
    tables = await conn.fetch(
        "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,"
        " EXISTS (SELECT FROM aclexplode(c.relacl) AS a WHERE a.grantee = 0) AS public"
        " FROM pg_class AS c WHERE c.relnamespace = 'civil'::regnamespace AND c.relkind = 'r'"
    )

    assert len(tables) >= 12
    wrong = [tuple(row) for row in tables if tuple(row)[1:] != (True, False, False)]
    assert wrong == []
