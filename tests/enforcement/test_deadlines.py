"""Deadlines, holidays, and the lives of lien and judgment."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragonfly.enforcement.deadlines import (
    deadline,
    is_business_day,
    judgment_ends,
    lien_ends,
    public_holidays,
    years_after,
)
from tests.enforcement.test_interest import day, of_kind


@pytest.mark.parametrize("case", of_kind("deadline"))
def test_deadlines_of_the_worked_cases(case: dict[str, str]) -> None:
    """The first day is not counted, and a period never ends on a closed day."""
    assert day(case["due"]) == deadline(day(case["start"]), int(case["days"]))


@pytest.mark.parametrize(
    ("days", "due"), [(60, date(2026, 3, 16)), (90, date(2026, 4, 15))], ids=["return", "levy"]
)
def test_the_periods_of_an_execution(days: int, due: date) -> None:
    """Issued on 15 January 2026, it is returned by 16 March and the levy ends 15 April (D3)."""
    assert due == deadline(date(2026, 1, 15), days)


def test_a_restraint_on_a_third_party_ends_a_year_on() -> None:
    """A restraint of 15 January 2026 ends on 15 January 2027 (D3)."""
    assert date(2027, 1, 15) == years_after(date(2026, 1, 15), 1)


@pytest.mark.parametrize(
    ("start", "days", "due", "why"),
    [
        (date(2026, 6, 12), 7, date(2026, 6, 22), "Juneteenth is a Friday, then the weekend"),
        (date(2026, 12, 18), 7, date(2026, 12, 28), "Christmas is a Friday, then the weekend"),
        (date(2026, 10, 27), 7, date(2026, 11, 4), "the general election is a public holiday"),
        (date(2026, 2, 5), 7, date(2026, 2, 13), "Lincoln's birthday is a Thursday"),
        (date(2021, 6, 27), 7, date(2021, 7, 6), "the Fourth on a Sunday is kept on Monday too"),
        (
            date(2026, 6, 26),
            7,
            date(2026, 7, 3),
            "the Fourth on a Saturday moves nothing",
        ),
    ],
)
def test_deadlines_roll_over_the_states_public_holidays(
    start: date, days: int, due: date, why: str
) -> None:
    """General Construction Law 24 says which days are holidays, 25-a that they move the end."""
    assert due == deadline(start, days), why


def test_a_commemoration_is_no_public_holiday() -> None:
    """15 February is not listed in General Construction Law 24."""
    assert date(2028, 2, 15) not in public_holidays(2028)
    assert date(2021, 2, 15) in public_holidays(2021), "Washington's birthday fell on it in 2021"


@pytest.mark.parametrize("case", of_kind("lien_end"))
def test_liens_of_the_worked_cases(case: dict[str, str]) -> None:
    """A lien ends ten years after filing of the judgment roll, whenever it was docketed."""
    assert day(case["ends"]) == lien_ends(day(case["roll_filed"]), 10)


@pytest.mark.parametrize("case", of_kind("judgment_end"))
def test_lives_of_the_worked_cases(case: dict[str, str]) -> None:
    """A payment starts the twenty years anew."""
    found = judgment_ends(day(case["first_enforceable"]), [day(case["last_payment"])], 20)

    assert day(case["ends"]) == found


def test_without_a_payment_a_judgment_ends_after_twenty_years() -> None:
    """First enforceable on 30 November 2006, it ends on 30 November 2026 (L4)."""
    assert date(2026, 11, 30) == judgment_ends(date(2006, 11, 30), [], 20)


def test_a_payment_after_the_end_revives_nothing() -> None:
    """What is presumed paid stays so."""
    assert date(2020, 1, 2) == judgment_ends(date(2000, 1, 2), [date(2020, 1, 3)], 20)


def test_payments_in_any_order_extend_one_after_the_other() -> None:
    """Each payment inside the years running then starts them anew."""
    payments = [date(2035, 1, 1), date(2018, 1, 1)]

    assert date(2055, 1, 1) == judgment_ends(date(2000, 1, 2), payments, 20)


def test_a_leap_day_ends_on_the_last_of_february() -> None:
    """No day is added where the year has no 29 February."""
    assert date(2034, 2, 28) == years_after(date(2024, 2, 29), 10)


@given(st.dates(date(2000, 1, 1), date(2060, 1, 1)), st.integers(0, 120))
def test_a_deadline_is_a_business_day_and_never_early(start: date, days: int) -> None:
    """Rolling only ever moves forward, by less than a week."""
    found = deadline(start, days)

    assert is_business_day(found)
    assert 0 <= (found - start).days - days < 7
