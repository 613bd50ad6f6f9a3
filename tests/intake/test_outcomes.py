"""What becomes of each row of a file."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import asyncpg

from tests.intake.hosts import HEADER, Bench, Line, counts, lines, write_cells, write_export

RESULT_KEYS = {
    "batch_id",
    "outcome",
    "format_id",
    "rows",
    "codes",
    "duplicate_of",
    "encoding",
    "first_bad_rows",
    "seconds",
}


async def test_new_rows_are_loaded(bench: Bench, conn: asyncpg.Connection, tmp_path: Path) -> None:
    """A file of new judgments is loaded whole, with its plaintiff, parties and a call to make."""
    result = await bench.load(write_export(tmp_path / "a.csv", lines(3)))

    assert result.keys() == RESULT_KEYS
    assert result["outcome"] == "completed"
    assert result["format_id"] == "simplicity_caseno"
    assert result["rows"] == counts(loaded=3)
    judgments = await conn.fetch("SELECT * FROM civil.judgments ORDER BY index_key")
    assert [row["court_id"] for row in judgments] == ["nyc_civil:kings"] * 3
    assert judgments[0]["amount_awarded"] == Decimal("1500.00")
    assert judgments[0]["original_total"] == Decimal("1500.00")
    assert judgments[0]["status"] == "imported"
    assert judgments[0]["entry_date"] is None
    assert judgments[0]["entry_date_quality"] == "unknown"
    assert {row["judgment_id"] for row in judgments} == set(bench.followed)
    parties = await conn.fetch(
        "SELECT seq, role, name_display FROM civil.judgment_parties"
        " WHERE judgment_id = $1 ORDER BY seq",
        judgments[0]["judgment_id"],
    )
    assert [tuple(row) for row in parties] == [
        (0, "creditor", "Harbor Lending LLC"),
        (1, "debtor", "Debtor Number1"),
    ]
    assert await conn.fetchval("SELECT count(*) FROM civil.plaintiffs") == 1
    assert await conn.fetchval("SELECT count(*) FROM civil.tasks WHERE kind = 'call'") == 1


async def test_a_bad_row_is_rejected_alone(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """A row with a bad amount is kept with its code and cell, and the others load."""
    result = await bench.load(write_export(tmp_path / "a.csv", lines(20, bad=1)))

    assert result["outcome"] == "completed_with_rejects"
    assert result["rows"] == counts(loaded=19, rejected=1)
    assert result["codes"]["AMOUNT_FORMAT"] == 1
    assert result["first_bad_rows"] == [{"line": 21, "cell": "D21", "code": "AMOUNT_FORMAT"}]
    rejected = await conn.fetchrow("SELECT * FROM civil.intake_rejected_rows")
    assert rejected is not None
    assert (rejected["row_no"], rejected["line_no"]) == (20, 21)
    assert "a lot" not in rejected["messages"]
    assert json.loads(rejected["messages"])[0]["column"] == "JudgmentAmount"


async def test_equal_rows_are_unchanged(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """A later export with the same rows and one more loads only the new one."""
    await bench.load(write_export(tmp_path / "a.csv", lines(3)))
    first_followed = list(bench.followed)

    result = await bench.load(write_export(tmp_path / "b.csv", lines(4)))

    assert result["rows"] == counts(loaded=1, unchanged=3)
    assert len(bench.followed) == len(first_followed) + 1


async def test_another_print_of_the_index_number_is_the_same_judgment(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """CV-009001-20NY and CV-9001-20/NY name one judgment."""
    where = {"court": "NY Civil", "county": "New York"}
    await bench.load(write_export(tmp_path / "a.csv", [Line("CV-009001-20NY", **where)]))

    result = await bench.load(write_export(tmp_path / "b.csv", [Line("CV-9001-20/NY", **where)]))

    assert result["rows"] == counts(unchanged=1)
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 1


async def test_a_changed_amount_updates(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """A changed amount is written, named in the row's result, and followed up."""
    [line] = lines(1)
    await bench.load(write_export(tmp_path / "a.csv", [line]))

    result = await bench.load(write_export(tmp_path / "b.csv", [replace(line, amount="1,600.00")]))

    assert result["rows"] == counts(updated=1)
    row = await conn.fetchrow("SELECT amount_awarded, version FROM civil.judgments")
    assert row is not None
    assert tuple(row) == (Decimal("1600.00"), 2)
    changed = await conn.fetchval(
        "SELECT changed_fields FROM civil.intake_row_results WHERE outcome = 'updated'"
    )
    assert changed == ["amount"]
    assert len(bench.followed) == 2


