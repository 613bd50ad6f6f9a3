"""The record of a readable row, field by field."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Final, Literal

from dragonfly.judgments.cells import has_invisible, looks_like_formula
from dragonfly.judgments.contacts import read_email, read_phone
from dragonfly.judgments.courts import Resolution, resolve
from dragonfly.judgments.dates import parse_date
from dragonfly.judgments.findings import ExaminedRow
from dragonfly.judgments.index_numbers import IndexNumber, parse_index
from dragonfly.judgments.money import LARGE_AMOUNT, parse_amount
from dragonfly.judgments.names import LONGEST_NAME, names_others, party, split_names
from dragonfly.judgments.records import Contact, JudgmentRecord, Party
from dragonfly.judgments.states import state_code

DebtClass = Literal["consumer", "non_consumer", "unknown"]

DATE_FIELDS: Final = ("filing_date", "judgment_date", "entry_date")
_TEXT_FIELDS: Final = (
    "source_reference",
    "index_number",
    "judgment_number",
    "plaintiff_name",
    "defendant_name",
    "court_name",
    "county",
    "caption",
    "case_type",
    "plaintiff_address",
    "defendant_address",
)
_LIFE_OF_A_JUDGMENT: Final = 20
"""Years after which a judgment is presumed paid, CPLR 211(b)."""

_CLOSED: Final = re.compile(
    r"\b(?:closed|satisfied|paid|settled|vacated|discharged)\b", re.IGNORECASE
)
_NOT_CONSUMER: Final = re.compile(
    r"\bnon[- _]?consumer\b|\bcommercial\b|\bbusiness\b", re.IGNORECASE
)
_CONSUMER: Final = re.compile(r"\bconsumer\b", re.IGNORECASE)


def record_of(row: ExaminedRow) -> JudgmentRecord | None:
    """The record, or None when something that a judgment cannot do without is missing.

    Every finding is noted on the row, also those behind the first that rejects it.
    """
    _warn_of_odd_text(row)
    index, amount = _index(row), _amount(row)
    plaintiff, debtors = _plaintiff(row), _debtors(row)
    filing, judgment, entry = (
        row.parse(field, partial(_date, row, field)) for field in DATE_FIELDS
    )
    _check_sequence(row, index, filing, judgment, entry)
    state, place = _place(row, index)
    contacts = _contacts(row)
    _check_status(row)
    if index is None or amount is None or plaintiff is None:
        return None
    fields = _as_printed(row) | {
        "index_raw": row.cell("index_number"),
        "index_display": index.display,
        "index_key": index.key,
        "index_parsed": index.parsed,
        "court_id": place.court_id,
        "county_fips": place.county_fips,
        "state": state,
        "filing_date": filing,
        "judgment_date": judgment,
        "entry_date": entry,
        "amount": amount,
        "plaintiff": plaintiff,
        "contacts": contacts,
        "debtors": debtors,
    }
    return JudgmentRecord(**fields, content_hash=_content_hash(fields))


def _as_printed(row: ExaminedRow) -> dict[str, Any]:
    """The fields that are kept as the file prints them."""
    case_type = row.text("case_type")
    return {
        "source_reference": row.text("source_reference"),
        "judgment_number": row.text("judgment_number"),
        "court_raw": row.text("court_name"),
        "caption": row.text("caption"),
        "debt_class": debt_class(case_type),
        "case_type": case_type,
        "vendor_status": row.text("status"),
    }


def debt_class(case_type: str | None) -> DebtClass:
    """What the case type says outright; anything less is unknown, since the rate hangs on it."""
    if case_type is None:
        return "unknown"
    if _NOT_CONSUMER.search(case_type):
        return "non_consumer"
    return "consumer" if _CONSUMER.search(case_type) else "unknown"


_PRINTS: Final = frozenset(("index_raw", "index_display", "index_parsed"))


def _content_hash(fields: dict[str, Any]) -> bytes:
    """sha256 of what the row says, however it prints it: another export of it has the same."""
    prints = _PRINTS | {"court_raw"} if fields["court_id"] else _PRINTS
    said = [_said(value) for name, value in fields.items() if name not in prints]
    return hashlib.sha256(json.dumps(said).encode()).digest()


def _said(value: Any) -> Any:
    match value:
        case str():
            return value.casefold()
        case date() | Decimal():
            return str(value)
        case Party():
            return [value.name_key, _said(value.address)]
        case Contact():
            return [value.kind, value.value or value.raw]
        case tuple():
            return sorted(_said(member) for member in value)
    return value


def _warn_of_odd_text(row: ExaminedRow) -> None:
    for field in _TEXT_FIELDS:
        cell = row.cell(field)
        if looks_like_formula(cell):
            row.find(
                "warning",
                "FORMULA_LIKE",
                "A spreadsheet would run this cell as a formula; it is kept as text, check it.",
                field,
            )
        if has_invisible(cell):
            row.find(
                "warning",
                "CONTROL_CHARACTERS",
                "The cell holds invisible characters; they are left out of what is shown.",
                field,
            )
    row.warn_of_unnamed_columns()


def _index(row: ExaminedRow) -> IndexNumber | None:
    if row.text("index_number") is None:
        row.missing("index_number", "NO_INDEX_NUMBER", "the index number")
        return None
    index = row.parse("index_number", parse_index)
    if index is not None and not index.parsed:
        row.find(
            "warning",
            "INDEX_UNPARSED",
            "The index number has no form known to the system; it is kept as printed, check it.",
            "index_number",
        )
    if index is not None and index.year is not None and index.year > row.today.year:
        row.find(
            "warning",
            "INDEX_YEAR",
            "The year in the index number lies in the future; check the number.",
            "index_number",
        )
    return index


def _amount(row: ExaminedRow) -> Decimal | None:
    if row.text("amount") is None:
        row.missing("amount", "AMOUNT_MISSING", "the amount")
        return None
    amount = row.parse("amount", parse_amount)
    if amount is not None and amount > LARGE_AMOUNT:
        row.find(
            "review",
            "AMOUNT_LARGE",
            f"The amount is above ${LARGE_AMOUNT:,}; compare it with the court's record.",
            "amount",
        )
    return amount


def _plaintiff(row: ExaminedRow) -> Party | None:
    name = row.text("plaintiff_name")
    parts = [row.text(f"plaintiff_{part}") for part in ("address", "city")]
    parts.append(" ".join(filter(None, (row.text("plaintiff_state"), row.text("plaintiff_zip")))))
    found = party(name, ", ".join(filter(None, parts)) or None) if name else None
    if found is None:
        row.missing("plaintiff_name", "NO_PLAINTIFF", "the plaintiff")
    else:
        _check_length(row, "plaintiff_name", [found])
    return found


def _debtors(row: ExaminedRow) -> tuple[Party, ...]:
    """The debtors by their keys; an address is a debtor's only where there is just one."""
    if not row.has("defendant_name"):
        row.find(
            "review",
            "NO_DEFENDANT",
            "The file has no column for the defendant, and a judgment without one cannot be"
            " enforced; add the defendant from the court's record.",
        )
        return ()
    if row.text("defendant_name") is None:
        row.missing("defendant_name", "NO_DEFENDANT", "the defendant")
        return ()
    names, clear = split_names(row.cell("defendant_name"))
    address = row.text("defendant_address") if len(names) == 1 else None
    parties = [found for name in names if (found := party(name, address))]
    debtors = tuple({debtor.name_key: debtor for debtor in reversed(parties)}.values())[::-1]
    if not debtors:
        row.missing("defendant_name", "NO_DEFENDANT", "the defendant")
    _check_length(row, "defendant_name", debtors)
    _check_split(row, clear)
    return debtors


