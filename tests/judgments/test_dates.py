"""Dates: the order is a column's, the year is somebody's life, and today is New York's."""

from __future__ import annotations

from datetime import date

import pytest

from dragonfly.errors import InputRefused
from dragonfly.judgments.dates import (
    DateColumn,
    DateStyle,
    DateTally,
    parse_date,
    read_date,
)

TODAY = date(2026, 11, 23)


def decide(*cells: str) -> DateColumn | None:
    tally = DateTally()
    for cell in cells:
        tally.add(cell)
    return tally.decide()


@pytest.mark.parametrize(
    ("printed", "style", "day"),
    [
        ("2024-03-15", "iso", date(2024, 3, 15)),
        ("2024/3/5", "iso", date(2024, 3, 5)),
        ("2024-03-15T23:59:59.123456+00:00", "iso", date(2024, 3, 15)),
        ("2024-03-15 00:00:00", "iso", date(2024, 3, 15)),
        ("01/05/2023", "mdy", date(2023, 1, 5)),
        ("03-15-2023", "mdy", date(2023, 3, 15)),
        ("1/5/23", "mdy", date(2023, 1, 5)),
        ("01/15/24", "mdy", date(2024, 1, 15)),
        ("6/1/77", "mdy", date(1977, 6, 1)),
        ("1/1/75", "mdy", date(2075, 1, 1)),
        ("1/5/2023 0:00", "mdy", date(2023, 1, 5)),
        ("02/29/2024", "mdy", date(2024, 2, 29)),
        ("13/02/2024", "dmy", date(2024, 2, 13)),
        ("15-JAN-2024", "named", date(2024, 1, 15)),
        ("Jan 5, 2024", "named", date(2024, 1, 5)),
        ("January 5 2024", "named", date(2024, 1, 5)),
        ("5 Sept 2024", "named", date(2024, 9, 5)),
    ],
)
def test_printed_dates_are_read_in_their_style(printed: str, style: DateStyle, day: date) -> None:
    """Each style reads the prints that vendors use, without times of day."""
    assert day == read_date(printed, style)


@pytest.mark.parametrize("style", ["iso", "mdy", "dmy", "named"])
@pytest.mark.parametrize(
    "printed",
    [
        "02/30/2024",
        "02/29/2023",
        "invalid-date",
        "45366",
        "1/5/023",
        "1/5-2023",
        "2024-13-01",
        "0023-01-05",
        "Foo 5, 2024",
        "٠١/٠٥/٢٠٢٣",
        "1/5/2023 extra",
        "20240315",
    ],
)
def test_what_is_no_date_is_none_in_any_style(printed: str, style: DateStyle) -> None:
    """Days that do not exist, serial numbers and other text are no dates."""
    assert None is read_date(printed, style)


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (["2024-03-15", "2023-01-02"], DateColumn("iso")),
        (["03/04/2024", "05/06/2024"], DateColumn("mdy", assumed=True)),
        (["03/04/2024", "02/13/2024"], DateColumn("mdy")),
        (["03/04/2024", "13/02/2024"], DateColumn("dmy")),
        (["13/02/2024", "14/02/2024", "02/13/2024"], DateColumn("mdy")),
        (["15-JAN-2024", "Jan 5, 2024"], DateColumn("named")),
        (["2024-03-15", "2024-03-16", "03/15/2024"], DateColumn("iso")),
        (["03/15/2024", "1/5/23", "2024-03-15", "45366"], DateColumn("mdy")),
        ([], DateColumn("iso")),
        (["45366", "45001"], None),
    ],
)
def test_a_columns_style_is_decided_from_all_its_cells(
    cells: list[str], column: DateColumn | None
) -> None:
    """The style that reads most cells wins; day-first only where no cell contradicts it."""
    assert column == decide(*cells)


@pytest.mark.parametrize(
    ("printed", "column", "code"),
    [
        ("02/30/2024", DateColumn("mdy"), "DATE_INVALID"),
        ("02/29/2023", DateColumn("mdy"), "DATE_INVALID"),
        ("2024-03-15", DateColumn("mdy"), "DATE_INVALID"),
        ("13/02/2024", DateColumn("mdy"), "DATE_ORDER_CONFLICT"),
        ("12/31/2099", DateColumn("mdy"), "DATE_FUTURE"),
        ("2026-11-24", DateColumn("iso"), "DATE_FUTURE"),
        ("1/1/60", DateColumn("mdy"), "DATE_FUTURE"),
    ],
)
def test_a_date_that_cannot_be_is_refused(printed: str, column: DateColumn, code: str) -> None:
    """A day that does not exist, is written in the other order, or is yet to come is refused."""
    with pytest.raises(InputRefused) as refused:
        parse_date(printed, column, TODAY)
    assert code == refused.value.code


def test_today_itself_is_no_future() -> None:
    """A judgment entered today loads."""
    assert TODAY == parse_date("2026-11-23", DateColumn("iso"), TODAY)
