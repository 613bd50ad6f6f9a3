"""Index numbers: one key for the prints of one number, two for two numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dragonfly.errors import InputRefused
from dragonfly.judgments.index_numbers import parse_index


@pytest.mark.parametrize(
    ("printed", "key"),
    [
        ("CV-009001-20NY", "CV|9001|2020|NY"),
        ("CV-9001-20/NY", "CV|9001|2020|NY"),
        ("cv-9001-20 ny", "CV|9001|2020|NY"),
        ("CV-56286-10/KI", "CV|56286|2010|KI"),
        ("CV-054746-14 KI", "CV|54746|2014|KI"),
        ("SCB 2070/18", "SCB|2070|2018|"),
        ("806195/2023E", "|806195|2023|E"),
        ("806195/2023 (E)", "|806195|2023|E"),
        ("943786/2023", "|943786|2023|"),
        ("13804/08", "|13804|2008|"),
        ("13804/2008", "|13804|2008|"),
        ("1001/25", "|1001|2025|"),
        ("12345-2020", "|12345|2020|"),
        ("900123-21", "|900123|2021|"),
        ("4411/76", "|4411|1976|"),
        ("EF2021-1234", "EF|1234|2021|"),
        ("E2021001234", "E|1234|2021|"),
        ("QSC-2023-1234", "QSC|1234|2023|"),
        ("QSC-2023-1999", "QSC|1999|2023|"),
        ("CV-2023-19", "CV|2023|2019|"),
        ("CGC-21-123456", "CGC|123456|2021|"),
        ("21STCV45678", "STCV|45678|2021|"),
        ("2024-CV-98765", "CV|98765|2024|"),
        ("SC437441-2018", "SC|437441|2018|"),
        ("A-2021-615434", "A|615434|2021|"),
    ],
)
def test_known_prints_have_a_key_of_parts(printed: str, key: str) -> None:
    """The prints seen in courts' papers parse into prefix, number, year and suffix."""
    index = parse_index(printed)
    assert (key, True, printed) == (index.key, index.parsed, index.display)


@pytest.mark.parametrize(
    ("printed", "key"),
    [
        ("1-234/05", "RAW|1-234/05"),
        ("12-34/05", "RAW|12-34/05"),
        ("QSC20231234", "RAW|QSC20231234"),
        ("see  file", "RAW|SEE FILE"),
        ("12345/1899", "RAW|12345/1899"),
    ],
)
def test_other_prints_are_kept_whole_and_flagged(printed: str, key: str) -> None:
    """A number of no known form keeps its separators, so that two never become one."""
    index = parse_index(printed)
    assert (key, False) == (index.key, index.parsed)


@pytest.mark.parametrize(
    ("printed", "code"),
    [
        ("25-Jan", "INDEX_LOOKS_LIKE_DATE"),
        ("Jan-25", "INDEX_LOOKS_LIKE_DATE"),
        ("1/25/2024", "INDEX_LOOKS_LIKE_DATE"),
        ("2024-01-25", "INDEX_LOOKS_LIKE_DATE"),
        ("2.02301E+11", "INDEX_SCIENTIFIC"),
        ("9" * 101, "VALUE_TOO_LONG"),
    ],
)
def test_numbers_that_a_spreadsheet_spoiled_are_refused(printed: str, code: str) -> None:
    """What Excel made of an index number is refused rather than kept as one."""
    with pytest.raises(InputRefused) as refused:
        parse_index(printed)
    assert code == refused.value.code


@pytest.mark.parametrize(
    ("printed", "code"),
    [("CV-9001-20/KI", "KI"), ("CV-9001-20", None), ("806195/2023E", None), ("SCQ 12/19 QU", "QU")],
)
def test_the_civil_courts_suffix_is_a_county(printed: str, code: str | None) -> None:
    """Only the Civil Court's suffix names a county."""
    assert code == parse_index(printed).borough_code


@given(
    prefix=st.sampled_from(["CV", "CC", "LT", "SCB"]),
    number=st.integers(1, 999_999),
    year=st.integers(1976, 2075),
    county=st.sampled_from(["NY", "KI", "QU", "BX", "RI"]),
    padding=st.integers(0, 3),
    separators=st.tuples(
        st.sampled_from(["-", " ", "/"]),
        st.sampled_from(["-", "/"]),
        st.sampled_from(["", "/", " "]),
    ),
)
def test_padding_and_separators_between_parts_do_not_matter(
    prefix: str, number: int, year: int, county: str, padding: int, separators: tuple[str, str, str]
) -> None:
    """However a Civil Court number is padded and parted, its key is the same."""
    first, second, third = separators
    padded = f"{'0' * padding}{number}"
    printed = f"{prefix}{first}{padded}{second}{year % 100:02d}{third}{county}"
    assert f"{prefix}|{number}|{year}|{county}" == parse_index(printed).key


@given(st.integers(1, 999_999), st.integers(1976, 2075), st.integers(0, 3), st.sampled_from("/-"))
def test_clerks_numbers_have_one_key_with_two_and_four_digit_years(
    number: int, year: int, padding: int, separator: str
) -> None:
    """A county clerk's number has one key however its year is written."""
    short = parse_index(f"{'0' * padding}{number}{separator}{year % 100:02d}")
    full = parse_index(f"{number}{separator}{year}")
    assert [f"|{number}|{year}|"] * 2 == [short.key, full.key]


@given(st.lists(st.integers(0, 999), min_size=2, max_size=4))
def test_moving_a_separator_makes_another_number(parts: list[int]) -> None:
    """Numbers with the same digits and other separators never share a key."""
    apart = "-".join(map(str, parts))
    moved = f"{parts[0]}{parts[1]}" + "".join(f"-{part}" for part in parts[2:])
    assert parse_index(f"{apart}/05").key != parse_index(f"{moved}/05").key