def _check_length(row: ExaminedRow, field: str, parties: Sequence[Party]) -> None:
    if any(len(named.name_display) > LONGEST_NAME for named in parties):
        row.find(
            "reject",
            "VALUE_TOO_LONG",
            f"The name is longer than {LONGEST_NAME} characters; write only the party's name.",
            field,
        )


def _check_split(row: ExaminedRow, clear: bool) -> None:
    if not clear:
        row.find(
            "review",
            "DEBTORS_UNCLEAR",
            "The cell may name more than one debtor; write them apart with semicolons.",
            "defendant_name",
        )
    if names_others(row.cell("defendant_name")):
        row.find(
            "warning",
            "DEBTORS_UNNAMED",
            'The cell says "et al.", so it does not name every debtor; add the others.',
            "defendant_name",
        )


def _date(row: ExaminedRow, field: str, text: str) -> date:
    return parse_date(text, row.dates.columns[field], row.today)


def _check_sequence(
    row: ExaminedRow,
    index: IndexNumber | None,
    filing: date | None,
    judgment: date | None,
    entry: date | None,
) -> None:
    known = [day for day in (filing, judgment, entry) if day is not None]
    early = index is not None and index.year is not None and known and index.year > known[0].year
    if known != sorted(known) or early:
        row.find(
            "warning",
            "DATE_SEQUENCE",
            "The dates are not in the order of index number, filing, judgment and entry; compare"
            " them with the court's record.",
            "judgment_date" if judgment else None,
        )
    oldest = entry or judgment
    if oldest is not None and _years_later(oldest) < row.today:
        row.find(
            "review",
            "POSSIBLY_EXPIRED",
            f"The judgment is older than {_LIFE_OF_A_JUDGMENT} years and may have expired; find out"
            " whether it was renewed or paid on.",
            "entry_date" if entry else "judgment_date",
        )