async def test_another_debtor_is_reviewed(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """The same index number of the same court with another debtor overwrites nothing."""
    [line] = lines(1)
    await bench.load(write_export(tmp_path / "a.csv", [line]))

    other = replace(line, defendant="Somebody Else", amount="9.00")
    result = await bench.load(write_export(tmp_path / "b.csv", [other]))

    assert result["rows"] == counts(review=1)
    assert result["codes"]["IDENTITY_CONFLICT"] == 1
    assert await conn.fetchval("SELECT amount_awarded FROM civil.judgments") == Decimal("1500.00")
    task = await conn.fetchrow("SELECT * FROM civil.tasks WHERE kind = 'review'")
    assert task is not None
    assert task["codes"] == ["IDENTITY_CONFLICT"]
    assert task["judgment_id"] == bench.followed[0]
    assert len(bench.followed) == 1


async def test_the_same_index_in_another_county_is_another_judgment(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """An index number is unique only inside one court of one county."""
    rows = [
        Line("12345/2020", court="Supreme Court", county="Kings"),
        Line("12345/2020", court="Supreme Court", county="Queens"),
    ]

    result = await bench.load(write_export(tmp_path / "a.csv", rows))

    assert result["rows"] == counts(loaded=2)
    courts = await conn.fetch("SELECT court_id FROM civil.judgments ORDER BY court_id")
    assert [row["court_id"] for row in courts] == ["supreme:kings", "supreme:queens"]


async def test_a_file_without_courts_finds_its_judgments(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Rows of the layout without a court column meet the judgments kept, and fill in a date."""
    await bench.load(write_export(tmp_path / "a.csv", lines(2)))
    header = ("Case Number", "Plaintiff", "Defendant", "Judgment Amount", "Filing Date", "County")
    rows = [(*line.cells()[:4], "01/05/2023", "Kings") for line in lines(3)]
    stranger = ("CV-000002-24/KI", "Harbor Lending LLC", "Ann Poe", "9.00", "01/05/2023", "Kings")

    first = await bench.load(write_cells(tmp_path / "b.csv", header, rows))
    second = await bench.load(write_cells(tmp_path / "c.csv", header, [stranger]))

    assert first["format_id"] == "simplicity_spaced"
    assert first["rows"] == counts(loaded=1, updated=2)
    assert second["rows"] == counts(review=1)
    assert second["codes"]["IDENTITY_AMBIGUOUS"] == 1
    kept = await conn.fetch(
        "SELECT court_id, filing_date::text, judgment_date::text, entry_date"
        " FROM civil.judgments ORDER BY index_key"
    )
    assert [tuple(row) for row in kept] == [
        ("nyc_civil:kings", "2023-01-05", "2024-03-15", None),
        ("nyc_civil:kings", "2023-01-05", "2024-03-15", None),
        (None, "2023-01-05", None, None),
    ]


async def test_social_security_numbers_are_dropped_at_the_door(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """A column that must not be kept is emptied before its rows are stored."""
    [line] = lines(1)
    path = write_cells(tmp_path / "a.csv", (*HEADER, "SSN"), [(*line.cells(), "078-05-1120")])

    result = await bench.load(path)

    assert result["rows"] == counts(loaded=1)
    assert await conn.fetchval("SELECT cells FROM civil.intake_raw_rows") == [*line.cells(), ""]


async def test_the_same_row_twice_is_a_duplicate(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """The second of two equal rows of one file points to the first."""
    result = await bench.load(write_export(tmp_path / "a.csv", [*lines(2), lines(2)[0]]))

    assert result["rows"] == counts(loaded=2, duplicate=1)
    twin = await conn.fetchrow(
        "SELECT row_no, first_row_no, codes FROM civil.intake_row_results"
        " WHERE outcome = 'duplicate'"
    )
    assert twin is not None
    assert (twin["row_no"], twin["first_row_no"]) == (3, 1)
    assert "DUPLICATE_ROW" in twin["codes"]


async def test_rows_that_disagree_are_both_reviewed(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Two amounts for one judgment in one file: neither is loaded, and a person is asked."""
    first, second = lines(2)
    result = await bench.load(
        write_export(tmp_path / "a.csv", [first, second, replace(first, amount="2.00")])
    )

    assert result["rows"] == counts(loaded=1, review=2)
    assert result["codes"]["ROWS_DISAGREE"] == 2
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 1
    tasks = await conn.fetch("SELECT row_no FROM civil.tasks WHERE kind = 'review' ORDER BY row_no")
    assert [row["row_no"] for row in tasks] == [1, 3]


async def test_verified_fields_win(bench: Bench, conn: asyncpg.Connection, tmp_path: Path) -> None:
    """What a person has verified, no file overwrites."""
    [line] = lines(1)
    await bench.load(write_export(tmp_path / "a.csv", [line]))
    await conn.execute(
        "UPDATE civil.judgments SET verified_by = 'clerk', verified_at = now(),"
        " amount_awarded = 1450, entry_date = '2024-04-01'"
    )

    result = await bench.load(write_export(tmp_path / "b.csv", [replace(line, amount="1,600.00")]))

    assert result["rows"] == counts(review=1)
    assert result["codes"]["VERIFIED_FIELDS"] == 1
    row = await conn.fetchrow("SELECT amount_awarded, entry_date::text FROM civil.judgments")
    assert row is not None
    assert tuple(row) == (Decimal(1450), "2024-04-01")


async def test_a_blank_never_erases(bench: Bench, conn: asyncpg.Connection, tmp_path: Path) -> None:
    """A judgment date that a later file leaves out stays."""
    [line] = lines(1)
    await bench.load(write_export(tmp_path / "a.csv", [line]))

    result = await bench.load(write_export(tmp_path / "b.csv", [replace(line, judged="")]))

    assert result["rows"] == counts(unchanged=1)
    assert await conn.fetchval("SELECT judgment_date::text FROM civil.judgments") == "2024-03-15"


async def test_a_very_large_amount_is_held(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """A row that asks for a person's look is kept on hold with a task, and not followed up."""
    rows = [replace(lines(1)[0], amount="$12,000,000.00")]

    result = await bench.load(write_export(tmp_path / "a.csv", rows))

    assert result["rows"] == counts(review=1)
    row = await conn.fetchrow("SELECT status, hold_reason FROM civil.judgments")
    assert row is not None
    assert row["status"] == "on_hold"
    assert "AMOUNT_LARGE" in row["hold_reason"]
    assert bench.followed == []


async def test_outcomes_do_not_depend_on_chunks(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """A file longer than two chunks is loaded whole and its twins are found across chunks."""
    rows = lines(4_100)
    result = await bench.load(write_export(tmp_path / "a.csv", [*rows, rows[0], rows[4_000]]))

    assert result["rows"] == counts(loaded=4_100, duplicate=2)
    assert len(set(bench.followed)) == 4_100
    assert len(bench.said) >= 6
