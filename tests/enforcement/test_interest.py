"""Interest and accounts: the worked cases, and what holds for any of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragonfly.enforcement.facts import Payment
from dragonfly.enforcement.interest import (
    Balance,
    Rates,
    account_of,
    balance_due,
    per_diem,
    simple_interest,
)
from dragonfly.enforcement.parameters import LegalParameter, LegalParameters
from tests.enforcement.cases import JUDGMENT, LAW, paid

VECTORS = json.loads((Path(__file__).parent / "data" / "legal_vectors.json").read_text())
NINE, TWO = Decimal("0.09"), Decimal("0.02")
CHANGED = date(2022, 4, 30)


def of_kind(kind: str) -> list[Any]:
    return [pytest.param(one, id=one["id"]) for one in VECTORS if one["kind"] == kind]


def day(text: str) -> date:
    return date.fromisoformat(text)


def account(**changes: Any) -> Balance:
    """The outgoing balance of a non-consumer judgment with some fields changed."""
    payments, as_of = changes.pop("payments", ()), changes.pop("as_of")
    return account_of(replace(JUDGMENT, **changes), payments, as_of, LAW).outgoing


def test_every_vector_is_of_a_kind_that_some_test_reads() -> None:
    """No worked case of the specification is left unread."""
    read = {
        "interest",
        "ledger",
        "ledger_consumer_pre2022",
        "restraint_cap",
        "income_execution_week",
        "lien_end",
        "judgment_end",
        "deadline",
    }

    assert read == {one["kind"] for one in VECTORS}


@pytest.mark.parametrize("case", of_kind("interest"))
def test_simple_interest_of_the_worked_cases(case: dict[str, Any]) -> None:
    """Interest is simple, Actual/365 Fixed, rounded half up to the cent."""
    found = simple_interest(
        Decimal(case["principal"]), Decimal(case["rate"]), day(case["entry"]), day(case["as_of"])
    )

    assert (case["days"], Decimal(case["interest"])) == (
        (day(case["as_of"]) - day(case["entry"])).days,
        found,
    )


@pytest.mark.parametrize("case", of_kind("ledger") + of_kind("ledger_consumer_pre2022"))
def test_accounts_with_payments_of_the_worked_cases(case: dict[str, Any]) -> None:
    """Payments pay interest first; unpaid interest is carried and bears none."""
    rates = Rates(NINE) if case["kind"] == "ledger" else Rates(TWO, NINE, CHANGED)
    payments = [paid(when, amount) for when, amount in case["payments"]]

    found = balance_due(
        Decimal(case["principal"]), rates, day(case["entry"]), payments, day(case["as_of"])
    )

    applied = [[str(one.to_interest), str(one.to_principal)] for one in found.applied]
    expected = [case["applied"], case["principal_left"], case["interest_due"], case["total"]]
    assert expected == [applied, str(found.principal), str(found.interest), str(found.total)]


@pytest.mark.parametrize("case", of_kind("ledger_consumer_pre2022"))
def test_the_same_account_out_of_the_dated_law(case: dict[str, Any]) -> None:
    """A consumer judgment from before the change keeps what was applied and bears 2 % else."""
    found = account(
        original_total=Decimal(case["principal"]),
        entry_date=day(case["entry"]),
        debt_class="consumer",
        payments=[paid(when, amount) for when, amount in case["payments"]],
        as_of=day(case["as_of"]),
    )

    assert Decimal(case["total"]) == found.total


def test_a_consumer_judgment_bears_two_percent_from_entry_on() -> None:
    """The lower rate reaches back to entry, not only to the day of the change (I5)."""
    found = account(
        original_total=Decimal("12500.00"),
        entry_date=date(2018, 3, 15),
        debt_class="consumer",
        as_of=date(2024, 3, 15),
    )

    assert Decimal("1501.37") == found.interest


def test_a_payment_on_the_day_of_the_change_is_applied_at_the_new_rate() -> None:
    """Only sums paid before 30 April 2022 stay applied at 9 %."""
    rates = Rates(TWO, NINE, CHANGED)
    before = balance_due(
        Decimal(6000), rates, date(2020, 1, 10), [paid("2022-04-29", "600.00")], CHANGED
    )
    on_the_day = balance_due(
        Decimal(6000), rates, date(2020, 1, 10), [paid("2022-04-30", "600.00")], CHANGED
    )

    assert [Decimal("600.00"), Decimal("276.49")] == [
        before.applied[0].to_interest,
        on_the_day.applied[0].to_interest,
    ]


def test_interest_collected_at_the_older_rate_is_not_credited_to_later_days() -> None:
    """What was lawfully applied to interest at 9 % stays there, though 2 % would have been less."""
    found = balance_due(
        Decimal(6000),
        Rates(TWO, NINE, CHANGED),
        date(2020, 1, 10),
        [paid("2021-01-10", "500.00")],
        date(2022, 1, 10),
    )

    assert (Decimal("6000.00"), Decimal("120.00")) == (found.principal, found.interest)


def test_what_a_payment_leaves_of_the_older_interest_is_carried_to_the_next() -> None:
    """541.48 less 100 paid, and 267.78 more, leave 290.74 of 1,000 for principal."""
    found = balance_due(
        Decimal(6000),
        Rates(TWO, NINE, CHANGED),
        date(2020, 1, 10),
        [paid("2021-01-10", "100.00"), paid("2021-07-10", "1000.00", "2")],
        date(2021, 7, 10),
    )

    assert [("100.00", "0.00"), ("709.26", "290.74")] == [
        (str(one.to_interest), str(one.to_principal)) for one in found.applied
    ]


def test_a_consumer_judgment_bears_the_rate_in_force_at_its_entry() -> None:
    """Should the lower rate ever change, a later judgment bears the later one."""
    newer = LegalParameter(
        "interest_rate_consumer", "", Decimal("0.03"), date(2025, 1, 1), None, "test"
    )
    law = LegalParameters.of([*LAW.rows, newer])
    rates = [
        account_of(
            replace(JUDGMENT, debt_class="consumer", entry_date=entry), (), date(2026, 1, 1), law
        ).outgoing.rate
        for entry in (date(2024, 12, 31), date(2025, 1, 1))
    ]

    assert [TWO, Decimal("0.03")] == rates


@pytest.mark.parametrize(("rate", "expected"), [(NINE, "3.70"), (TWO, "0.82")])
def test_the_per_diem_is_a_days_interest_rounded_to_the_cent(rate: Decimal, expected: str) -> None:
    """$15,000 bears 3.70 a day at 9 % and 0.82 at 2 % (I8)."""
    assert Decimal(expected) == per_diem(Decimal(15000), rate)


def test_the_day_of_entry_bears_nothing_and_the_next_day_one_day() -> None:
    """The first day is excluded, the last included (I9)."""
    entry = date(2024, 5, 1)
    found = [simple_interest(Decimal(5000), NINE, entry, entry + timedelta(days=n)) for n in (0, 1)]

    assert [Decimal("0.00"), Decimal("1.23")] == found


def test_a_payoff_to_the_cent_is_full_payment_and_a_cent_less_is_not() -> None:
    """1,044.63 pays the judgment off; 1,044.62 leaves a cent (I12)."""
    amounts = ("1044.63", "1044.62")
    found = [
        account(
            original_total=Decimal("1000.00"),
            entry_date=date(2025, 1, 1),
            payments=[paid("2025-07-01", amount)],
            as_of=date(2025, 7, 1),
        )
        for amount in amounts
    ]

    assert [(True, Decimal("0.00")), (False, Decimal("0.01"))] == [
        (one.paid_in_full, one.total) for one in found
    ]


def test_the_day_of_full_payment_is_that_of_the_payment_that_brought_it() -> None:
    """Money that came after the debt was paid does not move the day."""
    found = account(
        original_total=Decimal("1000.00"),
        entry_date=date(2025, 1, 1),
        payments=[paid("2025-07-01", "1044.63"), paid("2025-08-01", "5.00", "2")],
        as_of=date(2025, 9, 1),
    )

    assert (date(2025, 7, 1), Decimal("5.00")) == (found.paid_off_on, found.overpaid)


def test_payments_before_entry_or_after_the_day_are_left_out_and_listed() -> None:
    """A payment that cannot belong to the account is ignored, visibly (I13)."""
    found = account(
        payments=[
            paid("2024-02-29", "10.00", "early"),
            paid("2024-03-01", "30.00", "on the day"),
            paid("2026-11-24", "20.00", "late"),
        ],
        as_of=date(2026, 11, 23),
    )

    assert [
        ("early", "received before the judgment was entered"),
        ("late", "received after the day of this account"),
    ] == [(one.payment_id, one.why) for one in found.ignored]
    assert ["on the day"] == [one.payment_id for one in found.applied]


def test_an_unknown_class_gives_both_balances_and_the_lower_goes_out() -> None:
    """Two numbers, 8,649.04 and 9,170.68; outgoing paper bears the lower (I14)."""
    judgment = replace(
        JUDGMENT,
        original_total=Decimal("8500.00"),
        entry_date=date(2024, 1, 15),
        debt_class="unknown",
    )
    found = account_of(judgment, (), date(2024, 11, 30), LAW)

    assert found.higher is not None
    assert (Decimal("8649.04"), Decimal("9170.68")) == (found.outgoing.total, found.higher.total)


@pytest.mark.parametrize(
    "unknown",
    [
        {"entry_date": None},
        {"entry_date_quality": "unknown"},
        {"entry_date": date(1979, 5, 1)},
    ],
    ids=["no entry", "entry of unknown origin", "entry before the oldest rate"],
)
def test_without_a_known_entry_and_rate_there_is_a_principal_and_no_interest(
    unknown: dict[str, Any],
) -> None:
    """Unknown stays unknown: no number is made up."""
    found = account(as_of=date(2026, 11, 23), **unknown)

    assert (Decimal("20000.00"), None, None, None) == (
        found.principal,
        found.interest,
        found.total,
        found.per_diem,
    )


def test_without_a_known_entry_payments_are_listed_and_not_applied() -> None:
    """Money received is never lost from sight."""
    found = account(entry_date=None, payments=[paid("2025-01-02", "5.00")], as_of=date(2026, 1, 1))

    assert ["nothing can be applied before the day of entry and its rate are known"] == [
        one.why for one in found.ignored
    ]


@pytest.mark.parametrize(("in_judgment", "expected"), [(True, "0.1200"), (False, "0.09")])
def test_a_contract_rate_counts_only_if_the_judgment_sets_it(
    in_judgment: bool, expected: str
) -> None:
    """A rate that stands only in the contract is not the judgment's."""
    found = account(
        contract_rate=Decimal("0.1200"),
        contract_rate_in_judgment=in_judgment,
        as_of=date(2026, 11, 23),
    )

    assert Decimal(expected) == found.rate


