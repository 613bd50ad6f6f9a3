"""Which of the known layouts a header row is, and where each field stands in it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dragonfly.errors import InputRefused
from dragonfly.judgments.records import RawRow

_ALIASES: Final = {
    "index_number": "case number, case no, case num, case#, file#, file no, index no, index number,"
    " index#, docket no, docket number, case/index number",
    "judgment_number": "judgment number, judgment no, judgment#",
    "plaintiff_name": "plaintiff, plaintiff name, plf, plf name, creditor, creditor name,"
    " creditor full name, judgment creditor",
    "defendant_name": "defendant, defendant name, def, def name, debtor, debtor name,"
    " judgment debtor",
    "amount": "judgment amount, judgement amount, amount, amt, judgment amt, amount awarded,"
    " orig amt, original amount, principal, total, total judgment amount",
    "entry_date": "entry date, date of entry, date entered",
    "judgment_date": "judgment date, jdgmt date, date of judgment",
    "filing_date": "filing date, date filed, file date",
    "court_name": "court, court name, court type, tribunal, filing court",
    "county": "county, county name, venue",
    "state": "state",
    "source_reference": "lead id, source reference, external id, client claim number",
    "plaintiff_address": "plaintiff address",
    "plaintiff_city": "plaintiff city",
    "plaintiff_state": "plaintiff state",
    "plaintiff_zip": "plaintiff zip",
    "defendant_address": "defendant address",
    "phone": "phone",
    "email": "email",
    "case_type": "case type",
    "status": "status",
    "caption": "case title",
}
_WITHHELD: Final = re.compile(r"ssn|socialsecurity|dateofbirth|dob$|birthdate")
_SEPARATORS: Final = re.compile(r"[\s._\-]+")


@dataclass(frozen=True, slots=True)
class Family:
    """One layout: the headers it cannot do without, as its file prints them, by field.

    ``one_of`` asks for any of some fields; ``absent`` are fields that make it another layout.
    """

    format_id: str
    headers: Mapping[str, str]
    one_of: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()

    def missing(self, fields: Mapping[str, int]) -> list[str]:
        """The headers that a file with these fields lacks."""
        lacking = [printed for field, printed in self.headers.items() if field not in fields]
        if self.one_of and not self.one_of.intersection(fields):
            lacking.append("CaseTitle")
        return lacking

    def distance(self, header: Sequence[str], fields: Mapping[str, int]) -> tuple[int, int]:
        """How far a header is from this layout: by what it lacks, then by how it spells."""
        return (len(self.missing(fields)), -len(set(header).intersection(self.headers.values())))


@dataclass(frozen=True, slots=True)
class Layout:
    """A recognised header: the position of each field, counted from 0.

    ``header_key`` is the normalised header, ``fingerprint`` the sha256 of it; ``withheld`` are
    columns that must not be kept (social security numbers, dates of birth).
    """

    format_id: str
    columns: Mapping[str, int]
    header_key: tuple[str, ...]
    fingerprint: bytes
    withheld: frozenset[int] = frozenset()


_LEAD: Final = {
    "source_reference": "LeadID",
    "court_name": "Court",
    "index_number": "IndexNumber",
    "judgment_date": "JudgmentDate",
    "amount": "JudgmentAmount",
    "county": "County",
    "state": "State",
    "plaintiff_name": "PlaintiffName",
}
_LEAD_WITH_CASE: Final = frozenset(("judgment_number", "caption", "filing_date"))
FAMILIES: Final = (
    Family(
        "simplicity_spaced",
        {
            "index_number": "Case Number",
            "plaintiff_name": "Plaintiff",
            "defendant_name": "Defendant",
            "amount": "Judgment Amount",
            "filing_date": "Filing Date",
            "county": "County",
        },
        absent=frozenset(("court_name", "judgment_date", "entry_date", "source_reference")),
    ),
    Family(
        "simplicity_caseno",
        {
            "index_number": "CaseNo",
            "plaintiff_name": "Plaintiff",
            "defendant_name": "Defendant",
            "amount": "JudgmentAmount",
            "judgment_date": "JudgmentDate",
            "court_name": "Court",
            "county": "County",
        },
        absent=frozenset(("source_reference",)),
    ),
    Family(
        "simplicity_lead18", {**_LEAD, "defendant_name": "DefendantName"}, absent=_LEAD_WITH_CASE
    ),
    Family(
        "simplicity_lead13",
        _LEAD,
        absent=_LEAD_WITH_CASE | {"defendant_name", "defendant_address"},
    ),
    Family(
        "simplicity_lead26", {**_LEAD, "defendant_name": "DefendantName"}, one_of=_LEAD_WITH_CASE
    ),
    Family(
        "simplicity_fileno",
        {
            "index_number": "File #",
            "plaintiff_name": "Plaintiff",
            "defendant_name": "Defendant",
            "amount": "Amount",
            "entry_date": "Entry Date",
            "court_name": "Court",
            "county": "County",
        },
        absent=frozenset(("source_reference", "judgment_date")),
    ),
)
"""The layouts by what they cannot do without; a header is one of them only if no other fits."""


def normalise_header(printed: str) -> str:
    """A header without case, order mark, points, dashes and doubled blanks; # reads "no"."""
    text = unicodedata.normalize("NFKC", printed).replace("\ufeff", "").lower()
    return _SEPARATORS.sub(" ", text.replace("#", " no ")).strip()


