"""Names: one key for the prints of one party, and lists only parted where that is clear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragonfly.judgments.names import kind_of, name_key, names_others, party, split_names


@pytest.mark.parametrize(
    ("prints", "key"),
    [
        (["ACME Corp", "Acme Corp.", "Acme Corporation", " acme,  CORP "], "acme corp"),
        (["Bob's Deli", "BOB’S DELI", "Bobs Deli"], "bobs deli"),
        (["Peña Imports", "Pena Imports", "Pen\u0303a Imports"], "pena imports"),
        (["Maria-Luisa Gomez", "Maria Luisa Gomez"], "maria luisa gomez"),
        (["John Doe", "Doe, John", "JOHN DOE"], "john doe"),
        (["Smith, John Jr. a/k/a Jack", "John Smith, Jr.", "John Smith Jr"], "john smith jr"),
        (["García López, María Elena"], "maria elena garcia lopez"),
        (["Ramos LLC d/b/a Ramos Deli", "Ramos L.L.C.", "RAMOS, LLC dba Best Deli"], "ramos llc"),
        (["Citibank, N.A.", "Citibank NA"], "citibank na"),
        (["Marrow & Finch Inc", "Marrow and Finch Incorporated"], "marrow and finch inc"),
        (["Acme, Inc.", "Acme Inc"], "acme inc"),
        (["John Smith et al.", "John Smith"], "john smith"),
        (["...", "-"], ""),
        (["李 明"], "李 明"),
    ],
)
def test_prints_of_one_party_share_a_key(prints: list[str], key: str) -> None:
    """Case, points, accents, order and trade names do not make another party."""
    assert [key] * len(prints) == [name_key(printed) for printed in prints]


@given(st.text(alphabet="aAbBcCdD kK.,&'-/ñ\u0301 123LlPpIiNnOo", max_size=24))
def test_a_key_of_a_key_is_the_key(printed: str) -> None:
    """Computing the key again changes nothing."""
    key = name_key(printed)
    assert key == name_key(key)


@given(st.text(max_size=40))
def test_a_key_holds_letters_and_digits_only(printed: str) -> None:
    """No print can smuggle punctuation or invisible characters into a key."""
    assert all(word.isalnum() for word in name_key(printed).split(" ") if word)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("John A. Doe", "person"),
        ("Doe, John", "person"),
        ("John Smith d/b/a Smith Plumbing", "person"),
        ("O'Brannigan, Síle", "person"),
        ("Min Na", "person"),
        ("ACME Corp", "company"),
        ("Ramos LLC d/b/a Ramos Deli", "company"),
        ("Citibank, N.A.", "company"),
        ("Bob's Deli", "company"),
        ("City of Yonkers", "government"),
        ("NYC Department of Finance", "government"),
        ("Estate of Jane Roe", "estate"),
        ("Jane Roe as Executor of John Roe", "estate"),
        ("Null", "unknown"),
        ("Unit 7", "unknown"),
    ],
)
def test_a_name_hints_at_its_kind(name: str, kind: str) -> None:
    """Suffixes, trades and offices are recognised; a single word says nothing."""
    assert kind == kind_of(name)


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("Jane Smith and John Smith", ("Jane Smith", "John Smith")),
        ("Jane Smith & John Smith", ("Jane Smith", "John Smith")),
        ("Smith, John and Smith, Jane", ("Smith, John", "Smith, Jane")),
        ("Jane Smith; Acme LLC;", ("Jane Smith", "Acme LLC")),
        ("Jane Smith\nJohn Smith", ("Jane Smith", "John Smith")),
        ("Acme LLC and John Doe", ("Acme LLC", "John Doe")),
        ("Jane Roe and John Roe d/b/a Roe Deli", ("Jane Roe", "John Roe d/b/a Roe Deli")),
        ("Acme LLC d/b/a Salt and Pepper", ("Acme LLC d/b/a Salt and Pepper",)),
        ("Johnson & Johnson LLC", ("Johnson & Johnson LLC",)),
        ("Smith and Sons Inc", ("Smith and Sons Inc",)),
        ("Estate of Jane Roe and John Roe", ("Estate of Jane Roe and John Roe",)),
        ("Acme, Inc.", ("Acme, Inc.",)),
        ("John Smith et al.", ("John Smith",)),
        ("Jane Smith; Jane Smith", ("Jane Smith",)),
    ],
)
def test_clear_lists_of_debtors_are_parted(cell: str, names: tuple[str, ...]) -> None:
    """Where every part is a whole name, each debtor is a party."""
    assert (names, True) == split_names(cell)


@pytest.mark.parametrize(
    "cell",
    [
        "Jane and John Smith",
        "Bed Bath and Beyond Inc",
        "John Doe, Jane Doe",
        "John Doe and Acme Corp",
    ],
)
def test_unclear_lists_stay_one_name(cell: str) -> None:
    """A list that could be parted in two ways is left to a person."""
    assert ((cell,), False) == split_names(cell)


def test_et_al_says_that_somebody_is_not_named() -> None:
    """A cell that ends in "et al." does not name all debtors."""
    assert [True, True, False] == [names_others(c) for c in ("Roe et al.", "Roe, et ano", "Al Roe")]


def test_a_name_without_letters_is_no_party() -> None:
    """Punctuation alone names nobody."""
    assert None is party("--?")
