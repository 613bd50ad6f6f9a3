"""Whatever dies, and whoever else works on the file, the outcome is that of one quiet run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import asyncpg
import pytest

from dragonfly.errors import InputRefused
from dragonfly.judgments import pipeline
from dragonfly.judgments.pipeline import promote, resume, retry_rejected
from tests.intake.hosts import Bench, Killed, Line, counts, lines, write_export

STATE = """
SELECT (SELECT json_agg(json_build_array(r.row_no, r.outcome, r.codes, r.first_row_no)
                        ORDER BY r.row_no)::text FROM civil.intake_row_results AS r) AS results,
       (SELECT json_agg(json_build_array(j.index_key, j.amount_awarded, j.version)
                        ORDER BY j.index_key)::text FROM civil.judgments AS j) AS judgments,
       (SELECT count(*) FROM civil.judgment_parties) AS parties,
       (SELECT count(*) FROM civil.plaintiffs) AS plaintiffs,
       (SELECT json_agg(json_build_array(t.kind, t.row_no, t.codes)
                        ORDER BY t.kind, t.row_no)::text FROM civil.tasks AS t) AS tasks,
       (SELECT json_agg(b.status)::text FROM civil.intake_batches AS b) AS batches
"""


def mixed() -> list[Line]:
    """Thirty rows with every kind of outcome that a first file can have."""
    rows = lines(27, bad=2)
    return [*rows, rows[0], replace(rows[1], amount="7.00"), replace(rows[4], plaintiff="Bay Corp")]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks so small that the file needs many."""
    monkeypatch.setattr(pipeline, "CHUNK", 11)


async def state_of(conn: asyncpg.Connection) -> dict[str, Any]:
    [row] = await conn.fetch(STATE)
    return dict(row)


async def forget_everything(conn: asyncpg.Connection) -> None:
    await conn.execute("TRUNCATE civil.intake_batches, civil.plaintiffs CASCADE")


