"""A file as a whole: once, whole or not at all, and never half."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from dragonfly.errors import InputRefused
from tests.intake.hosts import HEADER, Bench, counts, lines, write_export

LIVE = ("civil.judgments", "civil.plaintiffs", "civil.judgment_parties", "civil.tasks")


async def nothing_loaded(conn: asyncpg.Connection) -> bool:
    """No table of the trade has a row."""
    sizes = [await conn.fetchval(f"SELECT count(*) FROM {table}") for table in LIVE]
    return sizes == [0, 0, 0, 0]


async def test_the_same_file_twice_is_a_success(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """The second time says duplicate and of which batch; nothing is loaded again."""
    path = write_export(tmp_path / "a.csv", lines(3))
    first = await bench.load(path)

    second = await bench.load(path)

    assert second["outcome"] == "duplicate"
    assert second["duplicate_of"] == first["batch_id"]
    assert second["rows"] == counts(duplicate=3)
    assert len(bench.followed) == 3
    statuses = await conn.fetch("SELECT status FROM civil.intake_batches ORDER BY created_at")
    assert [row["status"] for row in statuses] == ["completed", "duplicate"]


async def test_a_file_saved_anew_is_a_duplicate(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Other bytes with the same rows, as a spreadsheet makes them, are known for what they are."""
    first = await bench.load(write_export(tmp_path / "a.csv", lines(3)))

    second = await bench.load(write_export(tmp_path / "b.csv", lines(3), newline="\n"))

    assert (second["outcome"], second["duplicate_of"]) == ("duplicate", first["batch_id"])
    assert second["rows"] == counts(duplicate=3)
    assert await conn.fetchval("SELECT count(*) FROM civil.intake_raw_rows") == 3


async def test_one_source_is_not_anothers_duplicate(bench: Bench, tmp_path: Path) -> None:
    """The same bytes from another source are that source's own file."""
    path = write_export(tmp_path / "a.csv", lines(3))
    await bench.load(path)

    second = await bench.load(path, source_system="manual")

    assert second["rows"] == counts(unchanged=3)