def _years_later(day: date) -> date:
    leap_day = (day.month, day.day) == (2, 29)
    year = day.year + _LIFE_OF_A_JUDGMENT
    return date(year, 3, 1) if leap_day and year % 4 else day.replace(year=year)


def _place(row: ExaminedRow, index: IndexNumber | None) -> tuple[str, Resolution]:
    """The state, and court and county if it is New York; a file without states is New York's."""
    state = _state(row)
    if state != "NY":
        return state or "NY", Resolution(None, None)
    code = index.borough_code if index else None
    county = row.text("county")
    place = resolve(row.text("court_name"), county, code)
    if place.problem and place.detail:
        conflict = place.problem == "COURT_COUNTY_CONFLICT"
        unknown_county = place.problem == "COUNTY_UNKNOWN"
        rejects = conflict or (unknown_county and county is not None)
        field = "county" if conflict or unknown_county else "court_name"
        row.find("reject" if rejects else "warning", place.problem, place.detail, field)
    return state, place


def _state(row: ExaminedRow) -> str | None:
    text = row.text("state")
    if text is None:
        return "NY"
    state = state_code(text)
    if state is None:
        row.find(
            "reject", "STATE_UNKNOWN", "This is no state; write it like NY or New York.", "state"
        )
    elif state != "NY":
        row.find(
            "warning",
            "OUT_OF_STATE",
            "The judgment is another state's; it is kept and never enforced unless it is filed in"
            " New York (CPLR article 54).",
            "state",
        )
    return state


def _contacts(row: ExaminedRow) -> tuple[Contact, ...]:
    contacts = []
    for field, read, what in (
        ("phone", read_phone, "telephone number"),
        ("email", read_email, "e-mail address"),
    ):
        text = row.text(field)
        if text is None:
            continue
        contact = read(text)
        contacts.append(contact)
        if contact.value is None:
            row.find(
                "warning",
                "CONTACT_INVALID",
                f"This is no {what} that can be used; it is kept as printed, correct it.",
                field,
            )
    return tuple(contacts)


def _check_status(row: ExaminedRow) -> None:
    status = row.text("status")
    if status and _CLOSED.search(status):
        row.find(
            "review",
            "STATUS_CLOSED",
            "The vendor calls the case closed, which is no proof that the judgment is satisfied;"
            " find out before anything is done.",
            "status",
        )
