"""The bundled export: always the same file, with every common oddity and known faults."""

from __future__ import annotations

from collections import Counter
from datetime import date

from dragonfly.judgments.formats import recognise
from dragonfly.judgments.reading import open_export
from dragonfly.judgments.records import ValidatedRow
from dragonfly.judgments.validation import decide_dates, validate
from tests.make_sample import make_sample, sample_path

TODAY = date(2026, 11, 23)


def validated() -> list[ValidatedRow]:
    with open_export(sample_path()) as export:
        layout = recognise(export.header)
        assert ("simplicity_lead26", "utf-8-sig") == (layout.format_id, export.encoding)
        dates = decide_dates(layout, export)
        return [validate(row, layout, export.header, dates, TODAY) for row in export]


def test_the_bundled_file_is_what_the_generator_makes() -> None:
    """The file can be made again, byte for byte."""
    assert make_sample() == sample_path().read_bytes()


def test_every_reason_for_a_rejection_occurs_once() -> None:
    """One row in twenty is bad, each for a reason of its own; the total row ends the file."""
    rows = validated()
    rejected = Counter(
        finding.code for row in rows for finding in row.findings if finding.severity == "reject"
    )
    assert {
        "AMOUNT_FORMAT": 1,
        "AMOUNT_MISSING": 1,
        "AMOUNT_NEGATIVE": 1,
        "AMOUNT_PRECISION": 1,
        "AMOUNT_RANGE": 1,
        "AMOUNT_ZERO": 1,
        "COUNTY_UNKNOWN": 1,
        "COURT_COUNTY_CONFLICT": 1,
        "DATE_FUTURE": 1,
        "DATE_INVALID": 1,
        "DATE_ORDER_CONFLICT": 1,
        "FIELD_COUNT": 1,
        "HEADER_REPEATED": 1,
        "INDEX_LOOKS_LIKE_DATE": 1,
        "INDEX_SCIENTIFIC": 1,
        "NO_DEFENDANT": 1,
        "NO_INDEX_NUMBER": 2,
        "NO_PLAINTIFF": 1,
        "STATE_UNKNOWN": 1,
    } == rejected
    assert (420, 20) == (len(rows), sum(row.record is None for row in rows))


def test_the_oddities_are_noticed_and_load() -> None:
    """Doubtful rows keep their records and say what is odd."""
    told = {f.code for row in validated() for f in row.findings if f.severity != "reject"}
    assert {
        "AMOUNT_LARGE",
        "CONTACT_INVALID",
        "CONTROL_CHARACTERS",
        "COURT_UNKNOWN",
        "DATE_SEQUENCE",
        "DEBTORS_UNCLEAR",
        "FORMULA_LIKE",
        "INDEX_UNPARSED",
        "OUT_OF_STATE",
        "POSSIBLY_EXPIRED",
        "STATUS_CLOSED",
    } == told


def test_the_sample_is_of_many_courts_and_of_both_kinds_of_debt() -> None:
    """Consumer, commercial and unclear debts of a dozen counties, some with an entry date."""
    records = [row.record for row in validated() if row.record is not None]
    assert {"consumer", "non_consumer", "unknown"} == {record.debt_class for record in records}
    assert 12 <= len({record.county_fips for record in records})
    assert 15 <= len({record.court_id for record in records})
    entered = sum(record.entry_date is not None for record in records)
    assert 0 < entered < len(records)


def test_one_judgment_printed_in_two_ways_is_one() -> None:
    """The pair with two prints of its index number has one key and one content."""
    pair = [
        row.record
        for row in validated()
        if row.record and row.record.index_raw in ("CV-009001-20NY", "CV-9001-20/NY")
    ]
    assert 2 == len(pair)
    assert 1 == len({(record.index_key, record.content_hash) for record in pair})
