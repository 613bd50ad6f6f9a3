"""The quick look at the firm's data."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from dragonfly.ops.smoke import smoke
from dragonfly.workers.simplicity_ingest import worker
from tests.ops.drops import Drop, export
from tests.support import drain


@pytest.fixture
async def loaded(dsn: str, tmp_path: Path) -> None:
    """One export of one judgment, loaded by the real worker."""
    drop = Drop(tmp_path / "intake", dsn)
    drop.put("export.csv", export())
    await drop.once()
    await drain(dsn, worker, intake_root=drop.root)


@pytest.mark.parametrize(("mode", "code"), [("dev", 0), ("prod", 3)])
async def test_an_empty_database(conn: asyncpg.Connection, mode: str, code: int) -> None:
    """Nothing at all is well in dev and an alarm in prod."""
    found = await smoke(conn, mode, None)

    assert (code, 0, None) == (found.exit_code, found.counts["plaintiffs"], found.last_batch)


@pytest.mark.usefixtures("loaded")
async def test_a_loaded_file_is_counted(conn: asyncpg.Connection) -> None:
    """Counts come from the tables, and what must hold holds after a real load."""
    found = await smoke(conn, "prod", None)

    assert ({}, 0) == (found.failed, found.exit_code)
    assert (1, 1, {"imported": 1}) == (
        found.counts["plaintiffs_active"],
        found.counts["judgments"],
        found.judgments_by_status,
    )
    assert str(found.last_batch).startswith("completed ")
    assert (1, True) == (len(found.line().splitlines()), found.line().isascii())


@pytest.mark.usefixtures("loaded")
async def test_names_nobody(conn: asyncpg.Connection) -> None:
    """Neither line nor JSON holds a name."""
    found = await smoke(conn, "prod", None)

    assert [] == [name for name in ("Harbor", "Debtor") if name in f"{found.line()}{found.json()}"]


_SPOILED = {
    "judgments_without_debtor": "DELETE FROM civil.judgment_parties WHERE role = 'debtor'",
    "judgments_without_creditor": "DELETE FROM civil.judgment_parties WHERE role = 'creditor'",
    "plaintiffs_out_of_reach": """
        INSERT INTO civil.plaintiffs (name_display, name_key, source_system)
        VALUES ('X', 'x', 'test')""",
    "calls_to_nobody": """
        WITH gone AS (UPDATE civil.plaintiffs SET status = 'inactive' RETURNING plaintiff_id)
        INSERT INTO civil.tasks (kind, plaintiff_id) SELECT 'call', plaintiff_id FROM gone""",
    "judgments_of_merged_plaintiffs": """
        WITH twin AS (
            INSERT INTO civil.plaintiffs (name_display, name_key, source_system, status)
            VALUES ('X', 'x', 'test', 'inactive') RETURNING plaintiff_id)
        UPDATE civil.plaintiffs
           SET status = 'merged', merged_into = (SELECT plaintiff_id FROM twin)""",
    "batches_missing_rejects": """
        UPDATE civil.intake_batches SET rows_rejected = 1, rows_loaded = 0""",
}


@pytest.mark.parametrize("assertion", _SPOILED)
@pytest.mark.usefixtures("loaded")
async def test_what_must_hold(conn: asyncpg.Connection, assertion: str) -> None:
    """Each assertion fails when its rows do not fit, with the number of offenders."""
    await conn.execute("DELETE FROM civil.tasks")
    await conn.execute(_SPOILED[assertion])

    found = await smoke(conn, "prod", None)

    assert ({assertion: 1}, 1) == (found.failed, found.exit_code)
    assert f"{assertion} 1" in found.line()


@pytest.mark.usefixtures("loaded")
async def test_expected_plaintiffs(conn: asyncpg.Connection) -> None:
    """Fewer active plaintiffs than expected fail by the number that is missing."""
    assert {} == (await smoke(conn, "prod", None, 1)).failed
    assert {"missing_plaintiffs": 4} == (await smoke(conn, "prod", None, 5)).failed


async def test_writes_nothing(conn: asyncpg.Connection) -> None:
    """Everything is asked in one transaction that could not write, and that is over afterwards."""
    asked: list[str] = []
    with conn.query_logger(lambda query: asked.append(query.query)):
        await smoke(conn, "dev", None)

    opened = [query for query in asked if query.startswith("BEGIN")]
    assert ["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"] == opened
    assert not conn.is_in_transaction()


async def test_the_project_is_shown_without_the_password(conn: asyncpg.Connection) -> None:
    """The line names the project of the address, never its password."""
    dsn = "postgresql://postgres:hush-hush@db.abcdefghijklmnopqrst.supabase.co:5432/postgres"

    found = await smoke(conn, "dev", dsn)

    assert ("abcdefghijklmnopqrst", False) == (found.project, "hush-hush" in str(found.json()))
