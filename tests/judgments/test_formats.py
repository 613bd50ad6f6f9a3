"""Recognising a header: the layouts, and what is said when it is none."""

from __future__ import annotations

import hashlib

import pytest

from dragonfly.errors import InputRefused
from dragonfly.judgments.formats import recognise, without_withheld
from dragonfly.judgments.records import RawRow

F1 = "Case Number,Plaintiff,Defendant,Judgment Amount,Filing Date,County"
F2 = "CaseNo,Plaintiff,Defendant,JudgmentAmount,JudgmentDate,Court,County"
F3 = (
    "LeadID,LeadSource,Court,IndexNumber,CaseType,JudgmentDate,JudgmentAmount,Status,County,State,"
    "PlaintiffName,PlaintiffAddress,DefendantName,DefendantAddress,Phone,Email,BestContactMethod,"
    "AssignedAgent"
)
F4 = (
    "LeadID,LeadSource,Court,IndexNumber,JudgmentDate,JudgmentAmount,County,State,PlaintiffName,"
    "PlaintiffAddress,Phone,Email,BestContactMethod"
)
F5 = F4 + (
    ",PlaintiffCity,PlaintiffState,PlaintiffZip,CaseTitle,CaseType,Status,CaseURL,FilingDate,"
    "JudgmentNumber,JudgmentType,RenewalDate,ExpirationDate,DefendantName"
)
F10 = "File #,Plaintiff,Defendant,Amount,Entry Date,Court,County"
FAMILIES = {
    "simplicity_spaced": F1,
    "simplicity_caseno": F2,
    "simplicity_lead18": F3,
    "simplicity_lead13": F4,
    "simplicity_lead26": F5,
    "simplicity_fileno": F10,
}


def without(header: str, *names: str) -> list[str]:
    return [name for name in header.split(",") if name not in names]


def refusal(header: list[str]) -> InputRefused:
    with pytest.raises(InputRefused) as refused:
        recognise(header)
    return refused.value


@pytest.mark.parametrize("format_id", FAMILIES)
def test_each_layout_is_recognised_by_its_own_header(format_id: str) -> None:
    """The header exactly as the vendor prints it names its layout."""
    assert format_id == recognise(FAMILIES[format_id].split(",")).format_id


@pytest.mark.parametrize("format_id", FAMILIES)
def test_order_case_and_separators_of_a_header_do_not_matter(format_id: str) -> None:
    """The same columns turned round, in capitals, with underscores, are the same layout."""
    header = [name.upper().replace(" ", "_") for name in reversed(FAMILIES[format_id].split(","))]
    assert format_id == recognise(header).format_id


def test_fields_are_found_where_they_stand() -> None:
    """Each field has the position of its column; the three dates stay three."""
    layout = recognise(["\ufeffCase Number", *F1.split(",")[1:]])
    assert {
        "index_number": 0,
        "plaintiff_name": 1,
        "defendant_name": 2,
        "amount": 3,
        "filing_date": 4,
        "county": 5,
    } == layout.columns


def test_a_generic_header_is_recognised_by_what_it_can_not_do_without() -> None:
    """Other words for the same columns, and further columns, do not hinder."""
    generic = "case_number,court,plaintiff_name,defendant_name,judgment_amount,judgment_date,county"
    layout = recognise([*generic.split(","), "source", "Balance", "Entry Date"])
    assert ("simplicity_caseno", 4, 9) == (
        layout.format_id,
        layout.columns["amount"],
        layout.columns["entry_date"],
    )


def test_a_balance_is_never_taken_for_the_amount() -> None:
    """A file that only has a balance lacks the amount."""
    refused = refusal([*without(F2, "JudgmentAmount"), "Balance"])
    assert "COLUMN_MISSING" == refused.code
    assert "lacks JudgmentAmount," in refused.message


@pytest.mark.parametrize(
    "format_id", ["simplicity_spaced", "simplicity_caseno", "simplicity_fileno"]
)
def test_any_missing_column_of_a_plain_layout_is_named(format_id: str) -> None:
    """The refusal names the layout, the missing column and all that are there."""
    for name in FAMILIES[format_id].split(","):
        refused = refusal(without(FAMILIES[format_id], name))
        assert "COLUMN_MISSING" == refused.code
        assert f"lacks {name}, which the layout {format_id} needs" in refused.message
        assert ", ".join(without(FAMILIES[format_id], name)) in refused.message


@pytest.mark.parametrize(
    ("header", "lost", "format_id"),
    [
        (F3, ["DefendantName"], "simplicity_lead18"),
        (F3, ["Court", "State"], "simplicity_lead18"),
        (F4, ["County"], "simplicity_lead13"),
        (F5, ["DefendantName"], "simplicity_lead26"),
    ],
)
def test_missing_columns_of_a_lead_file_are_named(
    header: str, lost: list[str], format_id: str
) -> None:
    """A lead export without one of its columns is not taken for a smaller one."""
    refused = refusal(without(header, *lost))
    assert "COLUMN_MISSING" == refused.code
    assert f"lacks {', '.join(lost)}, which the layout {format_id} needs" in refused.message


@pytest.mark.parametrize(
    "header",
    [
        ["Judgments of the year", "", ""],
        ["Jane Roe", "12 Main Street", "555-0100"],
        ["Name", "Address"],
    ],
)
def test_a_first_row_that_is_no_header_is_not_repeated(header: list[str]) -> None:
    """Title lines and data in place of a header need a mapping, and are not printed anywhere."""
    refused = refusal(header)
    assert "NEEDS_MAPPING" == refused.code
    assert not any(cell in refused.message for cell in header if cell)


@pytest.mark.parametrize(
    "header",
    [
        f"{F1},County".split(","),
        f"{F1},Amount".split(","),
        f"{F2},Notes,Notes".split(","),
    ],
)
def test_two_columns_for_one_thing_need_a_mapping(header: list[str]) -> None:
    """A header that stands twice, or two headers of one meaning, are never merged."""
    refused = refusal(header)
    assert "NEEDS_MAPPING" == refused.code
    assert "more than one column for the same thing" in refused.message


def test_a_header_of_no_layout_needs_a_mapping() -> None:
    """Known columns that make no layout are shown side by side."""
    refused = refusal(["Plaintiff", "Phone", "Email"])
    assert "NEEDS_MAPPING" == refused.code
    assert "Plaintiff, Phone, Email" in refused.message


def test_the_fingerprint_is_of_the_normalised_header() -> None:
    """Two prints of one header have one fingerprint; another order has another."""
    printed = recognise([*F1.split(","), "", ""])
    assert (
        hashlib.sha256(
            b"case number\x1fplaintiff\x1fdefendant\x1fjudgment amount\x1ffiling date\x1fcounty"
        ).digest()
        == printed.fingerprint
    )
    assert recognise(F1.upper().replace(" ", "_").split(",")).fingerprint == printed.fingerprint
    assert recognise(F1.split(",")[::-1]).fingerprint != printed.fingerprint


def test_social_security_numbers_are_emptied_at_the_door() -> None:
    """Cells of a column that must not be kept are gone before a row is stored."""
    layout = recognise([*F1.split(","), "Debtor SSN", "Date of Birth"])
    row = RawRow(1, 2, ("1/25", "A", "B", "1.00", "", "Kings", "078-05-1120", "1/1/1970"))
    assert ("1/25", "A", "B", "1.00", "", "Kings", "", "") == without_withheld(row, layout).cells
    assert row is without_withheld(row, recognise(F1.split(",")))
