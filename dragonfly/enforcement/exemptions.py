"""What an income execution or a restraint may reach: wages, bank accounts, the restraint's cap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from dragonfly.enforcement.parameters import LegalParameters

CENT = Decimal("0.01")
ZERO = Decimal("0.00")

# Weeks in a pay period: a year of 52 weeks has 24 half months and 12 months.
PAY_PERIODS: Mapping[str, Fraction] = MappingProxyType(
    {
        "weekly": Fraction(1),
        "biweekly": Fraction(2),
        "semimonthly": Fraction(13, 6),
        "monthly": Fraction(13, 3),
    }
)


@dataclass(frozen=True, slots=True)
class WageLimits:
    """The three limits of CPLR 5231(b) for one pay period: shares, and the floor in dollars."""

    gross_share: Decimal
    disposable_share: Decimal
    floor: Decimal


def wage_floor(minimum_wage: Decimal, hours: int, frequency: str) -> Decimal:
    """Dollars of disposable earnings that no income execution touches in a pay period.

    ``hours`` times the minimum wage a week, CPLR 5231(b)(i); raises KeyError for a frequency
    that is not in PAY_PERIODS.
    """
    weeks = PAY_PERIODS[frequency]
    return (minimum_wage * hours * weeks.numerator / weeks.denominator).quantize(
        CENT, ROUND_HALF_UP
    )


def wage_limits(
    law: LegalParameters, on: date, region: str, frequency: str = "weekly"
) -> WageLimits | None:
    """The limits on a day, or None while the minimum wage of that day is not loaded."""
    minimum_wage = law.find("minimum_wage", on, region)
    if minimum_wage is None:
        return None
    hours = law.whole("income_execution_floor_hours", on)
    return WageLimits(
        law.value("income_execution_gross_share", on),
        law.value("income_execution_disposable_share", on),
        wage_floor(minimum_wage.value, hours, frequency),
    )


def withholding(
    gross: Decimal, disposable: Decimal, limits: WageLimits, support: Decimal = ZERO
) -> Decimal:
    """Dollars an income execution takes from one pay period, CPLR 5231(b).

    The least of a share of gross pay, a share of disposable pay less support, and what disposable
    pay exceeds the floor by; nothing when disposable pay does not exceed the floor.
    """
    least = min(
        gross * limits.gross_share,
        disposable * limits.disposable_share - support,
        disposable - limits.floor,
    )
    return max(least, ZERO).quantize(CENT, ROUND_HALF_UP)


def bank_floor(
    law: LegalParameters, on: date, region: str, exempt_deposits: bool
) -> Decimal | None:
    """Dollars in a natural person's account that a restraint does not reach.

    240 times the minimum wage, CPLR 5222(i); with directly deposited exempt payments in the last
    45 days at least the amount of CPLR 5205(l). None while a number of that day is not loaded.
    """
    minimum_wage = law.find("minimum_wage", on, region)
    if minimum_wage is None:
        return None
    floor = minimum_wage.value * law.whole("bank_floor_hours", on)
    if exempt_deposits:
        deposits = law.find("direct_deposit_exemption", on)
        if deposits is None:
            return None
        floor = max(floor, deposits.value)
    return floor.quantize(CENT, ROUND_HALF_UP)


def restrainable(balance: Decimal, floor: Decimal) -> Decimal:
    """Dollars of an account above the floor that a restraint holds."""
    return max(balance - floor, ZERO)


def restraint_cap(due: Decimal, law: LegalParameters, on: date) -> Decimal:
    """The most that a restraining notice holds: twice the amount due, CPLR 5222(b)."""
    return (due * law.value("restraint_cap_multiple", on)).quantize(CENT, ROUND_HALF_UP)


def dollars(value: Mapping[str, Any], key: str) -> Decimal | None:
    """An amount out of a source's JSON, None when absent or not a finite number of zero or more."""
    try:
        amount = Decimal(str(value.get(key)))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and amount >= ZERO else None
