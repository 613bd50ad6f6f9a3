"""Judgment interest under CPLR 5003 and 5004: simple, from entry, payments to interest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from dragonfly.enforcement.facts import Judgment, Payment
from dragonfly.enforcement.parameters import LegalParameters

CENT = Decimal("0.01")
ZERO = Decimal("0.00")


@dataclass(frozen=True, slots=True)
class Rates:
    """The yearly rate of a judgment as a fraction, and the rate kept for payments applied earlier.

    A consumer judgment entered before ``changed_on`` bears ``yearly`` from entry, but payments
    received before that day stay applied at ``before`` (CPLR 5004(a)(ii), 5004(c)).
    """

    yearly: Decimal
    before: Decimal | None = None
    changed_on: date | None = None

    def keeps(self, received_on: date) -> bool:
        """True if a payment of that day stays applied at the older rate."""
        return self.changed_on is not None and received_on < self.changed_on


@dataclass(frozen=True, slots=True)
class AppliedPayment:
    """How a payment was spent: ``days`` since the entry or the payment before; dollars."""

    payment_id: str
    received_on: date
    days: int
    to_interest: Decimal
    to_principal: Decimal
    unspent: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class IgnoredPayment:
    """A payment left out of the account, and why."""

    payment_id: str
    received_on: date
    amount: Decimal
    why: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What is due on a day, in dollars; None where an unknown fact forbids a number."""

    principal: Decimal
    interest: Decimal | None
    total: Decimal | None
    per_diem: Decimal | None
    as_of: date
    rate: Decimal | None = None
    overpaid: Decimal = ZERO
    applied: tuple[AppliedPayment, ...] = ()
    ignored: tuple[IgnoredPayment, ...] = ()

    @property
    def paid_in_full(self) -> bool:
        return self.total == ZERO and bool(self.applied)

    @property
    def paid_off_on(self) -> date | None:
        """The day of the payment that brought the balance to zero."""
        spent = [one for one in self.applied if one.to_interest + one.to_principal > ZERO]
        return spent[-1].received_on if self.paid_in_full and spent else None


@dataclass(frozen=True, slots=True)
class Account:
    """The balance for outgoing paper, and the higher one where the class of the debt is unknown."""

    outgoing: Balance
    higher: Balance | None = None

    @property
    def safest(self) -> Balance:
        """The balance by which a debt counts as paid: the higher one gives nothing away."""
        return self.higher or self.outgoing


def simple_interest(principal: Decimal, rate: Decimal, start: date, end: date) -> Decimal:
    """Dollars of simple interest, Actual/365 Fixed, first day excluded and last day included.

    Rounded half up to the cent, once for the segment (CPLR 5004; the convention is the firm's).
    """
    days = max((end - start).days, 0)
    return (principal * rate * days / 365).quantize(CENT, ROUND_HALF_UP)


def per_diem(principal: Decimal, rate: Decimal) -> Decimal:
    """Dollars of interest for one day."""
    return simple_interest(principal, rate, date(2001, 1, 1), date(2001, 1, 2))


def rates_for(judgment: Judgment, entry: date, consumer: bool, law: LegalParameters) -> Rates:
    """The rate that a judgment bears; a contract's rate only if the judgment itself says so.

    Raises LegalParameterMissing for an entry older than the oldest rate known.
    """
    if judgment.contract_rate is not None and judgment.contract_rate_in_judgment:
        return Rates(judgment.contract_rate)
    ordinary = law.value("interest_rate", entry)
    changed_on = law.first_day("interest_rate_consumer")
    if not consumer or changed_on is None:
        return Rates(ordinary)
    lowered = law.value("interest_rate_consumer", max(entry, changed_on))
    return Rates(lowered, ordinary, changed_on)


@dataclass(slots=True)
class _Ledger:
    """The running account; ``owed`` is unpaid interest, ``kept`` the same at the older rate."""

    rates: Rates
    since: date
    principal: Decimal
    kept: Decimal = ZERO
    owed: Decimal = ZERO

    def run_to(self, day: date) -> None:
        older = self.rates.before or self.rates.yearly
        self.kept += simple_interest(self.principal, older, self.since, day)
        self.owed += simple_interest(self.principal, self.rates.yearly, self.since, day)
        self.since = day

    def apply(self, payment: Payment) -> AppliedPayment:
        days = (payment.received_on - self.since).days
        self.run_to(payment.received_on)
        accrued = self.kept if self.rates.keeps(payment.received_on) else self.owed
        to_interest = min(payment.amount, accrued)
        to_principal = min(payment.amount - to_interest, self.principal)
        self.principal -= to_principal
        # Interest lawfully collected at the older rate is kept, never credited to a later day.
        self.owed = max(self.owed - to_interest, ZERO)
        self.kept -= to_interest
        unspent = payment.amount - to_interest - to_principal
        return AppliedPayment(
            payment.payment_id, payment.received_on, days, to_interest, to_principal, unspent
        )


def balance_due(
    principal: Decimal, rates: Rates, entry: date, payments: Iterable[Payment], as_of: date
) -> Balance:
    """The account of a judgment on ``as_of``: CPLR 5003, 5004; payments interest first, by day.

    Unpaid interest is carried and bears none. A payment before entry or after ``as_of`` is left
    out and listed in ``ignored``; what exceeds the debt is ``overpaid``.
    """
    ledger = _Ledger(rates, entry, principal)
    applied: list[AppliedPayment] = []
    ignored: list[IgnoredPayment] = []
    for payment in sorted(payments, key=lambda paid: (paid.received_on, paid.payment_id)):
        why = _reason_to_ignore(payment, entry, as_of)
        if why is not None:
            ignored.append(_ignored(payment, why))
            continue
        applied.append(ledger.apply(payment))
    ledger.run_to(max(as_of, ledger.since))
    return Balance(
        principal=ledger.principal,
        interest=ledger.owed,
        total=ledger.principal + ledger.owed,
        per_diem=per_diem(ledger.principal, rates.yearly),
        as_of=as_of,
        rate=rates.yearly,
        overpaid=sum((one.unspent for one in applied), ZERO),
        applied=tuple(applied),
        ignored=tuple(ignored),
    )


def _ignored(payment: Payment, why: str) -> IgnoredPayment:
    return IgnoredPayment(payment.payment_id, payment.received_on, payment.amount, why)


def _reason_to_ignore(payment: Payment, entry: date, as_of: date) -> str | None:
    if payment.received_on < entry:
        return "received before the judgment was entered"
    if payment.received_on > as_of:
        return "received after the day of this account"
    return None


def account_of(
    judgment: Judgment, payments: Iterable[Payment], as_of: date, law: LegalParameters
) -> Account:
    """The balances of a judgment: one, two when its class is unknown, no interest without entry.

    With an unknown class the lower number is the one for outgoing paper. An entry older than the
    oldest rate known bears no number either.
    """
    entry, paid = judgment.known_entry, tuple(payments)
    if entry is None or law.find("interest_rate", entry) is None:
        why = "nothing can be applied before the day of entry and its rate are known"
        left_out = tuple(_ignored(payment, why) for payment in paid)
        total = judgment.original_total
        return Account(Balance(total, None, None, None, as_of, ignored=left_out))

    def due(consumer: bool) -> Balance:
        rates = rates_for(judgment, entry, consumer, law)
        return balance_due(judgment.original_total, rates, entry, paid, as_of)

    if judgment.debt_class == "unknown":
        lower, higher = sorted((due(True), due(False)), key=lambda one: one.total or ZERO)
        return Account(lower, higher)
    return Account(due(judgment.debt_class == "consumer"))
