"""What the decision knows about one judgment: plain frozen values, read from Postgres or a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

DebtClass = Literal["consumer", "non_consumer", "unknown"]

# Statuses in which a paper has left the house; anything earlier belongs to the plan that made it.
COMMITTED = frozenset({"signed", "issued", "served"})


@dataclass(frozen=True, slots=True)
class Court:
    """``needs_transcript`` is true but for supreme, county and family courts (CPLR 5018(a))."""

    court_id: str
    court_type: str
    needs_transcript: bool

    @property
    def has_marshals(self) -> bool:
        """True if a city marshal executes its judgments without the county clerk: CCA 1609."""
        return self.court_type in {"nyc_civil", "nyc_small_claims"}


@dataclass(frozen=True, slots=True)
class Judgment:
    """The judgment as stored. Amounts are dollars; every unknown is None.

    ``original_total`` is award, costs and pre-judgment interest (CPLR 5003 bears on the whole).
    ``contract_rate`` counts only when the judgment itself sets it (``contract_rate_in_judgment``).
    """

    judgment_id: str
    original_total: Decimal
    status: str
    state: str = "NY"
    court: Court | None = None
    county_fips: str | None = None
    filing_date: date | None = None
    judgment_date: date | None = None
    entry_date: date | None = None
    entry_date_quality: str = "unknown"
    judgment_roll_filed: date | None = None
    first_enforceable_date: date | None = None
    debt_class: DebtClass = "unknown"
    debtor_is_natural_person: bool | None = None
    contract_rate: Decimal | None = None
    contract_rate_in_judgment: bool = False
    verified: bool = False
    authorization_status: str = "none"
    disputed: bool = False
    cease_requested: bool = False
    attorney_represented: bool = False

    @property
    def known_entry(self) -> date | None:
        """The day of entry, unless it is only a guess of nobody knows whom."""
        return None if self.entry_date_quality == "unknown" else self.entry_date


@dataclass(frozen=True, slots=True)
class Party:
    """A debtor, creditor, garnishee or assignee; names do not matter to the decision."""

    seq: int
    role: str
    kind: str
    has_address: bool = False


@dataclass(frozen=True, slots=True)
class Payment:
    """Money received on a day, dollars above zero; reversed payments are left out by the reader."""

    payment_id: str
    received_on: date
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Intelligence:
    """One fact about a debtor with its provenance; ``value`` is what the source said (JSON).

    ``wage_region`` and ``in_new_york_city`` are those of the county in ``value["county_fips"]``,
    None when it names no New York county.
    """

    intel_id: str
    kind: str
    value: Mapping[str, Any]
    source: str
    obtained_on: date
    debtor_seq: int | None = None
    valid_until: date | None = None
    confidence: int = 0
    verified: bool = False
    permissible_purpose: str | None = None
    is_mock: bool = False
    wage_region: str | None = None
    in_new_york_city: bool | None = None


@dataclass(frozen=True, slots=True)
class Docketing:
    """A transcript docketed with the clerk of a county (CPLR 5018)."""

    county_fips: str
    docketed_on: date


@dataclass(frozen=True, slots=True)
class Assignment:
    """A transfer of the judgment; it counts once the instrument is filed (CPLR 5019(c))."""

    executed_on: date
    filed_on: date | None


@dataclass(frozen=True, slots=True)
class PastAction:
    """A paper that left the house, open or ended.

    ``answered_none`` means the recipient swore that there is no account, debt or employment.
    """

    action_type: str
    target_key: str
    status: str
    issued_on: date | None = None
    ended_on: date | None = None
    debtor_seq: int | None = None
    answered_none: bool = False

    @property
    def is_open(self) -> bool:
        return self.status in COMMITTED


@dataclass(frozen=True, slots=True)
class EnforcementFacts:
    """Everything the decision reads, and the day it is made for (America/New_York)."""

    judgment: Judgment
    as_of: date
    parties: tuple[Party, ...] = ()
    payments: tuple[Payment, ...] = ()
    intelligence: tuple[Intelligence, ...] = ()
    docketings: tuple[Docketing, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    past_actions: tuple[PastAction, ...] = ()
    packages: frozenset[str] = frozenset()

    @property
    def debtors(self) -> tuple[Party, ...]:
        return tuple(party for party in self.parties if party.role == "debtor")
