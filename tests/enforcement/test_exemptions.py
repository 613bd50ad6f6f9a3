"""What an income execution and a restraint may reach."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from dragonfly.enforcement.assets import assess
from dragonfly.enforcement.exemptions import (
    WageLimits,
    bank_floor,
    dollars,
    restrainable,
    restraint_cap,
    wage_floor,
    wage_limits,
    withholding,
)
from dragonfly.enforcement.parameters import LegalParameter, LegalParameters
from tests.enforcement.cases import AS_OF, LAW, bank, employer, intel, person_facts
from tests.enforcement.test_interest import of_kind


@pytest.mark.parametrize("case", of_kind("income_execution_week"))
def test_weekly_withholding_of_the_worked_cases(case: dict[str, str]) -> None:
    """The least of 10 % of gross, 25 % of disposable and what exceeds 30 hours' minimum wage."""
    floor = wage_floor(Decimal(case["min_wage"]), 30, "weekly")
    limits = WageLimits(Decimal("0.10"), Decimal("0.25"), floor)
    found = withholding(
        Decimal(case["gross"]), Decimal(case["disposable"]), limits, Decimal(case["support"])
    )

    assert Decimal(case["withhold"]) == found


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        ("weekly", "510.00"),
        ("biweekly", "1020.00"),
        ("semimonthly", "1105"),
        ("monthly", "2210"),
    ],
)
def test_the_floor_follows_the_pay_period(frequency: str, expected: str) -> None:
    """New York City 2026: 510 a week, 1,020, 1,105 and 2,210 (W8)."""
    limits = wage_limits(LAW, AS_OF, "high", frequency)

    assert limits is not None
    assert Decimal(expected) == limits.floor


@pytest.mark.parametrize(
    ("on", "region", "expected"),
    [
        (date(2023, 12, 31), "high", "450.00"),
        (date(2024, 1, 1), "high", "480.00"),
        (date(2025, 1, 1), "high", "495.00"),
        (date(2026, 1, 1), "high", "510.00"),
        (date(2023, 12, 31), "rest", "426.00"),
        (date(2024, 1, 1), "rest", "450.00"),
        (date(2025, 1, 1), "rest", "465.00"),
        (date(2026, 1, 1), "rest", "480.00"),
    ],
)
def test_the_weekly_floor_of_each_year_and_region(on: date, region: str, expected: str) -> None:
    """Thirty times the minimum wage of the day."""
    limits = wage_limits(LAW, on, region)

    assert limits is not None
    assert Decimal(expected) == limits.floor


def test_support_comes_out_of_the_quarter_before_any_creditor() -> None:
    """A support order leaves the creditor only the rest of the quarter of disposable pay."""
    limits = WageLimits(Decimal("0.10"), Decimal("0.25"), Decimal("510.00"))

    assert Decimal("45.00") == withholding(Decimal(1000), Decimal(780), limits, Decimal(150))
    assert Decimal("0.00") == withholding(Decimal(1000), Decimal(780), limits, Decimal(300))


def test_without_next_years_minimum_wage_there_are_no_limits_to_state() -> None:
    """On 1 January 2027 the wage is not on file, so no number is made up."""
    on = date(2027, 1, 1)

    assert (None, None) == (wage_limits(LAW, on, "high"), bank_floor(LAW, on, "high", False))


@pytest.mark.parametrize(
    ("balance", "exempt_deposits", "floor", "reachable"),
    [
        ("4000.00", False, "4080.00", "0.00"),
        ("6000.00", False, "4080.00", "1920.00"),
        ("3000.00", True, "4080.00", "0.00"),
        ("4080.01", False, "4080.00", "0.01"),
    ],
    ids=["B1", "B2", "B3", "a cent above"],
)
def test_what_a_restraint_reaches_in_a_persons_account(
    balance: str, exempt_deposits: bool, floor: str, reachable: str
) -> None:
    """240 hours' minimum wage stay with the debtor: 4,080 in New York City in 2026."""
    found = bank_floor(LAW, AS_OF, "high", exempt_deposits)

    assert Decimal(floor) == found
    assert found is not None
    assert Decimal(reachable) == restrainable(Decimal(balance), found)


def test_directly_deposited_benefits_raise_a_lower_floor() -> None:
    """Where 240 hours come to less than 3,425, exempt deposits keep 3,425 with the debtor."""
    wage = LegalParameter("minimum_wage", "low", Decimal("14.00"), AS_OF, None, "test")
    law = LegalParameters.of([*LAW.rows, wage])

    assert [Decimal("3360.00"), Decimal("3425.00")] == [
        bank_floor(law, AS_OF, "low", exempt_deposits=exempt) for exempt in (False, True)
    ]


def test_before_the_exemption_is_on_file_the_floor_of_such_an_account_is_unknown() -> None:
    """No number is made up for a day that the table does not cover."""
    assert bank_floor(LAW, date(2024, 3, 31), "high", exempt_deposits=True) is None


@pytest.mark.parametrize("case", of_kind("restraint_cap"))
def test_a_restraint_holds_at_most_twice_the_amount_due(case: dict[str, str]) -> None:
    """$74,696.14 due caps the restraint at 149,392.28 (R1)."""
    assert Decimal(case["cap"]) == restraint_cap(Decimal(case["due"]), LAW, AS_OF)


@pytest.mark.parametrize("wrong", [None, "", "abc", "NaN", "Infinity", "-1", [], {}])
def test_an_amount_that_is_none_stays_unknown(wrong: object) -> None:
    """What a source did not say as a number is not taken for zero."""
    assert dollars({"balance": wrong}, "balance") is None


def test_a_source_that_gives_no_wage_leaves_the_withholding_unknown() -> None:
    """Unknown earnings are not zero earnings."""
    (asset,) = assess(person_facts(intelligence=(employer(value={"gross": None}),)), LAW)

    assert ("unknown", None) == (asset.reach, asset.amount)


def test_an_unknown_place_of_work_gets_the_higher_minimum_wage() -> None:
    """In doubt the debtor keeps more."""
    found = employer(value={"gross": "650", "disposable": "540"}, wage_region=None)
    (asset,) = assess(person_facts(intelligence=(found,)), LAW)

    assert Decimal("30.00") == asset.amount


def test_a_debtor_on_benefits_alone_has_nothing_within_reach() -> None:
    """Neither account nor wages are touched when only benefits are known (B4)."""
    known = (intel("benefits", {"benefits_only": True}), bank(), employer())

    assert {"benefits_only"} == {one.reach for one in assess(person_facts(intelligence=known), LAW)}


def test_an_unknown_frequency_of_pay_leaves_the_withholding_unknown() -> None:
    """A pay period nobody defined is not taken for a week."""
    found = employer(value={"frequency": "quarterly"})
    (asset,) = assess(person_facts(intelligence=(found,)), LAW)

    assert "unknown" == asset.reach


def test_an_account_in_an_unknown_place_keeps_the_higher_floor() -> None:
    """4,080 stay, not 3,840."""
    (asset,) = assess(person_facts(intelligence=(bank("5000.00", wage_region=None),)), LAW)

    assert Decimal("920.00") == asset.amount


def test_one_employer_of_two_debtors_is_two_targets_and_one_bank_is_one() -> None:
    """Wages are each debtor's own; a bank is restrained once."""
    reports = [
        kind(debtor_seq=seq, intel_id=f"{kind.__name__}-{seq}")
        for kind in (employer, bank)
        for seq in (1, 2)
    ]
    found = [asset.kind for asset in assess(person_facts(intelligence=tuple(reports)), LAW)]

    assert ["bank", "employer", "employer"] == found
