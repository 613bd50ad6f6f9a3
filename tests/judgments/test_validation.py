"""Rows to records: what is kept, what is found, and what is never made up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import pytest

from dragonfly.errors import InputRefused
from dragonfly.judgments.dates import DateColumn
from dragonfly.judgments.formats import recognise
from dragonfly.judgments.reading import MAX_CELL
from dragonfly.judgments.records import Contact, Finding, JudgmentRecord, RawRow, ValidatedRow
from dragonfly.judgments.validation import DateDecisions, decide_dates, validate
from tests.judgments.test_formats import F1, F2, F4, F5

TODAY = date(2026, 11, 23)
SPACED = {
    "Case Number": "CV-009001-20NY",
    "Plaintiff": "Acme Corp.",
    "Defendant": "Jane Roe",
    "Judgment Amount": "$12,500.00",
    "Filing Date": "02/13/2020",
    "County": "New York",
}
CASENO = {
    "CaseNo": "806195/2023E",
    "Plaintiff": "Acme Corp.",
    "Defendant": "Jane Roe",
    "JudgmentAmount": "2500",
    "JudgmentDate": "2024-03-15",
    "Court": "Supreme Court",
    "County": "Bronx",
}
LEAD = {
    "LeadID": "SIM-1",
    "Court": "BRONX CIVIL",
    "IndexNumber": "CV-9001-20/BX",
    "JudgmentDate": "2021-03-15",
    "JudgmentAmount": "USD 999.99",
    "County": "Bronx",
    "State": "New York",
    "PlaintiffName": " Acme   Corp. ",
    "PlaintiffAddress": "1 Main St",
    "PlaintiffCity": "Albany",
    "PlaintiffState": "NY",
    "PlaintiffZip": "12207",
    "Phone": "(718) 555-0111",
    "Email": "bad-email",
    "CaseTitle": "Acme v. Roe",
    "CaseType": "Consumer Credit",
    "Status": "Open",
    "FilingDate": "2020-02-13",
    "JudgmentNumber": "J-7",
    "RenewalDate": "2031-03-15",
    "ExpirationDate": "2041-03-15",
    "DefendantName": "Jane Roe and John Roe",
}


def check(header: Sequence[str], *rows: Sequence[str]) -> list[ValidatedRow]:
    """Validate rows as one file, today being 2026-11-23."""
    layout = recognise(header)
    raw = [RawRow(n, n + 1, tuple(cells)) for n, cells in enumerate(rows, start=1)]
    dates = decide_dates(layout, raw)
    return [validate(row, layout, header, dates, TODAY) for row in raw]


def one(values: dict[str, str], **changes: str) -> ValidatedRow:
    """Validate a file of one row; a change's name has no blanks."""
    named = {name.replace(" ", ""): name for name in values}
    row = values | {named.get(name, name): value for name, value in changes.items()}
    return check(list(row), list(row.values()))[0]


def record(row: ValidatedRow) -> JudgmentRecord:
    assert row.record is not None, row.findings
    return row.record


def codes(row: ValidatedRow, severity: str | None = None) -> list[str]:
    return [f.code for f in row.findings if severity in (None, f.severity)]


def test_a_spaced_file_gives_what_it_says_and_no_more() -> None:
    """The filing date is never the entry date, and without a court column the court is unknown."""
    row = one(SPACED)
    found = record(row)
    assert ["COURT_UNKNOWN"] == codes(row)
    assert (date(2020, 2, 13), None, None) == (
        found.filing_date,
        found.judgment_date,
        found.entry_date,
    )
    assert (None, None, "36061", "NY") == (
        found.court_id,
        found.court_raw,
        found.county_fips,
        found.state,
    )
    assert (None, None, "unknown", None) == (
        found.source_reference,
        found.judgment_number,
        found.debt_class,
        found.vendor_status,
    )
    assert ("CV-009001-20NY", "CV|9001|2020|NY", True) == (
        found.index_raw,
        found.index_key,
        found.index_parsed,
    )
    assert Decimal("12500.00") == found.amount


