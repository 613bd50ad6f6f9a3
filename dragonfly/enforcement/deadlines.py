"""Days that count: periods rolled over holidays, and the lives of lien and judgment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from functools import lru_cache

import holidays

# A state commemoration that Gen. Constr. Law 24 does not list as a public holiday.
_NOT_IN_SECTION_24 = frozenset({"Susan B. Anthony Day"})


@lru_cache(maxsize=64)
def public_holidays(year: int) -> frozenset[date]:
    """The public holidays of Gen. Constr. Law 24 in a year; one on a Sunday is kept on Monday too.

    A holiday on a Saturday is not moved to Friday: section 24 knows only the day thereafter.
    """
    listed = holidays.country_holidays("US", subdiv="NY", years=year, observed=False)
    days = {day for day in listed if not _NOT_IN_SECTION_24.issuperset(listed.get_list(day))}
    return frozenset(days | {day + timedelta(days=1) for day in days if day.weekday() == 6})


def is_business_day(day: date) -> bool:
    """False on a Saturday, a Sunday or a public holiday."""
    return day.weekday() < 5 and day not in public_holidays(day.year)


def deadline(start: date, days: int) -> date:
    """The last day of a period of calendar days, the first excluded (Gen. Constr. Law 20).

    A period that ends on a Saturday, Sunday or public holiday runs to the next business day
    (Gen. Constr. Law 25-a).
    """
    last = start + timedelta(days=days)
    while not is_business_day(last):
        last += timedelta(days=1)
    return last


def years_after(start: date, years: int) -> date:
    """The same day years on; 28 February where that year has no 29th, which never adds a day."""
    try:
        return start.replace(year=start.year + years)
    except ValueError:
        return start.replace(year=start.year + years, day=28)


def lien_ends(roll_filed: date, years: int) -> date:
    """The end of a real-property lien: years from filing of the judgment roll, CPLR 5203(a).

    Not from docketing (Quarant v Ferrara), and not rolled over a weekend: a lien is no act to do.
    """
    return years_after(roll_filed, years)


def judgment_ends(first_enforceable: date, payments: Iterable[date], years: int) -> date:
    """The day on which a judgment is presumed paid, CPLR 211(b).

    Each payment made before that day starts the years anew; one made later revives nothing.
    """
    ends = years_after(first_enforceable, years)
    for paid in sorted(payments):
        if first_enforceable <= paid <= ends:
            ends = years_after(paid, years)
    return ends
