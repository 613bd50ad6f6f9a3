"""How a plaintiff can be reached."""

from __future__ import annotations

import pytest

from dragonfly.judgments.contacts import read_email, read_phone
from dragonfly.judgments.records import Contact


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("(718) 555-1111", "+17185551111"),
        ("(718)555-1212", "+17185551212"),
        ("212-555-0101", "+12125550101"),
        ("+1 212 555 0101", "+12125550101"),
        ("1.212.555.0101 x12", "+12125550101"),
        ("+44 20 7946 0958", "+442079460958"),
        ("555-555-0003", None),
        ("555-0101", None),
        ("112-555-0101", None),
        ("call me", None),
        ("212-555-0101 or 0102", None),
    ],
)
def test_telephone_numbers_become_e164_or_stay_prints(printed: str, value: str | None) -> None:
    """A number that can be dialled is normalised; any other is kept as printed."""
    assert Contact("phone", value, printed) == read_phone(printed)


@pytest.mark.parametrize(
    ("printed", "value"),
    [
        ("a.b+c@Firm.Example", "a.b+c@firm.example"),
        ("bad-email", None),
        ("a@b", None),
        ("a@@b.example", None),
        ("a b@c.example", None),
        ("a@c.example; d@e.example", None),
        (f"{'a' * 250}@c.example", None),
    ],
)
def test_email_addresses_are_checked_by_shape(printed: str, value: str | None) -> None:
    """An address of the usual shape is normalised; any other is kept as printed."""
    assert Contact("email", value, printed) == read_email(printed)