def test_a_lead_file_fills_every_field_it_has() -> None:
    """Parties, contacts, caption, class and reference come from their own columns."""
    row = one(LEAD)
    found = record(row)
    assert ["CONTACT_INVALID"] == codes(row, "warning") == codes(row)
    assert ("SIM-1", "J-7", "Acme v. Roe", "Open") == (
        found.source_reference,
        found.judgment_number,
        found.caption,
        found.vendor_status,
    )
    assert ("nyc_civil:bronx", "36005", "BRONX CIVIL", "NY") == (
        found.court_id,
        found.county_fips,
        found.court_raw,
        found.state,
    )
    assert ("Acme Corp.", "acme corp", "company", "1 Main St, Albany, NY 12207") == (
        found.plaintiff.name_display,
        found.plaintiff.name_key,
        found.plaintiff.kind,
        found.plaintiff.address,
    )
    assert (
        Contact("phone", "+17185550111", "(718) 555-0111"),
        Contact("email", None, "bad-email"),
    ) == found.contacts
    assert ["jane roe", "john roe"] == [debtor.name_key for debtor in found.debtors]
    assert ("consumer", "Consumer Credit", None) == (
        found.debt_class,
        found.case_type,
        found.entry_date,
    )


@pytest.mark.parametrize(
    ("changes", "code", "cell"),
    [
        ({"JudgmentAmount": ""}, "AMOUNT_MISSING", "D2"),
        ({"JudgmentAmount": "N/A"}, "AMOUNT_MISSING", "D2"),
        ({"JudgmentAmount": "0"}, "AMOUNT_ZERO", "D2"),
        ({"JudgmentAmount": "(5.00)"}, "AMOUNT_NEGATIVE", "D2"),
        ({"JudgmentAmount": "1.005"}, "AMOUNT_PRECISION", "D2"),
        ({"JudgmentAmount": "99999999999999.99"}, "AMOUNT_RANGE", "D2"),
        ({"JudgmentAmount": "NOT_A_NUMBER"}, "AMOUNT_FORMAT", "D2"),
        ({"JudgmentDate": "02/30/2024"}, "DATE_INVALID", "E2"),
        ({"JudgmentDate": "12/31/2099"}, "DATE_FUTURE", "E2"),
        ({"CaseNo": ""}, "NO_INDEX_NUMBER", "A2"),
        ({"CaseNo": "none"}, "NO_INDEX_NUMBER", "A2"),
        ({"CaseNo": "25-Jan"}, "INDEX_LOOKS_LIKE_DATE", "A2"),
        ({"CaseNo": "2.0E+11"}, "INDEX_SCIENTIFIC", "A2"),
        ({"CaseNo": "TOTAL"}, "NO_INDEX_NUMBER", "A2"),
        ({"Plaintiff": "  "}, "NO_PLAINTIFF", "B2"),
        ({"Plaintiff": "..."}, "NO_PLAINTIFF", "B2"),
        ({"Plaintiff": "A" * 301}, "VALUE_TOO_LONG", "B2"),
        ({"Defendant": ""}, "NO_DEFENDANT", "C2"),
        ({"Defendant": "Null"}, "NO_DEFENDANT", "C2"),
        ({"Defendant": "NA"}, "NO_DEFENDANT", "C2"),
        ({"Defendant": "unknown"}, "NO_DEFENDANT", "C2"),
        ({"Defendant": "A" * 301}, "VALUE_TOO_LONG", "C2"),
        ({"Court": "Queens Civil"}, "COURT_COUNTY_CONFLICT", "G2"),
        ({"CaseNo": "CV-1-20/KI", "Court": "Civil"}, "COURT_COUNTY_CONFLICT", "G2"),
        ({"County": "Bronks"}, "COUNTY_UNKNOWN", "G2"),
        ({"State": "Nieuw York"}, "STATE_UNKNOWN", "H2"),
        ({"Plaintiff": "x" * (MAX_CELL + 1)}, "CELL_TOO_LARGE", "B2"),
    ],
)
def test_each_fault_rejects_its_row_and_points_at_its_cell(
    changes: dict[str, str], code: str, cell: str
) -> None:
    """A rejected row has no record, one finding, and the address of the cell as Excel shows it."""
    row = one(CASENO, **changes)
    assert None is row.record
    assert [(code, cell, "reject")] == [(f.code, f.cell, f.severity) for f in row.findings]
    position = ord(cell[0]) - ord("A")
    assert [*CASENO, "State"][position] == row.findings[0].column
    written = next(iter(changes.values())).strip()
    assert not written or written not in row.findings[0].message.split()


