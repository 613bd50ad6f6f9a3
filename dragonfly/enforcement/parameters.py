"""Legal numbers, each asked for as of a date; none of them stands anywhere else in the code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from dragonfly.errors import ConfigurationError


class LegalParameterMissing(ConfigurationError):
    """No row of ``civil.legal_parameters`` covers the day on which a number is needed."""


@dataclass(frozen=True, slots=True)
class LegalParameter:
    """One dated number of the law or of the firm's policy.

    ``region`` is "" where the whole state has one value; ``effective_to`` is the last day it holds.
    """

    name: str
    region: str
    value: Decimal
    effective_from: date
    effective_to: date | None
    source: str

    def holds_on(self, day: date) -> bool:
        """True from ``effective_from`` to ``effective_to``, both days included."""
        return self.effective_from <= day and (
            self.effective_to is None or day <= self.effective_to
        )


@dataclass(frozen=True, slots=True)
class LegalParameters:
    """Every known parameter; ask by name, day and region."""

    rows: tuple[LegalParameter, ...]
    _by_name: dict[tuple[str, str], tuple[LegalParameter, ...]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        grouped: dict[tuple[str, str], tuple[LegalParameter, ...]] = {}
        for row in self.rows:
            key = (row.name, row.region)
            grouped[key] = (*grouped.get(key, ()), row)
        object.__setattr__(self, "_by_name", grouped)

    @classmethod
    def of(cls, rows: Iterable[LegalParameter]) -> LegalParameters:
        return cls(tuple(rows))

    def find(self, name: str, on: date, region: str = "") -> LegalParameter | None:
        """The row in force on a day; the youngest if two overlap."""
        holding = [row for row in self._by_name.get((name, region), ()) if row.holds_on(on)]
        return max(holding, key=lambda row: row.effective_from, default=None)

    def value(self, name: str, on: date, region: str = "") -> Decimal:
        """The number in force on a day; raises LegalParameterMissing naming what to load."""
        row = self.find(name, on, region)
        if row is None:
            where = f" for region {region!r}" if region else ""
            raise LegalParameterMissing(
                f"The legal parameter {name!r}{where} has no value on {on.isoformat()}; "
                "add a row to civil.legal_parameters."
            )
        return row.value

    def whole(self, name: str, on: date) -> int:
        """A number of days, months or years."""
        return int(self.value(name, on))

    def first_day(self, name: str) -> date | None:
        """The day from which a parameter exists at all, such as that of a new rate of interest."""
        rows = self._by_name.get((name, ""), ())
        return min((row.effective_from for row in rows), default=None)
