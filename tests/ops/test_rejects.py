"""Rejected rows as a file that a person corrects and loads again."""

from __future__ import annotations

import csv
import io
import json
import uuid
from pathlib import Path

import asyncpg
import pytest

from dragonfly.errors import InputRefused
from dragonfly.ops.batches import batches, harmless, write_rejects
from dragonfly.workers.simplicity_ingest import worker
from tests.intake.hosts import HEADER, Line, write_export
from tests.ops.drops import Drop
from tests.support import drain


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=", "-"])
def test_formulas_are_disarmed(cell: str) -> None:
    """A cell that a spreadsheet would run begins with an apostrophe."""
    assert f"'{cell}" == harmless(cell)


@pytest.mark.parametrize(
    "cell", ["-1,500.00", "+5", "1500.00", "Roe, Jane", "", "a=b", "2024-01-02"]
)
def test_other_cells_stay_as_they_are(cell: str) -> None:
    """Plain numbers, signs included, and all other text is written as it stood in the file."""
    assert cell == harmless(cell)


@pytest.fixture
def drop(tmp_path: Path, dsn: str) -> Drop:
    return Drop(tmp_path / "intake", dsn)


async def load(drop: Drop, name: str, rows: list[Line]) -> None:
    write_export(drop.folder.inbox / name, rows)
    await drop.once()
    await drain(drop.dsn, worker, intake_root=drop.root)


GOOD = [Line(f"CV-{number:06d}-24/KI") for number in range(1, 20)]
BAD = Line("CV-000020-24/KI", amount="a lot", defendant='=HYPERLINK("http://x")')


async def test_rejects_carry_row_cell_and_reason(drop: Drop, conn: asyncpg.Connection) -> None:
    """Each rejected row stands there as in the file, with its Excel row, cell, code and reason."""
    await load(drop, "export.csv", [*GOOD, BAD])
    (batch,) = await batches(conn)
    target = io.StringIO(newline="")

    count = await write_rejects(conn, batch.batch_id, target)

    header, line = csv.reader(io.StringIO(target.getvalue()))
    assert (1, list(HEADER)) == (count, header[4:])
    assert ["21", True] == [line[0], "D21" in line[1]]
    assert (True, True) == ("AMOUNT" in line[2], len(line[3]) > 20)
    expected = [f"'{cell}" if cell.startswith("=") else cell for cell in BAD.cells()]
    assert expected == line[4:]


async def test_corrected_rejects_load(drop: Drop, conn: asyncpg.Connection) -> None:
    """The file of rejects, corrected in place, is an export: its own columns are ignored."""
    await load(drop, "export.csv", [*GOOD, Line("CV-000020-24/KI", amount="a lot")])
    (batch,) = await batches(conn)
    with (drop.folder.inbox / "again.csv").open("w", encoding="utf-8-sig", newline="") as target:
        await write_rejects(conn, batch.batch_id, target)
    text = (drop.folder.inbox / "again.csv").read_text("utf-8-sig")
    (drop.folder.inbox / "again.csv").write_text(text.replace("a lot", "1500.00"), "utf-8-sig")

    await drop.once()
    await drain(drop.dsn, worker, intake_root=drop.root)

    result = json.loads(
        await conn.fetchval(
            "SELECT result FROM ops.jobs WHERE job_type = 'simplicity_ingest' "
            "ORDER BY id DESC LIMIT 1"
        )
    )
    assert ("completed", 1, 1) == (
        result["outcome"],
        result["rows"]["total"],
        result["rows"]["loaded"],
    )


async def test_a_batch_without_rejects_gives_a_header(drop: Drop, conn: asyncpg.Connection) -> None:
    """Nothing rejected: the file has its header and no rows."""
    await load(drop, "export.csv", GOOD)
    (batch,) = await batches(conn)
    target = io.StringIO(newline="")

    assert 0 == await write_rejects(conn, batch.batch_id, target)
    assert 1 == len(target.getvalue().splitlines())


async def test_an_unknown_batch_is_refused(conn: asyncpg.Connection) -> None:
    """A batch that does not exist is a refusal with a sentence."""
    with pytest.raises(InputRefused, match="There is no batch"):
        await write_rejects(conn, uuid.uuid4(), io.StringIO())