@pytest.mark.parametrize(
    ("changes", "severity", "code", "cell"),
    [
        ({"JudgmentAmount": "$10,000,000.01"}, "review", "AMOUNT_LARGE", "D2"),
        ({"JudgmentDate": "2006-11-22", "CaseNo": "1/06"}, "review", "POSSIBLY_EXPIRED", "E2"),
        ({"Defendant": "Jane and John Roe"}, "review", "DEBTORS_UNCLEAR", "C2"),
        ({"Status": "Closed"}, "review", "STATUS_CLOSED", "H2"),
        ({"Status": "Paid in full"}, "review", "STATUS_CLOSED", "H2"),
        ({"Defendant": "Jane Roe et al."}, "warning", "DEBTORS_UNNAMED", "C2"),
        ({"CaseNo": "1-234/05"}, "warning", "INDEX_UNPARSED", "A2"),
        ({"JudgmentDate": "2022-12-30"}, "warning", "DATE_SEQUENCE", "E2"),
        ({"EntryDate": "2024-03-14"}, "warning", "DATE_SEQUENCE", "E2"),
        ({"FilingDate": "2024-03-16"}, "warning", "DATE_SEQUENCE", "E2"),
        ({"Court": "Tennis Court"}, "warning", "COURT_UNKNOWN", "F2"),
        ({"County": "", "Court": "Supreme"}, "warning", "COUNTY_UNKNOWN", "G2"),
        ({"Plaintiff": "=HYPERLINK(1) Inc"}, "warning", "FORMULA_LIKE", "B2"),
        ({"Defendant": "@SUM Roe"}, "warning", "FORMULA_LIKE", "C2"),
        ({"Defendant": "+cmd|x Roe"}, "warning", "FORMULA_LIKE", "C2"),
        ({"Defendant": "Jane\u202e Roe"}, "warning", "CONTROL_CHARACTERS", "C2"),
        ({"Phone": "12"}, "warning", "CONTACT_INVALID", "H2"),
        ({"State": "CA", "County": "Los Angeles"}, "warning", "OUT_OF_STATE", "H2"),
    ],
)
def test_doubts_keep_the_row_and_are_told(
    changes: dict[str, str], severity: str, code: str, cell: str
) -> None:
    """A doubt is a review or a warning at its cell; the row still has its record."""
    row = one(CASENO, **changes)
    assert [(code, cell, severity)] == [(f.code, f.cell, f.severity) for f in row.findings]
    assert None is not row.record


def test_the_limits_of_amount_and_age_are_exact() -> None:
    """Ten million dollars and twenty years to the day need no look."""
    row = one(CASENO, CaseNo="1/06", JudgmentAmount="10000000", JudgmentDate="2006-11-23")
    assert [] == codes(row)


def test_an_index_year_to_come_is_told() -> None:
    """A number of next year cannot be."""
    assert ["INDEX_YEAR", "DATE_SEQUENCE"] == codes(one(CASENO, CaseNo="1/27"))


def test_words_for_nothing_are_nothing_and_other_words_are_names() -> None:
    """NULL and its kin are nothing in an optional cell; "True" and "Null Roe" are names."""
    row = one(CASENO, Status="NULL", JudgmentNumber="nan", LeadSource="x", Defendant="True")
    assert (None, None) == (record(row).vendor_status, record(row).judgment_number)
    assert "True" == record(row).debtors[0].name_display
    assert "Null Roe" == record(one(CASENO, Defendant="Null Roe")).debtors[0].name_display


def test_invisible_characters_are_kept_raw_and_not_shown() -> None:
    """The raw cell keeps what the display and the key leave out."""
    row = one(CASENO, CaseNo="806195/\u200b2023E", Defendant="Jane\u200b\u202e Roe")
    found = record(row)
    assert ("806195/\u200b2023E", "806195/2023E", "|806195|2023|E") == (
        found.index_raw,
        found.index_display,
        found.index_key,
    )
    assert ("Jane Roe", "jane roe") == (found.debtors[0].name_display, found.debtors[0].name_key)
    assert ["CONTROL_CHARACTERS"] * 2 == codes(row)


def test_markup_and_statements_are_just_text() -> None:
    """A script or a statement in a name is kept as the name it is."""
    for name in ("<script>alert(1)</script>", "Roe'; drop table judgments;--x"):
        found = record(one(CASENO, Plaintiff=name))
        assert name == found.plaintiff.name_display


