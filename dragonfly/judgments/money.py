"""The amount of a judgment, read the way a careful person reads it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from dragonfly.errors import InputRefused

LARGE_AMOUNT: Final = Decimal(10_000_000)
"""Dollars above which a person looks at the row before it becomes a judgment."""

_MOST: Final = Decimal("999999999999.99")
_PLAIN: Final = re.compile(
    r"(?:\$ ?|USD ?)?(?P<whole>[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.(?P<cents>[0-9]+))?"
)
_NEGATIVE: Final = re.compile(
    r"(?:(?:\$|USD)? ?\([^()]*[0-9][^()]*\)"
    r"|(?:\$|USD)? ?[-\u2212] ?(?:\$|USD)? ?[0-9][0-9.,]*"
    r"|(?:\$|USD)? ?[0-9][0-9.,]*-)"
)


def parse_amount(text: str) -> Decimal:
    """Dollars of a cell that says something; positive, at most two decimals.

    Accepted is exactly one shape: an optional ``$`` or ``USD``, digits with or without correct
    US thousand groups, at most two decimals. Refusals: AMOUNT_FORMAT, AMOUNT_NEGATIVE,
    AMOUNT_PRECISION, AMOUNT_RANGE, AMOUNT_ZERO.
    """
    match = _PLAIN.fullmatch(text.strip())
    if match is None:
        raise _misread(text.strip())
    whole, cents = match["whole"].replace(",", ""), match["cents"] or "0"
    if len(cents) > 2:
        raise InputRefused(
            "AMOUNT_PRECISION", "The amount has more than two decimals; write dollars and cents."
        )
    amount = Decimal(f"{whole}.{cents}")
    if amount > _MOST:
        raise InputRefused(
            "AMOUNT_RANGE", "The amount is too large to be a judgment; check its digits."
        )
    if not amount:
        raise InputRefused(
            "AMOUNT_ZERO", "The amount is zero; write what the court awarded or leave the row out."
        )
    return amount.quantize(Decimal("0.01"))


def _misread(text: str) -> InputRefused:
    if _NEGATIVE.fullmatch(text):
        return InputRefused(
            "AMOUNT_NEGATIVE", "The amount is negative; a judgment needs a positive amount."
        )
    return InputRefused(
        "AMOUNT_FORMAT",
        "The amount cannot be read for certain; write it like 12500.00 or $12,500.00.",
    )
