"""What holds for the decision whatever the facts are."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from dragonfly.enforcement.decision import actions_json, blockers_json, decide
from dragonfly.enforcement.devices import DUTIES, RANK
from dragonfly.enforcement.facts import EnforcementFacts, Judgment, PastAction
from tests.enforcement.cases import (
    AS_OF,
    CIVIL,
    CREDITOR,
    DEBTOR,
    DISTRICT,
    ERIE,
    JUDGMENT,
    KINGS,
    LAW,
    LETTER,
    PERSON,
    bank,
    employer,
    intel,
    land,
    paid,
)

judgments = st.builds(
    Judgment,
    judgment_id=st.just("j"),
    original_total=st.integers(0, 10_000_000).map(lambda n: Decimal(n) / 100),
    status=st.sampled_from(
        ["imported", "verified", "active", "satisfied", "stayed", "bankruptcy_stay", "on_hold",
         "expired", "out_of_state", "duplicate"]
    ),
    state=st.sampled_from(["NY", "CA"]),
    court=st.sampled_from([None, JUDGMENT.court, CIVIL, DISTRICT]),
    county_fips=st.sampled_from([None, KINGS, ERIE]),
    entry_date=st.none() | st.dates(date(1975, 1, 1), date(2027, 1, 1)),
    entry_date_quality=st.sampled_from(["unknown", "vendor", "court_record"]),
    judgment_roll_filed=st.none() | st.dates(date(2005, 1, 1), AS_OF),
    first_enforceable_date=st.none() | st.dates(date(2000, 1, 1), AS_OF),
    debt_class=st.sampled_from(["consumer", "non_consumer", "unknown"]),
    debtor_is_natural_person=st.sampled_from([None, True, False]),
    verified=st.booleans(),
    authorization_status=st.sampled_from(["none", "loa", "assignment", "both", "revoked"]),
    disputed=st.booleans(),
)  # fmt: skip
reports = st.sampled_from(
    [bank(), bank("100.00"), bank(None), bank(is_mock=True), employer(), land(), land(ERIE),
     employer(value={"gross": None}), intel("benefits", {"benefits_only": True}),
     intel("bankruptcy"), intel("deceased"), intel("address", obtained_on=date(2020, 1, 1))]
)  # fmt: skip
pasts = st.sampled_from(
    [LETTER, PastAction("information_subpoena", "debtor:1", "served", date(2026, 10, 1)),
     PastAction("income_execution", "employer:x:1", "issued", date(2026, 10, 1), debtor_seq=1)]
)  # fmt: skip
any_facts = st.builds(
    EnforcementFacts,
    judgment=judgments,
    as_of=st.dates(date(2024, 6, 1), date(2027, 12, 31)),
    parties=st.sampled_from([(), (CREDITOR,), (CREDITOR, DEBTOR), (CREDITOR, PERSON)]),
    payments=st.lists(
        st.builds(
            paid,
            st.dates(date(2010, 1, 1), AS_OF).map(str),
            st.integers(1, 500_000).map(lambda n: str(Decimal(n) / 100)),
        ),
        max_size=3,
    ).map(tuple),
    intelligence=st.lists(reports, max_size=4, unique_by=id).map(tuple),
    past_actions=st.lists(pasts, max_size=3, unique_by=id).map(tuple),
)


@given(any_facts)
def test_the_same_facts_always_give_the_same_plan(known: EnforcementFacts) -> None:
    """decide() has no memory and no clock."""
    first, second = decide(known, LAW), decide(known, LAW)

    assert first == second


@given(any_facts)
def test_every_plan_can_be_stored_and_done(known: EnforcementFacts) -> None:
    """One paper of a kind per target, none that is out already, in order, consistent, in JSON."""
    decision = decide(known, LAW)
    keys = [(one.action_type, one.target_key) for one in decision.actions]
    out = {(past.action_type, past.target_key) for past in known.past_actions}
    ranks = [RANK[one.action_type] for one in decision.actions]
    ready = any(one.status in {"planned", "awaiting_signature"} for one in decision.actions)
    wrong = [
        one
        for one in decision.actions
        if (one.status in {"blocked", "awaiting_data"}) != bool(one.blocked_by)
    ]

    assert len(keys) == len(set(keys))
    assert set() == out & set(keys)
    assert sorted(ranks) == ranks
    assert ready == (decision.outcome == "planned")
    assert [] == wrong
    json.dumps([blockers_json(decision), actions_json(decision.actions)])


@given(any_facts)
def test_nothing_leaves_the_house_unverified_or_without_authority(known: EnforcementFacts) -> None:
    """Whatever else is known, G5 and G6 hold every paper but the creditor's own duties."""
    judgment = replace(known.judgment, verified=False, authorization_status="none")
    decision = decide(replace(known, judgment=judgment), LAW)

    assert {"blocked"} >= {one.status for one in decision.actions if one.action_type not in DUTIES}