def test_a_judgment_of_another_state_has_no_court_here() -> None:
    """A California row is stored with its state, its court as printed, and nothing of New York."""
    row = one(
        CASENO, CaseNo="21STCV45678", State="California", County="Los Angeles", Court="Superior"
    )
    found = record(row)
    assert ("CA", None, None, "Superior") == (
        found.state,
        found.court_id,
        found.county_fips,
        found.court_raw,
    )


def test_a_file_without_defendants_loads_for_a_person_to_complete() -> None:
    """The thirteen-column lead file has no defendant at all: every row is kept for review."""
    values = {name: LEAD.get(name, "") for name in F4.split(",")}
    row = one(values, Email="")
    assert () == record(row).debtors
    assert [("NO_DEFENDANT", "review", None)] == [
        (f.code, f.severity, f.cell) for f in row.findings
    ]


@pytest.mark.parametrize(
    ("cells", "got"),
    [
        (["1/20", "Acme Corp", "Jane Roe", "$5", "432.10", "01/05/2023", "Kings"], 7),
        (["1/20", "Acme Corp", "Jane Roe"], 3),
        (['1/20,"Acme "Big" Corp",Jane Roe,5,,Kings'], 1),
    ],
)
def test_a_row_of_another_width_is_never_shifted(cells: list[str], got: int) -> None:
    """The finding tells how many fields were expected and how many came."""
    row = check(F1.split(","), cells)[0]
    assert ["FIELD_COUNT"] == codes(row)
    assert f"expected 6 got {got}" in row.findings[0].message
    assert ("doubled" in row.findings[0].message) == (got == 1)


def test_empty_columns_at_the_end_do_no_harm() -> None:
    """Commas that Excel adds are ignored; text under a column without a name is told."""
    sound = list(SPACED.values())
    header = [*SPACED, "", ""]
    rows = check(header, [*sound, "", ""], sound, [*sound, "", "", ""], [*sound, "", "note"])
    assert [[], [], [], ["UNNAMED_COLUMN"]] == [
        [code for code in codes(row) if code != "COURT_UNKNOWN"] for row in rows
    ]
    told = [f for f in rows[3].findings if f.code == "UNNAMED_COLUMN"]
    assert [(None, "H5", "warning")] == [(f.column, f.cell, f.severity) for f in told]
    assert ["FIELD_COUNT"] == codes(check(header, [*sound, "", "", "", "data"])[0])


def test_rows_that_are_no_judgments_are_told_apart() -> None:
    """A header in the middle, and a total at the end with any number of cells, are rejected."""
    header = F1.split(",")
    total = ["TOTAL", "", "", "", "123", "456.00"]
    short = ["Grand total:", "", "", "$500"]
    rows = check(header, list(SPACED.values()), [name.upper() for name in header], total, short)
    assert [["HEADER_REPEATED"], ["NO_INDEX_NUMBER"], ["NO_INDEX_NUMBER"]] == [
        codes(row) for row in rows[1:]
    ]
    assert "total row" in rows[2].findings[0].message


def test_every_finding_of_a_row_is_told_at_once() -> None:
    """A person who mends a row sees all that is wrong with it, not the first fault only."""
    row = one(CASENO, CaseNo="", Defendant="", JudgmentAmount="x", JudgmentDate="y", County="z")
    assert {
        "NO_INDEX_NUMBER",
        "NO_DEFENDANT",
        "AMOUNT_FORMAT",
        "DATE_INVALID",
        "COUNTY_UNKNOWN",
    } == set(codes(row))


def test_a_column_blank_in_every_row_is_told_as_such() -> None:
    """A required column without any value is the file's fault, not each row's."""
    blank = list((CASENO | {"CaseNo": ""}).values())
    assert [["ALL_BLANK"]] * 2 == [codes(row) for row in check(list(CASENO), blank, blank)]
    assert ["NO_INDEX_NUMBER"] == codes(check(list(CASENO), blank, list(CASENO.values()))[0])


def test_the_order_of_dates_is_the_columns() -> None:
    """A column that holds both orders keeps the US order and rejects the rows against it."""
    rows = check(
        F2.split(","),
        *(list((CASENO | {"JudgmentDate": day}).values()) for day in ("02/13/2024", "13/02/2024")),
    )
    assert [[], ["DATE_ORDER_CONFLICT"]] == [codes(row) for row in rows]


