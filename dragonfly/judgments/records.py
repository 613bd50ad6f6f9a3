"""The values of the intake: what a row of a file says, and what was found wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

Severity = Literal["reject", "review", "warning"]
PartyKind = Literal["person", "company", "government", "estate", "unknown"]


@dataclass(frozen=True, slots=True)
class RawRow:
    """One record of a file as it was read.

    ``row_no`` is its row in Excel less one for the header, so blank rows leave gaps; ``line_no`` is
    the physical line on which it starts, the header's being 1 (quoted line breaks set them apart).
    """

    row_no: int
    line_no: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know about a row: a code, a sentence, and the cell it is about.

    ``column`` is the header as the file prints it, ``cell`` its Excel address (``D17``).
    The sentence never repeats what the cell holds.
    """

    code: str
    message: str
    severity: Severity
    column: str | None = None
    cell: str | None = None


@dataclass(frozen=True, slots=True)
class Party:
    """A person or company named by a judgment; ``name_key`` is what two prints of it share."""

    name_display: str
    name_key: str
    kind: PartyKind
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """How to reach a plaintiff; ``raw`` is kept when the value could not be normalised."""

    kind: Literal["phone", "email"]
    value: str | None
    raw: str


@dataclass(frozen=True, slots=True)
class JudgmentRecord:
    """A row that may become a judgment: every unknown is None, nothing is made up.

    ``index_key`` identifies a judgment only together with its court and county.
    ``entry_date`` is never filled from another date column. Amounts are dollars.
    """

    source_reference: str | None
    index_raw: str
    index_display: str
    index_key: str
    index_parsed: bool
    judgment_number: str | None
    court_id: str | None
    court_raw: str | None
    county_fips: str | None
    state: str
    caption: str | None
    filing_date: date | None
    judgment_date: date | None
    entry_date: date | None
    amount: Decimal
    debt_class: Literal["consumer", "non_consumer", "unknown"]
    case_type: str | None
    vendor_status: str | None
    plaintiff: Party
    contacts: tuple[Contact, ...]
    debtors: tuple[Party, ...]
    content_hash: bytes


@dataclass(frozen=True, slots=True)
class ValidatedRow:
    """A raw row with its findings; ``record`` is None exactly when one of them rejects it."""

    raw: RawRow
    record: JudgmentRecord | None
    findings: tuple[Finding, ...]
