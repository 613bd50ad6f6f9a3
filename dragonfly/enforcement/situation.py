"""What the facts amount to on the day: the only thing that gates and the decision table read.

Every effect of the calendar is turned into a fact here (a lien in its last year, a report grown
stale, a balance fallen under the limit), so that a decision changes only when one of them does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from dragonfly.enforcement.assets import (
    ASSET_KINDS,
    Asset,
    Refusal,
    assess,
    benefits_only,
    older_than,
    refusal_of,
    target_key,
)
from dragonfly.enforcement.deadlines import deadline, judgment_ends, lien_ends, years_after
from dragonfly.enforcement.exemptions import restraint_cap
from dragonfly.enforcement.facts import EnforcementFacts, Intelligence, PastAction
from dragonfly.enforcement.interest import Account, account_of
from dragonfly.enforcement.parameters import LegalParameters

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Bankruptcy = Literal["none", "open", "discharged"]
Military = Literal["clear", "active", "unknown"]

# Statuses after which nothing is enforced any more.
ENDED = frozenset({"satisfied", "vacated", "discharged", "expired", "duplicate"})


@dataclass(frozen=True, slots=True)
class Clock:
    """What the day does to the facts; every field stays the same until it matters."""

    entry_in_future: bool
    rate_known: bool
    life_ends: date | None
    life_ended: bool
    life_near: bool
    lien_ends: date | None
    lien_ended: bool
    lien_near: bool
    small_balance: bool
    nothing_due: bool
    paid_in_full: bool
    paid_off_on: date | None
    satisfaction_due: date | None
    overpaid: Decimal
    payments_counted: tuple[str, ...]
    cooling_until: date | None
    cooling: bool
    address_stale: bool
    confidence_threshold: int


@dataclass(frozen=True, slots=True)
class Situation:
    """Facts, balances and assets as the gates and the decision table see them."""

    facts: EnforcementFacts
    account: Account
    clock: Clock
    assets: tuple[Asset, ...]
    refused: tuple[tuple[Refusal, str], ...]
    bankruptcy: Bankruptcy
    deceased: bool
    military: Military
    benefits_only: bool
    recheck_on: date
    restraint_cap: Decimal | None

    @property
    def as_of(self) -> date:
        return self.facts.as_of

    @property
    def open_actions(self) -> tuple[PastAction, ...]:
        return tuple(past for past in self.facts.past_actions if past.is_open)

    @property
    def open_assets(self) -> tuple[Asset, ...]:
        """Assets whose holder has not lately answered that there is nothing."""
        return tuple(asset for asset in self.assets if not asset.closed)

    @property
    def contactable(self) -> tuple[int, ...]:
        """Debtors with an address to write to, by seq."""
        found = {intel.debtor_seq for intel in self.facts.intelligence if _is_usable_address(intel)}
        return tuple(
            party.seq
            for party in self.facts.debtors
            if party.has_address or party.seq in found or None in found
        )

    @property
    def contact_held(self) -> bool:
        """True while calls and letters must wait: G8."""
        judgment = self.facts.judgment
        held = judgment.disputed or judgment.cease_requested or judgment.attorney_represented
        return held or self.deceased

    @property
    def awaits_first_letter(self) -> tuple[int, ...]:
        """Debtors who could be written to and never were."""
        sent = {past.target_key for past in self.facts.past_actions if _is_letter(past)}
        return tuple(seq for seq in self.contactable if f"debtor:{seq}" not in sent)

    @property
    def is_over(self) -> bool:
        """True when nothing is left to enforce, so that nothing can stand in its way."""
        return self.clock.paid_in_full or self.facts.judgment.status in ENDED

    @property
    def must_stop(self) -> str | None:
        """Why papers already out must be taken back, as a clause; None if they need not be."""
        if self.clock.paid_in_full:
            return "the judgment is paid in full"
        if self.bankruptcy != "none":
            return "a bankruptcy case stays all enforcement"
        status = self.facts.judgment.status
        if status in ENDED or status == "stayed":
            return f"the judgment is recorded as {status}"
        return None


def _is_usable_address(intel: Intelligence) -> bool:
    return intel.kind == "address" and refusal_of(intel) is None


def _is_letter(past: PastAction) -> bool:
    return past.action_type == "demand_letter"


def situation_of(facts: EnforcementFacts, law: LegalParameters) -> Situation:
    """Read the facts against the law of their day; raises LegalParameterMissing."""
    account = account_of(facts.judgment, facts.payments, facts.as_of, law)
    due = account.outgoing.total
    refused = {
        (why, target_key(intel))
        for intel in facts.intelligence
        if intel.kind in ASSET_KINDS and (why := refusal_of(intel)) is not None
    }
    return Situation(
        facts=facts,
        account=account,
        clock=_clock(facts, account, law),
        assets=assess(facts, law),
        refused=tuple(sorted(refused)),
        bankruptcy=_bankruptcy(facts),
        deceased=any(intel.kind == "deceased" for intel in facts.intelligence),
        military=_military(facts, law),
        benefits_only=_all_on_benefits(facts),
        recheck_on=years_after(facts.as_of, law.whole("exempt_recheck_years", facts.as_of)),
        restraint_cap=None if due is None else restraint_cap(due, law, facts.as_of),
    )


def _clock(facts: EnforcementFacts, account: Account, law: LegalParameters) -> Clock:
    as_of, balance, safest = facts.as_of, account.outgoing, account.safest
    entry = facts.judgment.known_entry
    life = _life_ends(facts, account, law)
    lien = _lien_ends(facts, law)
    due = balance.principal if balance.total is None else balance.total
    cooling_until = _cooling_until(facts, law)
    warning = law.whole("life_warning_years", as_of)
    window = timedelta(days=law.whole("lien_renewal_window_days", as_of))
    return Clock(
        entry_in_future=entry is not None and entry > as_of,
        rate_known=entry is None or balance.total is not None,
        life_ends=life,
        life_ended=life is not None and life < as_of,
        life_near=life is not None and as_of <= life <= years_after(as_of, warning),
        lien_ends=lien,
        lien_ended=lien is not None and lien < as_of,
        lien_near=lien is not None and as_of <= lien <= as_of + window,
        small_balance=due < law.value("small_balance", as_of),
        nothing_due=balance.total == 0,
        paid_in_full=safest.paid_in_full,
        paid_off_on=safest.paid_off_on,
        satisfaction_due=_satisfaction_due(safest.paid_off_on, law),
        overpaid=safest.overpaid,
        payments_counted=tuple(one.payment_id for one in balance.applied),
        cooling_until=cooling_until,
        cooling=cooling_until is not None and as_of < cooling_until,
        address_stale=_address_stale(facts, law),
        confidence_threshold=law.whole("confidence_threshold", as_of),
    )


def _life_ends(facts: EnforcementFacts, account: Account, law: LegalParameters) -> date | None:
    # Entry is the earliest day on which a judgment can be enforced: never later than the truth.
    starts = facts.judgment.first_enforceable_date or facts.judgment.known_entry
    if starts is None:
        return None
    paid = (one.received_on for one in account.outgoing.applied)
    return judgment_ends(starts, paid, law.whole("judgment_life_years", facts.as_of))


def _lien_ends(facts: EnforcementFacts, law: LegalParameters) -> date | None:
    filed = facts.judgment.judgment_roll_filed
    return None if filed is None else lien_ends(filed, law.whole("lien_life_years", facts.as_of))


def _satisfaction_due(paid_off_on: date | None, law: LegalParameters) -> date | None:
    if paid_off_on is None:
        return None
    return deadline(paid_off_on, law.whole("satisfaction_days", paid_off_on))


def _cooling_until(facts: EnforcementFacts, law: LegalParameters) -> date | None:
    letters = [past.issued_on for past in facts.past_actions if _is_letter(past) and past.issued_on]
    if not letters:
        return None
    return max(letters) + timedelta(days=law.whole("letter_to_execution_days", facts.as_of))


def _address_stale(facts: EnforcementFacts, law: LegalParameters) -> bool:
    days = law.whole("address_age_days", facts.as_of)
    found = [intel for intel in facts.intelligence if intel.kind == "address"]
    return bool(found) and all(older_than(intel, days, facts.as_of) for intel in found)


def _bankruptcy(facts: EnforcementFacts) -> Bankruptcy:
    # A hold is honoured whoever reported it, an invented report included.
    if facts.judgment.status == "bankruptcy_stay":
        return "open"
    states = {_bankruptcy_state(intel) for intel in facts.intelligence}
    if "open" in states:
        return "open"
    return "discharged" if "discharged" in states else "none"


def _bankruptcy_state(intel: Intelligence) -> Bankruptcy:
    if intel.kind != "bankruptcy" or intel.value.get("status") in {"dismissed", "relief"}:
        return "none"
    return "discharged" if intel.value.get("status") == "discharged" else "open"


def _military(facts: EnforcementFacts, law: LegalParameters) -> Military:
    if facts.judgment.debtor_is_natural_person is False:
        return "clear"
    checks = [intel for intel in facts.intelligence if intel.kind == "military"]
    if any(intel.value.get("active") is True for intel in checks):
        return "active"
    days = law.whole("military_check_age_days", facts.as_of)
    fresh = [
        intel
        for intel in checks
        if intel.value.get("active") is False
        and refusal_of(intel) is None
        and not older_than(intel, days, facts.as_of)
    ]
    return "clear" if fresh else "unknown"


def _all_on_benefits(facts: EnforcementFacts) -> bool:
    debtors = facts.debtors
    return bool(debtors) and all(benefits_only(facts, debtor.seq) for debtor in debtors)


def basis_of(situation: Situation) -> dict[str, Any]:
    """The facts that mattered, as JSON: no name, no day, no running interest."""
    facts = situation.facts
    return {
        "judgment": asdict(facts.judgment),
        "debtors": _in_any_order(facts.debtors),
        "payments": _in_any_order(facts.payments),
        "clock": asdict(situation.clock),
        "assets": [asdict(asset) for asset in situation.assets],
        "refused": sorted(situation.refused),
        "bankruptcy": situation.bankruptcy,
        "deceased": situation.deceased,
        "military": situation.military,
        "benefits_only": situation.benefits_only,
        "docketed_in": sorted(docketing.county_fips for docketing in facts.docketings),
        "assignment_filed": any(one.filed_on is not None for one in facts.assignments),
        "rates": [
            account.rate for account in (situation.account.outgoing, situation.account.higher)
            if account is not None
        ],
        "contactable": sorted(situation.contactable),
        "past_actions": _in_any_order(facts.past_actions),
        "packages": sorted(facts.packages),
    }  # fmt: skip


def _in_any_order(values: Iterable[DataclassInstance]) -> list[dict[str, Any]]:
    """The values as JSON objects, sorted, since the order in which rows were read is no fact."""
    return sorted((asdict(value) for value in values), key=canonical_json)


def canonical_json(value: Any) -> str:
    """One text for one value: keys sorted, no spaces, decimals and dates as strings."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def digest(basis: dict[str, Any], rules_version: str) -> bytes:
    """32 bytes by which the same facts under the same rules are known again."""
    text = canonical_json({"basis": basis, "rules": rules_version})
    return hashlib.sha256(text.encode()).digest()
