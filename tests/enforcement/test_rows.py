"""Each row of the decision table, fired and not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from dragonfly.enforcement.assets import target_key
from dragonfly.enforcement.decision import Action, Decision, decide
from dragonfly.enforcement.facts import Docketing, EnforcementFacts, PastAction
from tests.enforcement.cases import (
    AS_OF,
    CREDITOR,
    DEBTOR,
    ERIE,
    KINGS,
    LAW,
    PERSON,
    bank,
    employer,
    facts,
    intel,
    land,
    paid,
    person_facts,
)

BANK, EMPLOYER = target_key(bank()), target_key(employer())
DEBT = "debtor:1"


def papers(decision: Decision) -> list[tuple[str, str]]:
    return [(one.action_type, one.target_key) for one in decision.actions]


def fired(known: EnforcementFacts) -> list[int]:
    return [one.row for one in decide(known, LAW).considered if one.fired]


def action(known: EnforcementFacts, action_type: str) -> Action:
    (found,) = [one for one in decide(known, LAW).actions if one.action_type == action_type]
    return found


def test_row_1_the_demand_letter_comes_first() -> None:
    """A debtor who can be written to and never was gets the letter."""
    known = facts(past_actions=())

    assert 1 in fired(known)
    assert ("demand_letter", DEBT) in papers(decide(known, LAW))


@pytest.mark.parametrize(
    "known",
    [
        facts(),
        facts(past_actions=(), parties=(CREDITOR, replace(DEBTOR, has_address=False))),
        facts(past_actions=(), parties=(CREDITOR,)),
    ],
    ids=["already sent", "no address", "no debtor"],
)
def test_row_1_without_a_debtor_to_write_to_no_letter(known: EnforcementFacts) -> None:
    """The letter is not planned twice, nor to nowhere, nor to nobody."""
    assert 1 not in fired(known)


def test_row_1_a_reported_address_is_an_address() -> None:
    """Where the file has no address, one found later will do."""
    known = facts(
        past_actions=(),
        parties=(CREDITOR, replace(DEBTOR, has_address=False)),
    )

    assert [False, True, True] == [
        1 in fired(replace(known, intelligence=found))
        for found in ((), (intel("address"),), (intel("address", debtor_seq=None),))
    ]


def test_row_2_with_nothing_known_the_firm_searches_and_asks_the_debtor() -> None:
    """Without a lead there is no reasonable belief about third parties."""
    assert [2] == fired(facts())
    assert [("information_subpoena", DEBT), ("asset_search", DEBT)] == papers(decide(facts(), LAW))


def test_row_3_a_weak_lead_is_asked_and_not_levied() -> None:
    """Below the confidence of 70 the source gets a subpoena and nothing else."""
    known = facts(intelligence=(bank(confidence=69),))

    assert [3] == fired(known)
    assert [("information_subpoena", BANK)] == papers(decide(known, LAW))


def test_row_3_at_the_confidence_of_seventy_a_lead_is_trusted() -> None:
    """Seventy is enough."""
    assert [6] == fired(facts(intelligence=(bank(confidence=70),)))


def test_row_4_a_trusted_employer_gets_an_income_execution() -> None:
    """W1: 100.00 a week can be withheld."""
    known = person_facts(intelligence=(employer(),))

    assert [4] == fired(known)
    assert [("income_execution", EMPLOYER)] == papers(decide(known, LAW))
    assert "100.00" == action(known, "income_execution").target["yield_per_period"]


def test_row_4_of_two_employers_the_better_one_is_taken() -> None:
    """One income execution at a time, where it brings more."""
    worse = employer(value={"name": "Other", "gross": "650", "disposable": "540"}, intel_id="other")
    known = person_facts(intelligence=(worse, employer()))

    assert [("income_execution", EMPLOYER)] == papers(decide(known, LAW))


def test_row_4_unknown_wages_are_asked_for() -> None:
    """The execution waits for the data, the subpoena does not."""
    known = person_facts(intelligence=(employer(value={"gross": None}),))
    statuses = {one.action_type: one.status for one in decide(known, LAW).actions}

    assert {
        "income_execution": "awaiting_data",
        "information_subpoena": "awaiting_signature",
    } == statuses


def test_row_5_a_persons_account_is_restrained_with_its_package() -> None:
    """Without the package the notice is blocked; 1,920.00 above the floor can be levied on (B2)."""
    known = person_facts(intelligence=(bank(),))

    assert [5] == fired(known)
    assert [("restraining_notice", BANK), ("property_execution", BANK)] == papers(
        decide(known, LAW)
    )
    assert ("EXEMPTION_PACKAGE_MISSING",) == action(known, "restraining_notice").blocked_by
    assert "1920.00" == action(known, "property_execution").target["reachable"]


def test_row_5_no_levy_before_the_balance_is_known() -> None:
    """A levy on an account nobody has counted is waste."""
    known = person_facts(intelligence=(bank(balance=None),))

    assert [("restraining_notice", BANK)] == papers(decide(known, LAW))


def test_row_6_a_companys_account_is_restrained_and_asked_at_once() -> None:
    """A company has no floor; an execution follows on a positive answer."""
    known = facts(intelligence=(bank(balance=None),))

    assert [6] == fired(known)
    assert [("restraining_notice", BANK), ("information_subpoena", BANK)] == papers(
        decide(known, LAW)
    )
    assert "property_execution" in [
        a for a, _ in papers(decide(facts(intelligence=(bank(),)), LAW))
    ]


def test_a_restraining_notice_states_its_cap() -> None:
    """Twice the amount due, which is 24,916.71 on 23 November 2026 (CPLR 5222(b))."""
    known = facts(intelligence=(bank(),))

    assert "49833.42" == action(known, "restraining_notice").target["cap"]


def test_row_7_land_gets_a_transcript_in_its_county() -> None:
    """A verified owner's county is docketed."""
    known = facts(intelligence=(land(ERIE),))

    assert [7] == fired(known)
    assert [("real_property_lien", f"county:{ERIE}")] == papers(decide(known, LAW))