def _compact(printed: str) -> str:
    return normalise_header(printed).replace(" ", "")


_FIELD_OF: Final = {
    _compact(alias): field for field, names in _ALIASES.items() for alias in names.split(",")
}


def recognise(header: Sequence[str]) -> Layout:
    """The layout of a header row; further columns are allowed and ignored.

    Refusals: COLUMN_MISSING (all but a few headers of one layout are there), NEEDS_MAPPING (no
    layout or two, one header twice, two headers for one field).
    """
    header = _without_empty_end(header)
    keys = tuple(normalise_header(cell) for cell in header)
    fields = _positions(header)
    _refuse_unnamed(len(fields))
    _refuse_twice(header, keys)
    columns = {field: positions[0] for field, positions in fields.items()}
    possible = [family for family in FAMILIES if not family.absent.intersection(columns)]
    fitting = [family for family in possible if not family.missing(columns)]
    if len(fitting) != 1:
        raise _unfit(header, columns, possible, fitting)
    return Layout(
        format_id=fitting[0].format_id,
        columns=columns,
        header_key=keys,
        fingerprint=hashlib.sha256("\x1f".join(keys).encode()).digest(),
        withheld=frozenset(i for i, key in enumerate(keys) if _WITHHELD.search(_compact(key))),
    )


def without_withheld(row: RawRow, layout: Layout) -> RawRow:
    """The row as it may be kept: cells of withheld columns emptied."""
    if not layout.withheld:
        return row
    cells = tuple("" if i in layout.withheld else cell for i, cell in enumerate(row.cells))
    return RawRow(row.row_no, row.line_no, cells)


def _without_empty_end(header: Sequence[str]) -> Sequence[str]:
    named = [position for position, printed in enumerate(header) if printed.strip()]
    return header[: named[-1] + 1] if named else ()


def _positions(header: Sequence[str]) -> dict[str, list[int]]:
    fields: dict[str, list[int]] = {}
    for position, printed in enumerate(header):
        field = _FIELD_OF.get(_compact(printed))
        if field:
            fields.setdefault(field, []).append(position)
    return fields


def _refuse_unnamed(known: int) -> None:
    """A first row without known headers may be data: its cells are not repeated."""
    if known < 2:
        raise InputRefused(
            "NEEDS_MAPPING",
            "The first row of the file does not look like a header; remove what stands above the"
            " header or confirm a mapping for this file.",
        )


def _refuse_twice(header: Sequence[str], keys: Sequence[str]) -> None:
    names = [
        _FIELD_OF.get(_compact(printed)) or key for printed, key in zip(header, keys, strict=True)
    ]
    twice = [
        printed
        for printed, name in zip(header, names, strict=True)
        if name and names.count(name) > 1
    ]
    if twice:
        raise InputRefused(
            "NEEDS_MAPPING",
            f"The header has more than one column for the same thing ({', '.join(twice)}); keep one"
            " of them or confirm a mapping for this file.",
        )


def _unfit(
    header: Sequence[str],
    columns: Mapping[str, int],
    possible: Sequence[Family],
    fitting: Sequence[Family],
) -> InputRefused:
    present = ", ".join(printed for printed in header if printed)
    nearest = min(possible, key=lambda family: family.distance(header, columns), default=None)
    if nearest is not None and not fitting:
        missing = nearest.missing(columns)
        if 2 * len(missing) <= len(nearest.headers):
            names = ", ".join(missing)
            return InputRefused(
                "COLUMN_MISSING",
                f"The file lacks {names}, which the layout {nearest.format_id} needs; add it or"
                f" confirm a mapping. Columns of the file: {present}.",
            )
    count = "more than one known layout" if fitting else "no known layout"
    return InputRefused(
        "NEEDS_MAPPING",
        f"The header fits {count}; confirm a mapping for this file. Columns of the file:"
        f" {present}.",
    )