def test_an_account_of_a_day_before_entry_bears_no_interest() -> None:
    """Interest is never negative."""
    assert Decimal("0.00") == account(as_of=date(2024, 2, 1)).interest


cents = st.integers(1, 5_000_000).map(lambda n: Decimal(n) / 100)
days = st.dates(date(2018, 1, 1), date(2026, 11, 1))
payments_made = st.lists(st.tuples(days, cents), max_size=5).map(
    lambda made: [Payment(str(n), when, amount) for n, (when, amount) in enumerate(made)]
)
rates = st.sampled_from([Rates(NINE), Rates(TWO, NINE, CHANGED)])
ENTRY, END = date(2018, 1, 1), date(2026, 11, 23)


@given(cents, rates, payments_made, days, cents)
def test_one_more_payment_never_raises_what_is_due(
    principal: Decimal, rate: Rates, made: list[Payment], when: date, amount: Decimal
) -> None:
    """Whatever is paid, whenever, the balance does not grow for it."""
    more = [*made, Payment("more", when, amount)]
    less_due = balance_due(principal, rate, ENTRY, more, END).total
    due = balance_due(principal, rate, ENTRY, made, END).total

    assert less_due is not None
    assert due is not None
    assert less_due <= due


@given(cents, rates, payments_made, st.integers(0, 3000))
def test_interest_never_falls_from_one_day_to_the_next(
    principal: Decimal, rate: Rates, made: list[Payment], later: int
) -> None:
    """Without a payment between, a later day never owes less."""
    after = END + timedelta(days=later)
    now = balance_due(principal, rate, ENTRY, made, END).total
    then = balance_due(principal, rate, ENTRY, made, after).total

    assert now is not None
    assert then is not None
    assert now <= then


@given(cents, rates, payments_made)
def test_every_cent_received_is_accounted_for(
    principal: Decimal, rate: Rates, made: list[Payment]
) -> None:
    """Interest, principal and excess add up to the payments, and principal to what is left."""
    found = balance_due(principal, rate, ENTRY, made, END)
    spent = [one.to_interest + one.to_principal + one.unspent for one in found.applied]

    assert sum((one.amount for one in made), Decimal(0)) == sum(spent, Decimal(0))
    assert principal == found.principal + sum(
        (one.to_principal for one in found.applied), Decimal(0)
    )