async def test_a_reference_names_one_file(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """The same batch reference with other bytes is refused, and the refusal is kept."""
    await bench.load(write_export(tmp_path / "a.csv", lines(3)), source_reference="week 12")

    with pytest.raises(InputRefused) as refused:
        await bench.load(write_export(tmp_path / "b.csv", lines(4)), source_reference="week 12")

    assert refused.value.code == "SOURCE_REF_REUSED"
    kept = await conn.fetchval(
        "SELECT reject_code FROM civil.intake_batches WHERE status = 'rejected'"
    )
    assert kept == "SOURCE_REF_REUSED"


@pytest.mark.parametrize(
    ("total", "bad", "passes"),
    [(10, 1, True), (1000, 100, True), (999, 100, False), (1, 1, False), (2, 2, False)],
)
async def test_the_budget(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path, total: int, bad: int, passes: bool
) -> None:
    """Exactly 10 % bad rows pass, 10.01 % do not, and a file of only bad rows never does."""
    path = write_export(tmp_path / "a.csv", lines(total, bad=bad))

    if passes:
        result = await bench.load(path)
        assert result["rows"] == counts(loaded=total - bad, rejected=bad)
        return
    with pytest.raises(InputRefused) as refused:
        await bench.load(path)

    assert refused.value.code == "OVER_ERROR_BUDGET"
    assert f"{bad:,}" in refused.value.message or f"{total:,}" in refused.value.message
    assert await nothing_loaded(conn)
    assert await conn.fetchval("SELECT count(*) FROM civil.intake_rejected_rows") == bad
    batch = await conn.fetchrow(
        "SELECT status, rows_total, rows_rejected FROM civil.intake_batches"
    )
    assert batch is not None
    assert tuple(batch) == ("rejected", total, bad)


async def test_a_budget_of_a_hundred_still_refuses_a_file_of_bad_rows(
    bench: Bench, tmp_path: Path
) -> None:
    """There is nothing to load in it."""
    path = write_export(tmp_path / "a.csv", lines(2, bad=2))

    with pytest.raises(InputRefused, match="All 2 rows"):
        await bench.load(path, error_budget_pct=Decimal(100))


async def test_a_rejected_file_may_come_again(bench: Bench, tmp_path: Path) -> None:
    """The same bytes are loaded once the budget allows it."""
    path = write_export(tmp_path / "a.csv", lines(4, bad=1))
    with pytest.raises(InputRefused):
        await bench.load(path)

    result = await bench.load(path, error_budget_pct=Decimal(25))

    assert result["rows"] == counts(loaded=3, rejected=1)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "EMPTY_FILE"),
        (",".join(HEADER).encode() + b"\r\n", "EMPTY_FILE"),
        (b"%PDF-1.7 something", "FILE_TYPE"),
        (
            b"CaseNo,Plaintiff,Defendant,JudgmentDate,Court,County\r\n1,a,b,c,d,e\r\n",
            "COLUMN_MISSING",
        ),
        (",".join(HEADER).encode() + b'\r\n1,"a,b,c\r\n', "UNTERMINATED_QUOTE"),
    ],
)
async def test_an_unfit_file_is_rejected_with_its_reason(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path, content: bytes, code: str
) -> None:
    """No row is kept of a file that cannot be read whole; the code and sentence stay."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)

    with pytest.raises(InputRefused) as refused:
        await bench.load(path)

    assert refused.value.code == code
    batch = await conn.fetchrow(
        "SELECT status, reject_code, reject_detail FROM civil.intake_batches"
    )
    assert batch is not None
    assert tuple(batch) == ("rejected", code, refused.value.message)
    assert await conn.fetchval("SELECT count(*) FROM civil.intake_raw_rows") == 0


async def test_a_file_must_have_the_announced_rows(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """A file that was cut off on its way is refused."""
    path = write_export(tmp_path / "a.csv", lines(3))

    with pytest.raises(InputRefused) as refused:
        await bench.load(path, expected_rows=4)

    assert refused.value.code == "ROW_COUNT"
    assert await nothing_loaded(conn)


async def test_a_dry_run_changes_nothing(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """It tells what would become of each row, and leaves the way free for the load."""
    await bench.load(write_export(tmp_path / "a.csv", lines(2)))
    tasks = await conn.fetchval("SELECT count(*) FROM civil.tasks")
    path = write_export(tmp_path / "b.csv", [*lines(20, bad=1), lines(3)[2]])

    tried = await bench.load(path, mode="dry_run")
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 2
    assert await conn.fetchval("SELECT count(*) FROM civil.tasks") == tasks
    loaded = await bench.load(path)

    assert (tried["outcome"], loaded["outcome"]) == ("dry_run", "completed_with_rejects")
    assert tried["rows"] == counts(loaded=17, unchanged=2, rejected=1, duplicate=1)
    assert loaded["rows"] == tried["rows"]


async def test_the_database_refuses_counts_that_do_not_add_up(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """A batch is completed only if every row has exactly one outcome."""
    await bench.load(write_export(tmp_path / "a.csv", lines(3)))

    with pytest.raises(asyncpg.CheckViolationError, match="rows_add_up"):
        await conn.execute("UPDATE civil.intake_batches SET rows_loaded = 2")
    with pytest.raises(asyncpg.CheckViolationError, match="rows_add_up"):
        await conn.execute("UPDATE civil.intake_batches SET rows_review = NULL")


async def test_a_missing_column_in_the_database_rejects_no_row(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """A broken schema stops the job; when it is mended the same job loads everything."""
    await conn.execute("ALTER TABLE civil.judgments RENAME COLUMN caption TO caption_away")
    path = write_export(tmp_path / "a.csv", lines(3))

    with pytest.raises(asyncpg.UndefinedColumnError):
        await bench.load(path)
    assert await nothing_loaded(conn)
    assert await conn.fetchval("SELECT count(*) FROM civil.intake_rejected_rows") == 0
    await conn.execute("ALTER TABLE civil.judgments RENAME COLUMN caption_away TO caption")
    result = await bench.load(path)

    assert result["rows"] == counts(loaded=3)


async def test_a_row_the_database_refuses_is_rejected_alone(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Halving finds the one row against a constraint; the others are loaded."""
    await conn.execute(
        "ALTER TABLE civil.judgment_parties ADD CONSTRAINT no_sevens"
        " CHECK (name_display <> 'Debtor Number7')"
    )

    result = await bench.load(write_export(tmp_path / "a.csv", lines(20)))

    assert result["rows"] == counts(loaded=19, rejected=1)
    assert result["codes"]["NOT_STORABLE"] == 1
    assert result["first_bad_rows"][0]["line"] == 8
    assert len(bench.followed) == 19
    message = await conn.fetchval("SELECT messages::text FROM civil.intake_rejected_rows")
    assert "no_sevens" in message
    assert "Number7" not in message


async def test_a_constraint_against_every_row_is_an_error(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """When more than a few rows do not fit, the schema is at fault and no row is blamed."""
    await conn.execute(
        "ALTER TABLE civil.judgment_parties ADD CONSTRAINT nobody CHECK (name_display = '')"
    )

    with pytest.raises(asyncpg.CheckViolationError):
        await bench.load(write_export(tmp_path / "a.csv", lines(20)))

    assert await nothing_loaded(conn)
    assert await conn.fetchval("SELECT count(*) FROM civil.intake_rejected_rows") == 0
