"""From the rows of a file to judgments' records, with everything a person should know of each row.

Unknown stays unknown: no field is filled from another one, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

from dragonfly.errors import InputRefused
from dragonfly.judgments.assembling import DATE_FIELDS, record_of
from dragonfly.judgments.cells import value_of
from dragonfly.judgments.dates import DateColumn, DateTally
from dragonfly.judgments.findings import DateDecisions, ExaminedRow
from dragonfly.judgments.formats import Layout
from dragonfly.judgments.records import RawRow, ValidatedRow

__all__ = ["DateDecisions", "decide_dates", "validate"]

_REQUIRED: Final = ("index_number", "plaintiff_name", "defendant_name", "amount")


def decide_dates(layout: Layout, rows: Iterable[RawRow]) -> DateDecisions:
    """Decide from all rows of a file, in one pass.

    Refuses NEEDS_MAPPING where a column holds nothing but Excel's serial numbers of days.
    """
    positions = {field: layout.columns[field] for field in DATE_FIELDS if field in layout.columns}
    tallies = {field: DateTally() for field in positions}
    blank = {field for field in _REQUIRED if field in layout.columns}
    width, count = len(layout.header_key), 0
    for row in rows:
        if len(row.cells) < width:
            continue
        count += 1
        for field, position in positions.items():
            text = value_of(row.cells[position])
            if text:
                tallies[field].add(text)
        if blank:
            blank = {field for field in blank if not value_of(row.cells[layout.columns[field]])}
    columns = {field: _decided(field, tally) for field, tally in tallies.items()}
    return DateDecisions(columns, frozenset(blank if count > 1 else ()))


def _decided(field: str, tally: DateTally) -> DateColumn:
    column = tally.decide()
    if column is None:
        raise InputRefused(
            "NEEDS_MAPPING",
            f"The column of the {field.replace('_', ' ')} holds numbers such as Excel keeps for"
            " days, not dates; format it as a date and save the file again.",
        )
    return column


def validate(
    raw: RawRow, layout: Layout, header: Sequence[str], dates: DateDecisions, today: date
) -> ValidatedRow:
    """One row with its findings, and its record unless one of them rejects it.

    ``header`` is the header as printed, ``today`` the day in New York.
    """
    row = ExaminedRow(raw, layout, header, dates, today)
    if row.is_unreadable():
        return ValidatedRow(raw, None, tuple(row.findings))
    record = record_of(row)
    rejected = any(finding.severity == "reject" for finding in row.findings)
    return ValidatedRow(raw, None if rejected else record, tuple(row.findings))