@pytest.mark.parametrize(
    "known",
    [
        facts(intelligence=(land(verified=False),)),
        facts(intelligence=(land(),), docketings=(Docketing(KINGS, date(2025, 1, 2)),)),
        facts({"judgment_roll_filed": date(2016, 11, 22)}, intelligence=(land(),)),
    ],
    ids=["owner not verified", "docketed already", "ten years over"],
)
def test_row_7_no_lien_where_it_would_be_wrong_or_useless(known: EnforcementFacts) -> None:
    """Not on another's land, not twice, not after its ten years."""
    assert 7 not in fired(known)


def test_row_8_whoever_owes_the_debtor_is_restrained_and_asked() -> None:
    """Receivables, tenants, card processors."""
    tenant = intel("business_interest", {"name": "A Tenant"})
    known = facts(intelligence=(tenant,))

    assert [8] == fired(known)
    assert ["restraining_notice", "information_subpoena"] == [
        a for a, _ in papers(decide(known, LAW))
    ]


@pytest.mark.parametrize(
    "known",
    [
        person_facts(intelligence=(intel("benefits", {"benefits_only": True}), bank())),
        person_facts(intelligence=(intel("benefits", {"benefits_only": True}),)),
        person_facts(intelligence=(bank("4000.00"),)),
        person_facts(intelligence=(employer(value={"gross": "600", "disposable": "510"}),)),
    ],
    ids=[
        "B4 benefits only",
        "benefits and nothing else",
        "B1 below the floor",
        "W2 wages at the floor",
    ],
)
def test_row_9_exempt_money_is_left_alone(known: EnforcementFacts) -> None:
    """No restraint and no execution: a lien, an offer, and another look in a year."""
    assert [9] == fired(known)
    assert [
        ("real_property_lien", f"county:{KINGS}"),
        ("settlement_offer", DEBT),
        ("asset_search", DEBT),
    ] == papers(decide(known, LAW))
    assert date(2027, 11, 23) == action(known, "asset_search").earliest_on


@pytest.mark.parametrize(
    ("answered", "rows"), [(date(2026, 1, 10), [2, 10]), (date(2025, 11, 23), [6])]
)
def test_row_10_a_target_that_has_nothing_rests_for_a_year(answered: date, rows: list[int]) -> None:
    """The answer "no account" closes the bank for twelve months."""
    past = PastAction(
        "information_subpoena",
        BANK,
        "returned_unsatisfied",
        issued_on=date(2025, 10, 1),
        ended_on=answered,
        answered_none=True,
    )
    known = facts(intelligence=(bank(),), past_actions=(*facts().past_actions, past))

    assert rows == fired(known)


def test_row_11_a_lien_in_its_last_year_is_renewed() -> None:
    """With the roll filed on 30 November 2016 the action is due on 30 November 2026 (L2)."""
    known = last_year_of_lien()
    renewal = action(known, "lien_renewal")

    assert 11 in fired(known)
    assert (date(2026, 11, 30), "attorney") == (renewal.due_on, renewal.requires_signature_of)
    assert [("LIEN_ENDS", date(2026, 11, 30), date(2016, 11, 30))] == [
        (one.code, one.due_on, one.computed_from) for one in renewal.deadlines
    ]


def last_year_of_lien(**changes: Any) -> EnforcementFacts:
    judgment = {
        "filing_date": None,
        "judgment_date": None,
        "entry_date": date(2016, 11, 30),
        "first_enforceable_date": date(2016, 11, 30),
        "judgment_roll_filed": date(2016, 11, 30),
        **changes,
    }
    return facts(judgment, docketings=(Docketing(KINGS, date(2016, 12, 5)),))


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        (date(2025, 11, 29), False),
        (date(2025, 11, 30), True),
        (date(2026, 11, 30), True),
        (date(2026, 12, 1), False),
    ],
)
def test_row_11_the_window_is_the_last_year_of_the_lien(on: date, expected: bool) -> None:
    """From 30 November 2025 to 30 November 2026 (L2)."""
    assert expected == (11 in fired(replace(last_year_of_lien(), as_of=on)))


