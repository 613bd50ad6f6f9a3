"""Each gate before enforcement, alone and beside its neighbours."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from dragonfly.enforcement.assets import target_key
from dragonfly.enforcement.blockers import CATALOGUE, Blocker
from dragonfly.enforcement.devices import (
    CONTACTS,
    DUTIES,
    EVERYTHING,
    EXECUTIONS,
    LEAVES_THE_HOUSE,
    LIENS,
    RESTRAINTS,
)
from dragonfly.enforcement.facts import Assignment, Docketing, EnforcementFacts, PastAction
from dragonfly.enforcement.situation import situation_of
from dragonfly.enforcement.target_gates import blockers_of
from tests.enforcement.cases import (
    CIVIL,
    CREDITOR,
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

BANK, EMPLOYER = target_key(bank()), target_key(employer())
ELSEWHERE: dict[str, Any] = {"in_new_york_city": False, "wage_region": "rest"}


def found(known: EnforcementFacts) -> tuple[Blocker, ...]:
    return blockers_of(situation_of(known, LAW))


def codes(known: EnforcementFacts) -> list[str]:
    return [one.code for one in found(known)]


CASES: list[tuple[str, EnforcementFacts, frozenset[str], str | None]] = [
    ("DUPLICATE", facts({"status": "duplicate"}), EVERYTHING, None),
    ("OUT_OF_STATE", facts({"state": "CA"}), EVERYTHING, None),
    ("OUT_OF_STATE", facts({"status": "out_of_state"}), EVERYTHING, None),
    ("COURT_UNKNOWN", facts({"court": None}), LEAVES_THE_HOUSE, None),
    ("COUNTY_UNKNOWN", facts({"county_fips": None}), LEAVES_THE_HOUSE, None),
    ("NO_DEBTOR", facts(parties=(CREDITOR,)), EVERYTHING, None),
    ("STATUS_SATISFIED", facts({"status": "satisfied"}), EVERYTHING, None),
    ("STATUS_VACATED", facts({"status": "vacated"}), EVERYTHING, None),
    ("STATUS_STAYED", facts({"status": "stayed"}), EVERYTHING, None),
    ("STATUS_DISCHARGED", facts({"status": "discharged"}), EVERYTHING, None),
    ("STATUS_EXPIRED", facts({"status": "expired"}), EVERYTHING, None),
    ("STATUS_ON_HOLD", facts({"status": "on_hold"}), EVERYTHING, None),
    ("BANKRUPTCY_STAY", facts({"status": "bankruptcy_stay"}), EVERYTHING, None),
    ("BANKRUPTCY_STAY", facts(intelligence=(intel("bankruptcy"),)), EVERYTHING, None),
    (
        "BANKRUPTCY_DISCHARGED",
        facts(intelligence=(intel("bankruptcy", {"status": "discharged"}),)),
        EVERYTHING,
        None,
    ),
    ("ENTRY_DATE_UNKNOWN", facts({"entry_date": None}), EXECUTIONS | LIENS | RESTRAINTS, None),
    (
        "ENTRY_DATE_FUTURE",
        facts({"entry_date": date(2026, 11, 24)}),
        EXECUTIONS | LIENS | RESTRAINTS,
        None,
    ),
    ("AUTHORITY_REVOKED", facts({"authorization_status": "revoked"}), EVERYTHING, None),
    ("ASSIGNMENT_NOT_FILED", facts({"authorization_status": "assignment"}), EVERYTHING, None),
    ("NO_AUTHORITY", facts({"authorization_status": "none"}), EVERYTHING, None),
    ("DATE_SEQUENCE", facts({"filing_date": date(2024, 2, 21)}), LEAVES_THE_HOUSE, None),
    ("NOT_VERIFIED", facts({"verified": False}), LEAVES_THE_HOUSE, None),
    ("CONSUMER_UNKNOWN", facts({"debt_class": "unknown"}), EXECUTIONS | RESTRAINTS, None),
    ("CLASSIFICATION_CONFLICT", facts({"debt_class": "consumer"}), EXECUTIONS | RESTRAINTS, None),
    ("DISPUTED", facts({"disputed": True}), CONTACTS, None),
    ("CEASE_REQUEST", facts({"cease_requested": True}), CONTACTS, None),
    ("ATTORNEY_REPRESENTED", facts({"attorney_represented": True}), CONTACTS, None),
    ("DECEASED", facts(intelligence=(intel("deceased"),)), CONTACTS, None),
    ("EXEMPTION_PACKAGE_MISSING", person_facts(intelligence=(bank(),)), RESTRAINTS, BANK),
    (
        "EXEMPT_BELOW_FLOOR",
        person_facts(intelligence=(bank("4000.00"),), packages=frozenset({BANK})),
        EXECUTIONS | RESTRAINTS,
        BANK,
    ),
    (
        "EXEMPT_WAGES",
        person_facts(intelligence=(employer(value={"disposable": "510", "gross": "600"}),)),
        EXECUTIONS | RESTRAINTS,
        EMPLOYER,
    ),
    (
        "EXEMPT_BENEFITS_ONLY",
        person_facts(intelligence=(employer(), intel("benefits", {"benefits_only": True}))),
        EXECUTIONS | RESTRAINTS,
        EMPLOYER,
    ),
    (
        "WAGE_UNKNOWN",
        person_facts(intelligence=(employer(value={"gross": None}),)),
        frozenset({"income_execution"}),
        EMPLOYER,
    ),
    ("TRANSCRIPT_MISSING", facts({"court": DISTRICT}), EXECUTIONS | {"lien_renewal"}, None),
    (
        "TRANSCRIPT_MISSING",
        facts({"court": CIVIL}, intelligence=(bank(**ELSEWHERE),)),
        EXECUTIONS,
        BANK,
    ),
    (
        "TRANSCRIPT_MISSING",
        facts({"court": CIVIL}, intelligence=(land(ERIE),)),
        LIENS,
        f"county:{ERIE}",
    ),
    ("STALE_ADDRESS", facts(intelligence=(intel("address", obtained_on=date(2025, 11, 22)),)),
     frozenset({"income_execution"}), None),
    (
        "STALE_INTELLIGENCE",
        facts(intelligence=(bank(obtained_on=date(2026, 5, 26)),)),
        EXECUTIONS,
        BANK,
    ),
    ("MOCK_INTELLIGENCE", facts(intelligence=(bank(is_mock=True),)), EVERYTHING, BANK),
    ("UNATTRIBUTED_INTELLIGENCE", facts(intelligence=(bank(source=" "),)), EVERYTHING, BANK),
    (
        "UNATTRIBUTED_INTELLIGENCE",
        facts(intelligence=(bank(permissible_purpose=None),)),
        EVERYTHING,
        BANK,
    ),
    ("DEMAND_FIRST", facts(past_actions=()), EXECUTIONS, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "known", "blocks", "key"),
    CASES,
    ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)],
)
def test_each_gate_alone_blocks_what_it_should_and_no_more(
    code: str, known: EnforcementFacts, blocks: frozenset[str], key: str | None
) -> None:
    """One fact out of order gives exactly its own blocker, before exactly its own papers."""
    assert [(code, blocks, key)] == [(one.code, one.blocks, one.target_key) for one in found(known)]


def test_a_clear_judgment_meets_no_blocker() -> None:
    """Against a company and against a person, nothing stands in the way."""
    assert ([], []) == (codes(facts()), codes(person_facts()))


def test_no_gate_stands_before_what_the_creditor_owes() -> None:
    """Satisfaction, release, notice to the officer and refund are never held back."""
    assert [] == [case[0] for case in CASES if case[2] & DUTIES]


def test_a_debtor_of_unknown_kind_is_blocked_and_may_be_a_soldier() -> None:
    """Whoever is not known to be a company gets the protections of a person (G7, G9)."""
    known = facts({"debtor_is_natural_person": None})

    assert ["DEBTOR_KIND_UNKNOWN", "MILITARY_UNKNOWN"] == codes(known)


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ([], ["MILITARY_UNKNOWN"]),
        ([intel("military", {"active": True})], ["MILITARY_ACTIVE"]),
        ([intel("military", {"active": False}, obtained_on=date(2026, 10, 24))], []),
        (
            [intel("military", {"active": False}, obtained_on=date(2026, 10, 23))],
            ["MILITARY_UNKNOWN"],
        ),
        ([intel("military", {"active": False}, is_mock=True)], ["MILITARY_UNKNOWN"]),
    ],
    ids=["never looked up", "serving", "30 days old", "31 days old", "invented"],
)
def test_a_persons_military_status_needs_a_recent_look_up(
    report: list[Any], expected: list[str]
) -> None:
    """G9: an execution needs a true look-up no older than 30 days."""
    known = replace(person_facts(), intelligence=tuple(report))

    assert expected == codes(known)


def test_a_rate_from_before_the_table_is_unknown() -> None:
    """G4: an entry of 1979 bears a rate that is not on file."""
    days = {"entry_date": date(1979, 5, 1), "filing_date": None, "judgment_date": None}

    assert ["RATE_UNKNOWN"] == codes(facts(days))


def test_twenty_years_without_a_payment_end_the_judgment() -> None:
    """G4: 211(b) is a presumption of payment, and a payment within the years prevents it."""
    old = {"first_enforceable_date": date(2006, 11, 22), "entry_date": date(2006, 11, 22)}
    old |= {"filing_date": None, "judgment_date": None}  # type: ignore[dict-item]

    assert ["LIFE_ENDED"] == codes(facts(old))
    assert [] == codes(facts(old, payments=(paid("2011-05-02", "100.00"),)))


def test_without_a_first_enforceable_day_the_years_run_from_entry() -> None:
    """G4: entry is never later than the truth."""
    old = {"first_enforceable_date": None, "entry_date": date(2006, 11, 22)}
    old |= {"filing_date": None, "judgment_date": None}

    assert ["LIFE_ENDED"] == codes(facts(old))


@pytest.mark.parametrize("standing", ["none", "assignment"])
def test_a_filed_assignment_gives_authority(standing: str) -> None:
    """G5: an assignee enforces once the instrument is filed, CPLR 5019(c)."""
    known = facts(
        {"authorization_status": standing},
        assignments=(Assignment(date(2025, 1, 2), filed_on=date(2025, 2, 3)),),
    )

    assert [] == codes(known)


def test_an_assignment_that_was_only_signed_gives_none() -> None:
    """G5: executed is not filed."""
    known = facts(
        {"authorization_status": "none"}, assignments=(Assignment(date(2025, 1, 2), None),)
    )

    assert ["NO_AUTHORITY"] == codes(known)


def test_a_rendered_package_opens_the_bank_restraint() -> None:
    """G10: notice and package together."""
    assert [] == codes(person_facts(intelligence=(bank(),), packages=frozenset({BANK})))


def test_a_companys_account_needs_no_package() -> None:
    """G10: CPLR 5222-a protects natural persons."""
    assert [] == codes(facts(intelligence=(bank(),)))


def test_next_year_the_floor_of_wages_is_unknown_until_loaded() -> None:
    """G11: without the minimum wage of 2027 nothing is levied on a person."""
    known = person_facts(
        as_of=date(2027, 1, 5),
        intelligence=(
            employer(),
            intel("military", {"active": False}, obtained_on=date(2027, 1, 4), intel_id="m2"),
        ),
    )

    assert ["WAGE_FLOOR_UNKNOWN"] == codes(known)


@pytest.mark.parametrize("court", [DISTRICT, CIVIL])
def test_docketing_in_the_courts_own_county_opens_everything(court: Any) -> None:
    """G13: after the transcript is filed at home, land and sheriff are in reach."""
    known = facts(
        {"court": court},
        docketings=(Docketing(KINGS, date(2025, 1, 2)),),
        intelligence=(land(ERIE), bank(**ELSEWHERE)),
    )

    assert [] == codes(known)


def test_a_city_marshal_needs_no_transcript_inside_the_city() -> None:
    """G13: a Civil Court judgment reaches accounts in the city, and land in its own county."""
    assert [] == codes(facts({"court": CIVIL}, intelligence=(bank(), land(KINGS))))


def test_an_equal_paper_still_out_blocks_its_own_target_only() -> None:
    """G14: one open paper of a kind per target."""
    out = PastAction("information_subpoena", "debtor:1", "served", issued_on=date(2026, 11, 2))
    known = facts(past_actions=(*facts().past_actions, out))

    assert [
        ("ACTION_OPEN", frozenset({"information_subpoena"}), "debtor:1"),
    ] == [(one.code, one.blocks, one.target_key) for one in found(known)]


def test_a_second_restraint_on_the_same_person_needs_leave() -> None:
    """G14: CPLR 5222(c)."""
    past = PastAction("restraining_notice", BANK, "expired", issued_on=date(2024, 6, 1))

    assert ["SECOND_RESTRAINT"] == codes(facts(intelligence=(bank(),), past_actions=(past, LETTER)))


def test_another_income_execution_of_the_same_debtor_goes_first() -> None:
    """G14: income executions are satisfied one at a time."""
    running = PastAction(
        "income_execution", "employer:other:1", "served", issued_on=date(2026, 6, 1), debtor_seq=1
    )
    known = person_facts(intelligence=(employer(),), past_actions=(LETTER, running))

    assert ["ACTION_OPEN", "INCOME_EXECUTION_AHEAD"] == codes(known)


@pytest.mark.parametrize(
    ("sent", "expected"), [(date(2026, 11, 9), []), (date(2026, 11, 10), ["COOLING_OFF"])]
)
def test_executions_wait_fourteen_days_after_the_letter(sent: date, expected: list[str]) -> None:
    """G15: from the fourteenth day on the way is free."""
    letter = PastAction("demand_letter", "debtor:1", "expired", issued_on=sent)

    assert expected == codes(facts(past_actions=(letter,)))


def test_a_held_debtor_is_not_waited_for() -> None:
    """G15: where no letter may be sent, none has to come first."""
    assert ["CEASE_REQUEST"] == codes(facts({"cease_requested": True}, past_actions=()))


def test_a_true_report_of_the_same_target_outweighs_an_invented_one() -> None:
    """G18a: what an honest source also says is not refused."""
    known = facts(intelligence=(bank(), bank(is_mock=True, intel_id="made-up")))

    assert [] == codes(known)


def test_an_invented_bankruptcy_still_holds() -> None:
    """G3: a hold is never ignored for its source."""
    assert ["BANKRUPTCY_STAY"] == codes(facts(intelligence=(intel("bankruptcy", is_mock=True),)))


@pytest.mark.parametrize("ended_as", ["dismissed", "relief"])
def test_a_bankruptcy_that_ended_holds_nothing(ended_as: str) -> None:
    """G3: dismissal or relief from the stay clears the gate."""
    assert [] == codes(facts(intelligence=(intel("bankruptcy", {"status": ended_as}),)))


def test_every_code_has_a_gate_a_sentence_and_a_way_out() -> None:
    """A blocker is words for a person: each ends as a sentence does."""
    wrong = [
        code
        for code, notice in CATALOGUE.items()
        if not (notice.gate and notice.statute)
        or not notice.text.endswith(".")
        or not notice.clear_by.endswith(".")
    ]

    assert [] == wrong


@pytest.mark.parametrize(
    ("valid_until", "expected"),
    [(date(2026, 11, 23), []), (date(2026, 11, 22), ["STALE_INTELLIGENCE"])],
)
def test_a_report_is_old_after_the_day_its_source_gave_it(
    valid_until: date, expected: list[str]
) -> None:
    """G18: a report may end before its age does."""
    assert expected == codes(facts(intelligence=(bank(valid_until=valid_until),)))


def test_one_fresh_address_is_enough() -> None:
    """G18: an older address beside it does no harm."""
    old = intel("address", obtained_on=date(2020, 1, 1), intel_id="old")

    assert [] == codes(facts(intelligence=(old, intel("address"))))


def test_on_its_last_day_a_judgment_still_lives() -> None:
    """G4: first enforceable on 23 November 2006, it can be enforced on 23 November 2026."""
    days = {"entry_date": date(2006, 11, 23), "filing_date": None, "judgment_date": None}

    assert [] == codes(facts({**days, "first_enforceable_date": date(2006, 11, 23)}))


def test_the_pause_is_counted_from_the_last_letter() -> None:
    """G15: an older letter to another debtor does not shorten it."""
    second = PastAction("demand_letter", "debtor:2", "served", issued_on=date(2026, 11, 20))

    assert ["COOLING_OFF"] == codes(facts(past_actions=(LETTER, second)))


def test_an_income_execution_is_not_ahead_of_itself() -> None:
    """G14: at its own employer it is an open paper, no more."""
    running = PastAction(
        "income_execution", EMPLOYER, "served", issued_on=date(2026, 6, 1), debtor_seq=1
    )
    known = person_facts(intelligence=(employer(),), past_actions=(LETTER, running))

    assert ["ACTION_OPEN"] == codes(known)
