"""The whole decision: outcomes, order, and the hash by which facts are known again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from dragonfly.enforcement.decision import (
    Decision,
    actions_json,
    balance_json,
    blockers_json,
    decide,
)
from dragonfly.enforcement.devices import DEVICES
from dragonfly.enforcement.facts import (
    Assignment,
    Docketing,
    EnforcementFacts,
    PastAction,
)
from tests.enforcement.cases import (
    AS_OF,
    CREDITOR,
    DEBTOR,
    DISTRICT,
    ERIE,
    KINGS,
    LAW,
    LETTER,
    bank,
    employer,
    facts,
    intel,
    land,
    paid,
    person_facts,
)

IMPORTED: dict[str, Any] = {
    "status": "imported",
    "verified": False,
    "authorization_status": "none",
    "entry_date": None,
    "entry_date_quality": "unknown",
    "judgment_roll_filed": None,
    "first_enforceable_date": None,
    "debt_class": "unknown",
    "debtor_is_natural_person": None,
}


def plan(known: EnforcementFacts) -> Decision:
    return decide(known, LAW)


def test_a_freshly_loaded_judgment_gets_a_plan_that_shows_the_paperwork() -> None:
    """Blocked, but with each blocker and with what would follow."""
    decision = plan(facts(IMPORTED, past_actions=()))

    assert "blocked" == decision.outcome
    assert [
        "ENTRY_DATE_UNKNOWN",
        "NO_AUTHORITY",
        "NOT_VERIFIED",
        "CONSUMER_UNKNOWN",
        "DEBTOR_KIND_UNKNOWN",
        "MILITARY_UNKNOWN",
        "DEMAND_FIRST",
    ] == [one.code for one in decision.blockers]
    assert [
        ("information_subpoena", "blocked"),
        ("demand_letter", "blocked"),
        ("asset_search", "blocked"),
    ] == [(one.action_type, one.status) for one in decision.actions]


def test_a_verified_judgment_that_lacks_only_facts_needs_data() -> None:
    """With authority given, what is missing is the class of the debt."""
    known = facts({"debt_class": "unknown"}, intelligence=(bank(confidence=90),))
    decision = plan(replace(known, past_actions=(LETTER, subpoena_out())))

    assert ("needs_data", {"awaiting_data"}) == (
        decision.outcome,
        {one.status for one in decision.actions},
    )


def subpoena_out() -> PastAction:
    key = plan(facts(intelligence=(bank(),))).actions[0].target_key
    return PastAction("information_subpoena", key, "served", issued_on=date(2026, 11, 2))


def test_an_action_that_can_go_on_makes_the_plan_planned_whatever_else_waits() -> None:
    """A letter that may go out is work for today."""
    decision = plan(facts({"court": DISTRICT}, past_actions=(), intelligence=(bank(),)))
    statuses = {one.action_type: one.status for one in decision.actions}

    assert "planned" == decision.outcome
    assert {
        "restraining_notice": "awaiting_signature",
        "property_execution": "blocked",
        "information_subpoena": "awaiting_signature",
        "demand_letter": "planned",
    } == statuses


@pytest.mark.parametrize("status", ["satisfied", "vacated", "discharged", "expired", "duplicate"])
def test_an_ended_judgment_has_no_action_and_says_why(status: str) -> None:
    """Nothing is planned, and the blocker names the reason."""
    decision = plan(facts({"status": status}, intelligence=(bank(),)))

    assert ("no_action", ()) == (decision.outcome, decision.actions)
    assert [status.upper()] == [one.code.removeprefix("STATUS_") for one in decision.blockers]


def test_a_judgment_paid_in_full_is_blocked_by_nothing() -> None:
    """Unverified and unclassified no longer matter; the satisfaction is owed all the same."""
    known = facts({"verified": False}, payments=(paid("2026-11-20", "30000.00"),), past_actions=())
    decision = plan(known)

    assert ("planned", ()) == (decision.outcome, decision.blockers)
    assert ["satisfaction_piece", "refund"] == [one.action_type for one in decision.actions]


def test_when_all_that_can_be_done_is_out_there_is_no_action() -> None:
    """Papers under way are no new plan."""
    known = facts(intelligence=(land(ERIE),), docketings=(Docketing(ERIE, date(2025, 1, 2)),))

    assert ("no_action", ()) == (plan(known).outcome, plan(known).actions)


def test_the_first_ten_blockers_are_reported_in_the_order_of_the_gates() -> None:
    """Ten, not only the first, and not all twelve."""
    worst = IMPORTED | {
        "court": None,
        "county_fips": None,
        "disputed": True,
        "cease_requested": True,
        "attorney_represented": True,
    }
    decision = plan(facts(worst, parties=(CREDITOR,)))

    assert [
        "COURT_UNKNOWN",
        "COUNTY_UNKNOWN",
        "NO_DEBTOR",
        "ENTRY_DATE_UNKNOWN",
        "NO_AUTHORITY",
        "NOT_VERIFIED",
        "CONSUMER_UNKNOWN",
        "DEBTOR_KIND_UNKNOWN",
        "DISPUTED",
        "CEASE_REQUEST",
    ] == [one.code for one in decision.blockers]


def test_an_action_names_every_blocker_even_beyond_the_first_ten() -> None:
    """What stands before a paper is complete, though the list for people is short."""
    worst = IMPORTED | {"court": None, "county_fips": None, "disputed": True}
    worst |= {"cease_requested": True, "attorney_represented": True}
    decision = plan(facts(worst, past_actions=(), intelligence=(intel("deceased"),)))
    (letter,) = [one for one in decision.actions if one.action_type == "demand_letter"]

    assert (
        "DISPUTED",
        "CEASE_REQUEST",
        "ATTORNEY_REPRESENTED",
        "DECEASED",
    ) == letter.blocked_by[-4:]


def test_executions_under_the_cooling_off_say_from_when() -> None:
    """The action carries the day on which it may be issued."""
    letter = replace(LETTER, issued_on=date(2026, 11, 20))
    decision = plan(person_facts(intelligence=(employer(),), past_actions=(letter,)))

    assert [("blocked", date(2026, 12, 4))] == [
        (one.status, one.earliest_on) for one in decision.actions
    ]


def test_a_restraint_under_the_cooling_off_waits_for_no_day() -> None:
    """The pause is before executions, not before restraints."""
    letter = replace(LETTER, issued_on=date(2026, 11, 20))
    decision = plan(facts(intelligence=(bank(balance=None),), past_actions=(letter,)))

    assert [("restraining_notice", None), ("information_subpoena", None)] == [
        (one.action_type, one.earliest_on) for one in decision.actions
    ]


def test_a_paper_that_two_rows_want_is_planned_once_for_the_first_reason() -> None:
    """The lien for known land is not the lien that waits because all else is exempt."""
    known = person_facts(intelligence=(intel("benefits", {"benefits_only": True}), land()))
    reasons = [one.reason for one in plan(known).actions if one.action_type == "real_property_lien"]

    assert ["The debtor owns land in this county: docketing there is cheap and lasts."] == reasons


def test_each_paper_rests_on_its_statute_and_its_signature() -> None:
    """Executions, restraints and subpoenas need an attorney, the transcript the clerk."""
    signatures = {name: device.signature for name, device in DEVICES.items()}
    by_attorney = sorted(name for name, who in signatures.items() if who == "attorney")

    assert [
        "bank_levy",
        "income_execution",
        "information_subpoena",
        "lien_renewal",
        "property_execution",
        "restraining_notice",
        "restraint_release",
        "satisfaction_piece",
    ] == by_attorney
    assert "clerk" == signatures["real_property_lien"]


def test_another_day_alone_is_no_new_plan() -> None:
    """Interest runs, the hash stays."""
    known = person_facts(intelligence=(employer(), bank(), land()))
    today, tomorrow = plan(known), plan(replace(known, as_of=AS_OF + timedelta(days=1)))

    assert today.decision_hash == tomorrow.decision_hash
    assert balance_json(today.account) != balance_json(tomorrow.account)


CHANGES: dict[str, EnforcementFacts] = {
    "a payment": facts(payments=(paid("2026-11-01", "10.00"),)),
    "a class": facts({"debt_class": "unknown"}),
    "a report": facts(intelligence=(bank(),)),
    "an invented report": facts(intelligence=(bank(is_mock=True),)),
    "a docketing": facts(docketings=(Docketing(KINGS, date(2025, 1, 2)),)),
    "a paper out": facts(past_actions=(LETTER, replace(LETTER, action_type="settlement_offer"))),
    "a package": facts(packages=frozenset({"bank:1"})),
    "a hold": facts({"disputed": True}),
    "a new address": facts(parties=(CREDITOR, replace(DEBTOR, has_address=False))),
    "a death": facts(intelligence=(intel("deceased"),)),
    "a soldier": replace(person_facts(), intelligence=()),
    "a bankruptcy": facts(intelligence=(intel("bankruptcy"),)),
    "benefits": facts(intelligence=(intel("benefits", {"benefits_only": True}),)),
    "a filed assignment": facts(assignments=(Assignment(date(2025, 1, 2), date(2025, 2, 3)),)),
    "its last two years": facts({"first_enforceable_date": date(2008, 11, 23)}),
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_a_fact_that_matters_is_a_new_plan(changed: EnforcementFacts) -> None:
    """Each of these facts changes the hash."""
    before = person_facts() if changed.judgment.debtor_is_natural_person else facts()

    assert plan(before).decision_hash != plan(changed).decision_hash


def test_an_address_found_where_none_was_is_a_new_plan() -> None:
    """Now the debtor can be written to."""
    known = facts(parties=(CREDITOR, replace(DEBTOR, has_address=False)), past_actions=())
    found = replace(known, intelligence=(intel("address"),))

    assert plan(known).decision_hash != plan(found).decision_hash


@pytest.mark.parametrize(
    ("known", "last_day"),
    [
        (facts(intelligence=(bank(obtained_on=date(2026, 11, 1)),)), date(2027, 4, 30)),
        (facts(past_actions=(replace(LETTER, issued_on=date(2026, 11, 10)),)), date(2026, 11, 23)),
        (facts({"judgment_roll_filed": date(2017, 11, 25)}), date(2026, 11, 24)),
        (facts({"original_total": Decimal("1200.00")}), date(2026, 12, 9)),
    ],
    ids=["a report grows stale", "the pause ends", "the lien's last year", "no longer small"],
)
def test_the_calendar_makes_a_new_plan_only_on_the_day_it_matters(
    known: EnforcementFacts, last_day: date
) -> None:
    """Until then each day gives the same hash, and the next day another."""
    now, last, after = (
        plan(replace(known, as_of=on)).decision_hash
        for on in (AS_OF, last_day, last_day + timedelta(days=1))
    )

    assert (True, False) == (now == last, last == after)


def test_the_hash_knows_facts_in_any_order() -> None:
    """The order in which payments were read is no fact."""
    payments = (paid("2026-11-01", "10.00"), paid("2026-11-02", "20.00", "2"))

    known = facts(intelligence=(bank(), land()), payments=payments)
    turned = replace(known, intelligence=known.intelligence[::-1], payments=payments[::-1])

    assert plan(known).decision_hash == plan(turned).decision_hash


def test_what_goes_into_a_jobs_result_names_nobody() -> None:
    """No employer, no bank: only keys."""
    known = person_facts(intelligence=(employer(), bank()))
    decision = plan(known)
    told = json.dumps([actions_json(decision.actions), blockers_json(decision)])

    assert [] == [word for word in ("Acme", "First Example Bank", "intel-") if word in told]
    assert "Acme" not in json.dumps(dict(decision.basis), default=str)


def test_an_unknown_class_shows_both_balances() -> None:
    """The lower is the balance, the higher stands beside it (I14)."""
    known = facts(
        {
            "debt_class": "unknown",
            "original_total": Decimal("8500.00"),
            "entry_date": date(2024, 1, 15),
        },
        as_of=date(2024, 11, 30),
    )
    shown = balance_json(plan(known).account)

    assert ("8649.04", "9170.68") == (shown["total"], shown["higher"]["total"])
