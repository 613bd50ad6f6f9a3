"""What intelligence about a debtor is worth: usable or not, fresh or not, within reach or not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from dragonfly.enforcement.deadlines import years_after
from dragonfly.enforcement.exemptions import (
    PAY_PERIODS,
    ZERO,
    bank_floor,
    dollars,
    restrainable,
    wage_limits,
    withholding,
)
from dragonfly.enforcement.facts import EnforcementFacts, Intelligence
from dragonfly.enforcement.parameters import LegalParameters

ASSET_KINDS = frozenset({"employer", "bank", "real_property", "business_interest"})
# Kinds a consumer report supplies: without a permissible purpose they may not be used.
_NEEDS_PURPOSE = frozenset({"employer", "bank"})

Reach = Literal["yields", "nothing", "benefits_only", "unknown", "floor_unknown"]
Refusal = Literal["mock", "unattributed"]


@dataclass(frozen=True, slots=True)
class Asset:
    """A place where money may be, as far as one fact shows it.

    ``amount`` is dollars a pay period from an employer, or dollars in an account above the floor;
    None when the source did not say. ``closed`` means its holder lately answered that there is
    nothing. Names stay out: ``target_key`` tells one garnishee from another.
    """

    intel_id: str
    kind: str
    target_key: str
    debtor_seq: int | None
    natural_person: bool
    confidence: int
    verified: bool
    stale: bool
    closed: bool
    reach: Reach
    amount: Decimal | None
    county_fips: str | None
    in_new_york_city: bool


def refusal_of(intel: Intelligence) -> Refusal | None:
    """Why a fact may carry no plan at all: invented, or without a source that may be named."""
    if intel.is_mock:
        return "mock"
    unnamed = not intel.source.strip()
    if unnamed or (intel.kind in _NEEDS_PURPOSE and not intel.permissible_purpose):
        return "unattributed"
    return None


def target_key(intel: Intelligence) -> str:
    """A key that two reports about one garnishee or county share, and that shows no name."""
    if intel.kind == "real_property":
        return f"county:{intel.value.get('county_fips') or 'unknown'}"
    name = "".join(c for c in str(intel.value.get("name") or "").casefold() if c.isalnum())
    digest = hashlib.sha256((name or intel.intel_id).encode()).hexdigest()[:16]
    # One employer can owe wages to two debtors; one bank is one garnishee.
    owner = f":{intel.debtor_seq}" if intel.kind == "employer" and intel.debtor_seq else ""
    return f"{intel.kind}:{digest}{owner}"


def is_natural_person(facts: EnforcementFacts, debtor_seq: int | None) -> bool:
    """True unless a debtor is known to be no person: the exemptions then favour the debtor."""
    kinds = {party.seq: party.kind for party in facts.debtors}
    kind = kinds.get(debtor_seq) if debtor_seq is not None else None
    if kind in {"person", "estate"}:
        return True
    if kind in {"company", "government"}:
        return False
    return facts.judgment.debtor_is_natural_person is not False


def older_than(intel: Intelligence, days: int, as_of: date) -> bool:
    """True when a fact is past its age or the day its source gave it."""
    ended = intel.valid_until is not None and intel.valid_until < as_of
    return ended or intel.obtained_on + timedelta(days=days) < as_of


def assess(facts: EnforcementFacts, law: LegalParameters) -> tuple[Asset, ...]:
    """The usable assets, the newest report for each target, in order of key."""
    newest: dict[str, Intelligence] = {}
    for intel in sorted(facts.intelligence, key=lambda one: (one.obtained_on, one.intel_id)):
        if intel.kind in ASSET_KINDS and refusal_of(intel) is None:
            newest[target_key(intel)] = intel
    return tuple(_asset(key, newest[key], facts, law) for key in sorted(newest))


def _asset(key: str, intel: Intelligence, facts: EnforcementFacts, law: LegalParameters) -> Asset:
    natural = is_natural_person(facts, intel.debtor_seq)
    reach, amount = _reach(intel, natural, facts, law)
    policy = f"{intel.kind}_age_days"
    limit = law.whole(policy, facts.as_of) if intel.kind in _NEEDS_PURPOSE else None
    county = intel.value.get("county_fips")
    return Asset(
        intel_id=intel.intel_id,
        kind=intel.kind,
        target_key=key,
        debtor_seq=intel.debtor_seq,
        natural_person=natural,
        confidence=intel.confidence,
        verified=intel.verified,
        stale=limit is not None and older_than(intel, limit, facts.as_of),
        closed=_closed(key, facts, law),
        reach=reach,
        amount=amount,
        county_fips=str(county) if county else None,
        in_new_york_city=intel.in_new_york_city is True,
    )


def _closed(key: str, facts: EnforcementFacts, law: LegalParameters) -> bool:
    wait = law.whole("same_target_wait_years", facts.as_of)
    return any(
        past.answered_none
        and past.target_key == key
        and past.ended_on is not None
        and facts.as_of < years_after(past.ended_on, wait)
        for past in facts.past_actions
    )


def benefits_only(facts: EnforcementFacts, debtor_seq: int | None) -> bool:
    """True when a usable report says that a debtor lives on exempt benefits alone."""
    return any(
        intel.kind == "benefits"
        and intel.value.get("benefits_only") is True
        and refusal_of(intel) is None
        and (debtor_seq is None or intel.debtor_seq in {None, debtor_seq})
        for intel in facts.intelligence
    )


def _reach(
    intel: Intelligence, natural: bool, facts: EnforcementFacts, law: LegalParameters
) -> tuple[Reach, Decimal | None]:
    if natural and intel.kind in {"employer", "bank"} and benefits_only(facts, intel.debtor_seq):
        return "benefits_only", ZERO
    if intel.kind == "employer":
        return _wages(intel, facts.as_of, law)
    if intel.kind == "bank":
        return _account(intel, natural, facts.as_of, law)
    return "unknown", None


def _wages(intel: Intelligence, as_of: date, law: LegalParameters) -> tuple[Reach, Decimal | None]:
    gross, disposable = dollars(intel.value, "gross"), dollars(intel.value, "disposable")
    frequency = str(intel.value.get("frequency") or "weekly")
    if gross is None or disposable is None or frequency not in PAY_PERIODS:
        return "unknown", None
    # An unknown place of work gets the higher minimum wage, which favours the debtor.
    limits = wage_limits(law, as_of, intel.wage_region or "high", frequency)
    if limits is None:
        return "floor_unknown", None
    support = dollars(intel.value, "support") or ZERO
    amount = withholding(gross, disposable, limits, support)
    return ("yields" if amount else "nothing"), amount


def _account(
    intel: Intelligence, natural: bool, as_of: date, law: LegalParameters
) -> tuple[Reach, Decimal | None]:
    balance = dollars(intel.value, "balance")
    if balance is None:
        return "unknown", None
    floor: Decimal | None = ZERO
    if natural:
        exempt = intel.value.get("exempt_deposits") is True
        floor = bank_floor(law, as_of, intel.wage_region or "high", exempt)
    if floor is None:
        return "floor_unknown", None
    amount = restrainable(balance, floor)
    return ("yields" if amount else "nothing"), amount
