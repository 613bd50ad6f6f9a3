"""What is accepted as an amount of money, and why anything else is not."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragonfly.errors import InputRefused
from dragonfly.judgments.money import parse_amount


@pytest.mark.parametrize(
    ("printed", "dollars"),
    [
        ("$12500.00", "12500.00"),
        ("$8750.50", "8750.50"),
        ("$12,500.00", "12500.00"),
        ("12,500", "12500.00"),
        ("2500", "2500.00"),
        ("3000.5", "3000.50"),
        ("USD 999.99", "999.99"),
        ("USD1,234,567.89", "1234567.89"),
        ("$ 1.00", "1.00"),
        (" 0.01 ", "0.01"),
        ("999999999999.99", "999999999999.99"),
    ],
)
def test_amounts_people_print_are_read(printed: str, dollars: str) -> None:
    """An amount in US style is read to the cent."""
    assert Decimal(dollars) == parse_amount(printed)
    assert -2 == parse_amount(printed).as_tuple().exponent


@pytest.mark.parametrize(
    ("printed", "code"),
    [
        ("NOT_A_NUMBER", "AMOUNT_FORMAT"),
        ("1.234,50", "AMOUNT_FORMAT"),
        ("$1,2345.00", "AMOUNT_FORMAT"),
        ("12,34", "AMOUNT_FORMAT"),
        ("0,500.00", "AMOUNT_FORMAT"),
        ("1,234,56.00", "AMOUNT_FORMAT"),
        ("1e5", "AMOUNT_FORMAT"),
        ("NaN", "AMOUNT_FORMAT"),
        ("Infinity", "AMOUNT_FORMAT"),
        ("１２３", "AMOUNT_FORMAT"),
        ("٣٤٥", "AMOUNT_FORMAT"),
        ("1_000", "AMOUNT_FORMAT"),
        ("+500", "AMOUNT_FORMAT"),
        ("500.", "AMOUNT_FORMAT"),
        (".50", "AMOUNT_FORMAT"),
        ("$$500", "AMOUNT_FORMAT"),
        ("EUR 500", "AMOUNT_FORMAT"),
        ("500 USD", "AMOUNT_FORMAT"),
        ("1 000.00", "AMOUNT_FORMAT"),
        ("(1,234.50)", "AMOUNT_NEGATIVE"),
        ("$(500.00)", "AMOUNT_NEGATIVE"),
        ("($500.00)", "AMOUNT_NEGATIVE"),
        ("-500", "AMOUNT_NEGATIVE"),
        ("-$500.00", "AMOUNT_NEGATIVE"),
        ("$-500.00", "AMOUNT_NEGATIVE"),
        ("\u2212500", "AMOUNT_NEGATIVE"),
        ("500-", "AMOUNT_NEGATIVE"),
        ("12500.005", "AMOUNT_PRECISION"),
        ("1.000", "AMOUNT_PRECISION"),
        ("99999999999999.99", "AMOUNT_RANGE"),
        ("1000000000000.00", "AMOUNT_RANGE"),
        ("0", "AMOUNT_ZERO"),
        ("$0.00", "AMOUNT_ZERO"),
    ],
)
def test_doubtful_amounts_are_refused_with_their_reason(printed: str, code: str) -> None:
    """An amount that a person would not read with certainty is refused by its own code."""
    with pytest.raises(InputRefused) as refused:
        parse_amount(printed)
    assert code == refused.value.code
    assert printed not in refused.value.message.split()


@given(st.text(alphabet="0123456789.,$+-_eE()INFaniyUSD １२\u2212\t\n", max_size=12))
def test_nothing_is_accepted_that_a_person_would_not_read(printed: str) -> None:
    """Whatever is accepted has the shape of a US amount and the value of its digits."""
    try:
        amount = parse_amount(printed)
    except InputRefused:
        return
    bare = printed.strip().removeprefix("USD").removeprefix("$").strip()
    assert re.fullmatch(r"[0-9]+(,[0-9]{3})*(\.[0-9]{1,2})?", bare)
    assert Decimal(bare.replace(",", "")) == amount
    assert amount > 0


@given(st.text(max_size=8))
def test_what_only_decimal_understands_is_refused(printed: str) -> None:
    """Exponents, signs, underscores and foreign digits pass Decimal but not the intake."""
    try:
        Decimal(printed)
    except InvalidOperation:
        return
    if re.fullmatch(r"[0-9]+(\.[0-9]{1,2})?", printed.strip()):
        return
    with pytest.raises(InputRefused):
        parse_amount(printed)


@given(st.decimals(min_value="0.01", max_value="999999999.99", places=2))
def test_every_printed_amount_comes_back(amount: Decimal) -> None:
    """Plain, grouped and with a dollar sign, the same amount is read."""
    assert [amount] * 3 == [parse_amount(p) for p in (f"{amount}", f"{amount:,}", f"${amount:,}")]
