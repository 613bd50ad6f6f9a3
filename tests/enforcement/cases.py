"""Facts for the tests: the law as of November 2026, and a judgment that nothing holds back."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from dragonfly.enforcement.facts import (
    Court,
    EnforcementFacts,
    Intelligence,
    Judgment,
    Party,
    PastAction,
    Payment,
)
from dragonfly.enforcement.parameters import LegalParameter, LegalParameters

AS_OF = date(2026, 11, 23)
KINGS = "36047"
ERIE = "36029"
SUPREME = Court("supreme", "supreme", needs_transcript=False)
DISTRICT = Court("district", "district", needs_transcript=True)
CIVIL = Court("nyc_civil", "nyc_civil", needs_transcript=True)

_OLD = date(1963, 9, 1)
_ALWAYS = {
    "income_execution_floor_hours": "30",
    "income_execution_gross_share": "0.10",
    "income_execution_disposable_share": "0.25",
    "bank_floor_hours": "240",
    "restraint_cap_multiple": "2",
    "judgment_life_years": "20",
    "lien_life_years": "10",
    "lien_renewal_window_days": "365",
    "satisfaction_days": "20",
    "subpoena_answer_days": "7",
    "restraint_years": "1",
    "income_execution_first_stage_days": "20",
    "execution_return_days": "60",
    "levy_days": "90",
    "military_check_age_days": "30",
    "letter_to_execution_days": "14",
    "confidence_threshold": "70",
    "employer_age_days": "180",
    "bank_age_days": "180",
    "address_age_days": "365",
    "same_target_wait_years": "1",
    "exempt_recheck_years": "1",
    "life_warning_years": "2",
    "small_balance": "1500.00",
}
_DATED = (
    ("interest_rate", "", "0.09", "1981-06-25", None),
    ("interest_rate_consumer", "", "0.02", "2022-04-30", None),
    ("minimum_wage", "high", "15.00", "2022-12-31", "2023-12-31"),
    ("minimum_wage", "high", "16.00", "2024-01-01", "2024-12-31"),
    ("minimum_wage", "high", "16.50", "2025-01-01", "2025-12-31"),
    ("minimum_wage", "high", "17.00", "2026-01-01", "2026-12-31"),
    ("minimum_wage", "rest", "14.20", "2022-12-31", "2023-12-31"),
    ("minimum_wage", "rest", "15.00", "2024-01-01", "2024-12-31"),
    ("minimum_wage", "rest", "15.50", "2025-01-01", "2025-12-31"),
    ("minimum_wage", "rest", "16.00", "2026-01-01", "2026-12-31"),
    ("direct_deposit_exemption", "", "3425.00", "2024-04-01", "2027-03-31"),
    ("homestead", "A", "204825.00", "2024-04-01", "2027-03-31"),
    ("homestead", "B", "170700.00", "2024-04-01", "2027-03-31"),
    ("homestead", "C", "102400.00", "2024-04-01", "2027-03-31"),
)


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


LAW = LegalParameters.of(
    [
        LegalParameter(name, region, Decimal(value), date.fromisoformat(begins), _day(ends), "test")
        for name, region, value, begins, ends in _DATED
    ]
    + [
        LegalParameter(name, "", Decimal(value), _OLD, None, "test")
        for name, value in _ALWAYS.items()
    ]
)

# A company owes a verified commercial judgment of a supreme court; the firm may act.
JUDGMENT = Judgment(
    judgment_id="6f1c0a52-0000-4000-8000-000000000001",
    original_total=Decimal("20000.00"),
    status="verified",
    court=SUPREME,
    county_fips=KINGS,
    filing_date=date(2023, 2, 1),
    judgment_date=date(2024, 2, 20),
    entry_date=date(2024, 3, 1),
    entry_date_quality="court_record",
    judgment_roll_filed=date(2024, 3, 1),
    first_enforceable_date=date(2024, 3, 1),
    debt_class="non_consumer",
    debtor_is_natural_person=False,
    verified=True,
    authorization_status="loa",
)
CREDITOR = Party(0, "creditor", "company")
DEBTOR = Party(1, "debtor", "company", has_address=True)
PERSON = Party(1, "debtor", "person", has_address=True)
LETTER = PastAction("demand_letter", "debtor:1", "served", issued_on=date(2026, 1, 5), debtor_seq=1)


def facts(judgment: dict[str, Any] | None = None, **changes: Any) -> EnforcementFacts:
    """The clear case: the letter went out long ago; ``judgment`` changes fields of the judgment."""
    base = EnforcementFacts(
        judgment=replace(JUDGMENT, **(judgment or {})),
        as_of=AS_OF,
        parties=(CREDITOR, DEBTOR),
        past_actions=(LETTER,),
    )
    return replace(base, **changes)


def person_facts(judgment: dict[str, Any] | None = None, **changes: Any) -> EnforcementFacts:
    """The same against a natural person who is known not to serve in the military."""
    changes["intelligence"] = (NOT_SERVING, *changes.get("intelligence", ()))
    person = {"debtor_is_natural_person": True, "debt_class": "consumer", **(judgment or {})}
    return facts(person, **{"parties": (CREDITOR, PERSON), **changes})


def intel(kind: str, value: dict[str, Any] | None = None, **changes: Any) -> Intelligence:
    """A fresh, trusted, attributed report about the first debtor."""
    base = Intelligence(
        intel_id=f"intel-{kind}",
        kind=kind,
        value=value or {},
        source="county clerk",
        obtained_on=date(2026, 11, 1),
        debtor_seq=1,
        confidence=90,
        permissible_purpose="15 USC 1681b(a)(3)(A)",
    )
    return replace(base, **changes)


NOT_SERVING = intel("military", {"active": False})


def employer(**changes: Any) -> Intelligence:
    """An employer in New York City that pays 1,000 gross, 780 disposable a week."""
    value = {"name": "Acme Corp.", "gross": "1000.00", "disposable": "780.00"}
    value.update(changes.pop("value", {}))
    return intel("employer", value, **{"wage_region": "high", "in_new_york_city": True, **changes})


def bank(balance: str | None = "6000.00", **changes: Any) -> Intelligence:
    """An account in New York City."""
    value = {"name": "First Example Bank", "balance": balance, **changes.pop("value", {})}
    return intel("bank", value, **{"wage_region": "high", "in_new_york_city": True, **changes})


def land(county_fips: str = KINGS, **changes: Any) -> Intelligence:
    """Real property whose owner is verified to be the debtor."""
    return intel("real_property", {"county_fips": county_fips}, **{"verified": True, **changes})


def paid(day: str, amount: str, payment_id: str = "1") -> Payment:
    return Payment(payment_id, date.fromisoformat(day), Decimal(amount))