def test_row_11_without_a_docketing_there_is_nothing_to_renew() -> None:
    """A lien arises on docketing."""
    assert 11 not in fired(replace(last_year_of_lien(), docketings=()))


def test_row_11_a_small_balance_is_not_worth_a_renewal() -> None:
    """The action would cost more than the lien brings."""
    assert 11 not in fired(last_year_of_lien(original_total=Decimal("500.00")))


@pytest.mark.parametrize(
    ("enforceable", "expected"), [(date(2008, 11, 23), True), (date(2008, 11, 24), False)]
)
def test_row_12_the_last_two_years_begin_on_their_day(enforceable: date, expected: bool) -> None:
    """Two years to the day before the end."""
    assert expected == (12 in fired(facts({"first_enforceable_date": enforceable})))


def test_row_12_in_its_last_two_years_a_judgment_goes_first() -> None:
    """Its end is the day each paper is due, and nothing slow is begun."""
    old = {
        "filing_date": None,
        "judgment_date": None,
        "entry_date": date(2007, 3, 1),
        "first_enforceable_date": date(2007, 3, 1),
        "judgment_roll_filed": date(2020, 3, 1),
    }
    known = facts(old, intelligence=(land(), bank()))

    assert 12 in fired(known)
    assert "real_property_lien" not in [kind for kind, _ in papers(decide(known, LAW))]
    assert {date(2027, 3, 1)} == {one.due_on for one in decide(known, LAW).actions}
    assert "JUDGMENT_ENDS" == action(known, "restraining_notice").deadlines[0].code


def paid_up(*out: PastAction, **judgment: Any) -> EnforcementFacts:
    return facts(
        judgment,
        intelligence=(bank(),),
        payments=(paid("2026-11-20", "30000.00"),),
        past_actions=(*facts().past_actions, *out),
    )


def test_row_13_full_payment_asks_for_a_satisfaction_and_takes_papers_back() -> None:
    """Satisfaction to the debtor, release to the bank, word to the officer, excess to the payer."""
    notice = PastAction("restraining_notice", BANK, "served", issued_on=date(2026, 2, 2))
    levy = PastAction("property_execution", BANK, "issued", issued_on=date(2026, 3, 2))
    known = paid_up(notice, levy)

    assert [13] == fired(known)
    assert [
        ("satisfaction_piece", "judgment"),
        ("restraint_release", f"restraining_notice:{BANK}"),
        ("officer_notice", f"property_execution:{BANK}"),
        ("refund", "judgment"),
    ] == papers(decide(known, LAW))


def test_row_13_a_satisfied_judgment_needs_no_second_satisfaction() -> None:
    """Once recorded as satisfied, only the excess is left to give back."""
    assert [("refund", "judgment")] == papers(decide(paid_up(status="satisfied"), LAW))


def test_row_13_the_satisfaction_is_due_twenty_days_after_payment() -> None:
    """Paid on Friday 20 November 2026: Thursday 10 December."""
    assert date(2026, 12, 10) == action(paid_up(), "satisfaction_piece").due_on


def test_row_13_a_debt_of_unknown_class_is_paid_only_at_the_higher_rate() -> None:
    """What would pay it at 2 % is neither satisfaction nor enforcement."""
    known = facts({"debt_class": "unknown"}, payments=(paid("2026-11-20", "22000.00"),))
    decision = decide(known, LAW)

    assert ([], "needs_data") == (papers(decision), decision.outcome)


@pytest.mark.parametrize("status", ["satisfied", "vacated", "stayed", "bankruptcy_stay"])
def test_row_13_a_stopped_judgment_takes_back_what_is_out(status: str) -> None:
    """An income execution still running is stopped, also under the bankruptcy stay."""
    running = PastAction("income_execution", EMPLOYER, "served", issued_on=date(2026, 6, 1))
    known = facts({"status": status}, past_actions=(*facts().past_actions, running))

    assert ("officer_notice", f"income_execution:{EMPLOYER}") in papers(decide(known, LAW))


def test_row_14_a_small_balance_pays_for_letters_subpoena_and_lien() -> None:
    """Under 1,500 nothing costlier is planned."""
    known = facts(
        {"original_total": Decimal("1200.00")}, intelligence=(bank(), land(ERIE)), past_actions=()
    )
    kinds = {kind for kind, _ in papers(decide(known, LAW))}

    assert 14 in fired(known)
    assert {"demand_letter", "information_subpoena", "real_property_lien"} == kinds


@pytest.mark.parametrize(("total", "expected"), [("1499.99", True), ("1500.00", False)])
def test_row_14_a_balance_is_small_below_fifteen_hundred(total: str, expected: bool) -> None:
    """Fifteen hundred itself is worth the work."""
    known = facts({"original_total": Decimal(total), "entry_date": AS_OF})

    assert expected == (14 in fired(known))


def test_every_row_says_why() -> None:
    """Fired or not, all fourteen rows answer in a sentence, in order."""
    for known in (facts(), person_facts(), paid_up(), facts(parties=(CREDITOR, PERSON))):
        considered = decide(known, LAW).considered

        assert list(range(1, 15)) == [one.row for one in considered]
        assert [] == [one.row for one in considered if not one.why.endswith(".")]