def test_date_decisions_are_noted_and_survive_being_stored() -> None:
    """What was decided about dates can be told to a person and read back as it was."""
    layout = recognise(list(CASENO))
    cells = tuple((CASENO | {"JudgmentDate": "03/04/2024"}).values())
    dates = decide_dates(layout, [RawRow(1, 2, cells), RawRow(2, 3, ("too", "short"))])
    assert {"judgment_date": "date_order=assumed_mdy"} == dates.notes()
    assert DateDecisions({"judgment_date": DateColumn("mdy", assumed=True)}) == dates
    assert dates == DateDecisions.from_json(dates.to_json())


def test_serial_numbers_for_dates_need_a_mapping() -> None:
    """Excel's numbers of days are not guessed at."""
    layout = recognise(list(CASENO))
    cells = tuple((CASENO | {"JudgmentDate": "45366"}).values())
    with pytest.raises(InputRefused) as refused:
        decide_dates(layout, [RawRow(1, 2, cells)])
    assert "NEEDS_MAPPING" == refused.value.code


@pytest.mark.parametrize(
    ("case_type", "debt_class"),
    [
        ("Consumer Credit", "consumer"),
        ("consumer debt", "consumer"),
        ("Commercial", "non_consumer"),
        ("Non-Consumer", "non_consumer"),
        ("Contract", "unknown"),
        ("Credit Card", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_class_of_a_debt_is_only_what_the_case_type_says(
    case_type: str, debt_class: str
) -> None:
    """The interest rate hangs on it, so anything not said outright is unknown."""
    assert debt_class == record(one(LEAD, CaseType=case_type)).debt_class


def test_the_content_hash_is_of_what_is_said_not_how() -> None:
    """Another print of the same row has the same hash, any other value another one."""
    first = record(one(LEAD)).content_hash
    again = one(
        LEAD,
        IndexNumber="CV-009001-20BX",
        JudgmentAmount="$999.99",
        PlaintiffName="ACME CORP",
        Court="Bronx County Civil Court",
        State="NY",
        Phone="718-555-0111",
        DefendantName="ROE, JOHN and ROE, JANE",
    )
    assert first == record(again).content_hash
    for name, value in {
        "LeadID": "SIM-2",
        "JudgmentAmount": "1000.00",
        "JudgmentDate": "2021-03-16",
        "DefendantName": "Jane Roe",
        "PlaintiffAddress": "2 Main St",
        "Status": "Filed",
        "JudgmentNumber": "",
    }.items():
        assert first != record(one(LEAD, **{name: value})).content_hash


def test_the_address_of_a_debtor_is_only_that_of_a_single_one() -> None:
    """Whose address it is cannot be known when a cell names two debtors."""
    alone = record(one(CASENO, DefendantAddress="9 Elm St"))
    both = record(one(CASENO, Defendant="Jane Roe; John Roe", DefendantAddress="9 Elm St"))
    assert ["9 Elm St"] == [debtor.address for debtor in alone.debtors]
    assert [None, None] == [debtor.address for debtor in both.debtors]


def test_one_debtor_printed_twice_is_one_debtor() -> None:
    """Two prints of a name in one cell are one party."""
    assert 1 == len(record(one(CASENO, Defendant="Acme Corp; ACME Corporation")).debtors)


def test_the_cell_counts_columns_and_rows_as_excel_does() -> None:
    """The twenty-seventh column of the row after ten is AA11."""
    header = [*F5.split(","), "EntryDate"]
    values = [LEAD.get(name, "") for name in header[:-1]]
    layout = recognise(header)
    raw = RawRow(10, 14, (*values, "2099-01-01"))
    row = validate(raw, layout, header, decide_dates(layout, [raw]), TODAY)
    found = [f for f in row.findings if f.code == "DATE_FUTURE"]
    assert [("EntryDate", "AA11")] == [(f.column, f.cell) for f in found]


def test_a_finding_is_one_sentence() -> None:
    """Every sentence ends with one full stop and says what to do or what was done."""
    rows = [one(CASENO, Defendant="", JudgmentAmount="x"), one(CASENO, County="NYC")]
    told: list[Finding] = [finding for row in rows for finding in row.findings]
    assert all(f.message.endswith(".") and f.message.count(". ") == 0 for f in told)