@pytest.mark.usefixtures("small_chunks")
async def test_a_killed_job_goes_on_where_it_stopped(
    dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Dying before any one of its commits and running again leaves what one quiet run leaves."""
    path = write_export(tmp_path / "a.csv", mixed())
    quiet = Bench(dsn)
    result = await quiet.load(path)
    expected = await state_of(conn)
    assert result["rows"] == counts(loaded=23, rejected=2, duplicate=1, review=4)

    for death in range(quiet.commits):
        await forget_everything(conn)
        first, second = Bench(dsn, dies_at=death), Bench(dsn)
        with pytest.raises(Killed):
            await first.load(path)
        again = await second.load(path)

        assert again["rows"] == result["rows"]
        assert await state_of(conn) == expected
        assert len({*first.followed, *second.followed}) == 23
        assert len([*first.followed, *second.followed]) == 23
    assert quiet.commits > 12


@pytest.mark.usefixtures("small_chunks")
async def test_staged_rows_need_no_file(dsn: str, conn: asyncpg.Connection, tmp_path: Path) -> None:
    """Once its rows are kept, a batch is gone on with from them alone."""
    path = write_export(tmp_path / "a.csv", lines(25))
    first, second = Bench(dsn, dies_at=6), Bench(dsn)
    with pytest.raises(Killed):
        await first.load(path)
    path.unlink()

    await resume(second.host, first.remembered[0])

    assert second.results[-1]["rows"] == counts(loaded=25)
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 25


async def test_a_batch_without_rows_asks_for_its_file(dsn: str, tmp_path: Path) -> None:
    """Before its rows are kept there is nothing to go on with."""
    first, second = Bench(dsn, dies_at=2), Bench(dsn)
    with pytest.raises(Killed):
        await first.load(write_export(tmp_path / "a.csv", lines(3)))

    with pytest.raises(InputRefused) as refused:
        await resume(second.host, first.remembered[0])

    assert refused.value.code == "BATCH_NOT_STAGED"


async def test_a_rejected_batch_stays_rejected(dsn: str, bench: Bench, tmp_path: Path) -> None:
    """A job killed after its file was rejected says the same again, and no second batch is made."""
    with pytest.raises(InputRefused) as first:
        await bench.load(write_export(tmp_path / "a.csv", lines(1, bad=1)))

    with pytest.raises(InputRefused) as second:
        await resume(bench.host, bench.remembered[0])

    assert (second.value.code, second.value.message) == (first.value.code, first.value.message)


@pytest.mark.usefixtures("small_chunks")
async def test_two_jobs_with_the_same_file_load_it_once(
    dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Both end well: one loads what the other does not, and one of them says duplicate."""
    path = write_export(tmp_path / "a.csv", mixed())
    benches = [Bench(dsn), Bench(dsn)]

    async with anyio.create_task_group() as group:
        for bench in benches:
            group.start_soon(bench.load, path)

    outcomes = sorted(bench.results[-1]["outcome"] for bench in benches)
    assert outcomes == ["completed_with_rejects", "duplicate"]
    followed = [judgment_id for bench in benches for judgment_id in bench.followed]
    assert len(followed) == len(set(followed)) == 23
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 23


@pytest.mark.usefixtures("small_chunks")
async def test_two_files_with_the_same_new_plaintiff_make_it_once(
    dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Two different files loaded at once share their plaintiff and their common judgments."""
    paths = [
        write_export(tmp_path / "a.csv", lines(30)),
        write_export(tmp_path / "b.csv", lines(40)),
    ]
    benches = [Bench(dsn), Bench(dsn)]

    async with anyio.create_task_group() as group:
        for bench, path in zip(benches, paths, strict=True):
            group.start_soon(bench.load, path)

    assert await conn.fetchval("SELECT count(*) FROM civil.plaintiffs") == 1
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 40
    rows = [bench.results[-1]["rows"] for bench in benches]
    assert [row["loaded"] + row["unchanged"] for row in rows] == [30, 40]
    assert sum(row["loaded"] for row in rows) == 40


async def test_two_copies_saved_anew_at_once_are_one_load(
    dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """The same rows in other bytes, at the same moment: one is the other's duplicate."""
    paths = [
        write_export(tmp_path / "a.csv", lines(50)),
        write_export(tmp_path / "b.csv", lines(50), newline="\n"),
    ]
    benches = [Bench(dsn), Bench(dsn)]

    async with anyio.create_task_group() as group:
        for bench, path in zip(benches, paths, strict=True):
            group.start_soon(bench.load, path)

    outcomes = sorted(bench.results[-1]["outcome"] for bench in benches)
    assert outcomes == ["completed", "duplicate"]
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 50


async def test_rejected_rows_are_tried_again(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Rows that pass today's rules are loaded, the others stay rejected, and counts add up."""
    first = await bench.load(
        write_export(tmp_path / "a.csv", lines(30, bad=3)), error_budget_pct=20
    )
    await conn.execute("UPDATE civil.intake_raw_rows SET cells[4] = '8.00' WHERE row_no >= 29")
    bench.followed.clear()

    await retry_rejected(bench.host, bench.remembered[0])

    result = bench.results[-1]
    assert result["batch_id"] == first["batch_id"]
    assert result["outcome"] == "completed_with_rejects"
    assert result["rows"] == counts(loaded=29, rejected=1)
    assert len(bench.followed) == 2
    rows = await conn.fetch(
        "SELECT row_no, resolution FROM civil.intake_rejected_rows ORDER BY row_no"
    )
    assert [tuple(row) for row in rows] == [(28, "open"), (29, "fixed"), (30, "fixed")]


async def test_only_the_named_rows_are_tried_again(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """The other rejected rows keep their verdict, and so do those a person has set aside."""
    await bench.load(write_export(tmp_path / "a.csv", lines(40, bad=3)))
    await conn.execute("UPDATE civil.intake_raw_rows SET cells[4] = '8.00'")
    await conn.execute(
        "UPDATE civil.intake_rejected_rows SET resolution = 'ignored' WHERE row_no = 39"
    )

    await retry_rejected(bench.host, bench.remembered[0], [38, 39])

    assert bench.results[-1]["rows"] == counts(loaded=38, rejected=2)


@pytest.mark.usefixtures("small_chunks")
async def test_a_second_try_may_be_killed_too(
    dsn: str, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Dying before any commit of the second try and running it again ends the same."""
    path = write_export(tmp_path / "a.csv", lines(40, bad=4))
    for death in range(7):
        await forget_everything(conn)
        bench = Bench(dsn)
        await bench.load(path)
        await conn.execute("UPDATE civil.intake_raw_rows SET cells[4] = '8.00' WHERE row_no > 38")
        dying = Bench(dsn, dies_at=death)
        with pytest.raises(Killed):
            await retry_rejected(dying.host, bench.remembered[0])

        await retry_rejected(bench.host, bench.remembered[0])

        assert bench.results[-1]["rows"] == counts(loaded=38, rejected=2)
        assert len({*bench.followed, *dying.followed}) == 38


async def test_a_dry_run_is_promoted(
    bench: Bench, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """What a dry run staged is loaded without its file, once."""
    tried = await bench.load(write_export(tmp_path / "a.csv", lines(20, bad=1)), mode="dry_run")

    await promote(bench.host, bench.remembered[0])
    await promote(bench.host, bench.remembered[0])

    loaded, again = bench.results[-2:]
    assert loaded["batch_id"] == tried["batch_id"]
    assert loaded["rows"] == tried["rows"] == counts(loaded=19, rejected=1)
    assert (again["outcome"], again["rows"]) == ("duplicate", counts(duplicate=20))
    assert await conn.fetchval("SELECT count(*) FROM civil.judgments") == 19


async def test_a_dry_run_of_a_loaded_file_is_its_duplicate(bench: Bench, tmp_path: Path) -> None:
    """A dry run that was overtaken by the load is not loaded again."""
    path = write_export(tmp_path / "a.csv", lines(3))
    await bench.load(path, mode="dry_run")
    loaded = await bench.load(path)

    await promote(bench.host, bench.remembered[0])

    assert bench.results[-1]["outcome"] == "duplicate"
    assert bench.results[-1]["duplicate_of"] == loaded["batch_id"]


async def test_an_unknown_batch_is_refused(bench: Bench) -> None:
    """A batch id that names nothing is said to."""
    with pytest.raises(InputRefused) as refused:
        await promote(bench.host, UUID(int=1))

    assert refused.value.code == "UNKNOWN_BATCH"


async def test_a_batch_that_loaded_nothing_has_no_rows_to_retry(
    bench: Bench, tmp_path: Path
) -> None:
    """A dry run's rejected rows are not retried on their own."""
    await bench.load(write_export(tmp_path / "a.csv", lines(20, bad=1)), mode="dry_run")

    with pytest.raises(InputRefused) as refused:
        await retry_rejected(bench.host, bench.remembered[0])

    assert refused.value.code == "BATCH_NOT_LOADED"
