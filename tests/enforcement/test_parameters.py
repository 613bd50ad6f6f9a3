"""The legal numbers on file."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import asyncpg
import pytest

from dragonfly.enforcement.parameters import LegalParameterMissing
from dragonfly.enforcement.repository import load_parameters
from tests.enforcement.cases import LAW


async def test_the_law_on_file_is_the_law_of_these_tests(conn: asyncpg.Connection) -> None:
    """Migration and tests agree on every legal number and its days."""

    def plain(rows: object) -> set[tuple[object, ...]]:
        return {
            (row.name, row.region, row.value, row.effective_from, row.effective_to)
            for row in rows  # type: ignore[attr-defined]
        }

    on_file = await load_parameters(conn)

    assert plain(LAW.rows) == plain(on_file.rows)


async def test_every_number_names_its_source(conn: asyncpg.Connection) -> None:
    """A number without a statute or a policy behind it is not law."""
    unnamed = await conn.fetch("select name from civil.legal_parameters where btrim(source) = ''")

    assert [] == unnamed


async def test_what_no_source_confirmed_says_so(conn: asyncpg.Connection) -> None:
    """Hypotheses are marked, so that counsel can find them."""
    found = await conn.fetch(
        "select name from civil.legal_parameters where source like 'unconfirmed%' order by name"
    )

    assert [
        "execution_return_days",
        "levy_days",
        "military_check_age_days",
    ] == [row["name"] for row in found]


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (date(2025, 12, 31), "16.50"),
        (date(2026, 1, 1), "17.00"),
        (date(2026, 12, 31), "17.00"),
    ],
)
def test_a_number_holds_from_its_first_to_its_last_day(on: date, expected: str) -> None:
    """Both ends of the period belong to it."""
    assert Decimal(expected) == LAW.value("minimum_wage", on, "high")


def test_a_day_without_a_number_is_named_with_what_to_load() -> None:
    """The sentence says which parameter, which region and which day."""
    with pytest.raises(LegalParameterMissing) as caught:
        LAW.value("minimum_wage", date(2027, 1, 1), "rest")

    assert str(caught.value) == (
        "The legal parameter 'minimum_wage' for region 'rest' has no value on 2027-01-01; "
        "add a row to civil.legal_parameters."
    )
