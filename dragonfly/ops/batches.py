"""The intake's batches as operators ask about them, and the way back of rejected rows."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

from dragonfly.errors import InputRefused
from dragonfly.postgres.transactions import transaction

if TYPE_CHECKING:
    from asyncpg import Connection, Record

# in front of the file's own columns, and known to no layout, so that the file can be loaded again
REJECT_COLUMNS = ("Dragonfly row", "Dragonfly cell", "Dragonfly code", "Dragonfly reason")
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?[\d.,]+")


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A file and what became of it; counts are None until they are known."""

    batch_id: UUID
    source_system: str
    status: str
    file_name: str
    created_at: datetime
    rows_total: int | None
    rows_loaded: int | None
    rows_updated: int | None
    rows_unchanged: int | None
    rows_duplicate: int | None
    rows_rejected: int | None
    rows_review: int | None
    reject_code: str | None
    reject_detail: str | None
    duplicate_of: UUID | None


_BATCHES = """
SELECT batch_id, source_system, status, file_name, created_at, rows_total, rows_loaded,
       rows_updated, rows_unchanged, rows_duplicate, rows_rejected, rows_review, reject_code,
       reject_detail, duplicate_of
  FROM civil.intake_batches
 ORDER BY created_at DESC, batch_id
 LIMIT $1
"""

_HEADER = "SELECT header FROM civil.intake_batches WHERE batch_id = $1"

_REJECTED = """
SELECT bad.row_no, bad.codes, bad.messages, raw.cells
  FROM civil.intake_rejected_rows bad
  JOIN civil.intake_raw_rows raw USING (batch_id, row_no)
 WHERE bad.batch_id = $1 AND bad.resolution = 'open'
 ORDER BY bad.row_no
"""


async def batches(conn: Connection, limit: int = 50) -> list[BatchLine]:
    """The newest files."""
    return [BatchLine(*row) for row in await conn.fetch(_BATCHES, limit)]


async def write_rejects(conn: Connection, batch_id: UUID, target: TextIO) -> int:
    """Write the open rejected rows of a batch as CSV, as they stood in the file; how many.

    The row and cell are those that Excel shows. Cells that a spreadsheet would run as formulas
    begin with an apostrophe. Raises InputRefused for a batch that does not exist or was not read.
    """
    async with transaction(conn):
        found = await conn.fetchrow(_HEADER, batch_id)
        if found is None or found["header"] is None:
            raise InputRefused(
                "UNKNOWN_BATCH",
                f"There is no batch {batch_id} whose rows were read; see: dragonfly intake batches",
            )
        writer = csv.writer(target)
        writer.writerow(map(harmless, [*REJECT_COLUMNS, *found["header"]]))
        count = 0
        # by a cursor: a file may have a million rows
        async for row in conn.cursor(_REJECTED, batch_id, prefetch=500):
            writer.writerow(_line(row, len(found["header"])))
            count += 1
    return count


def _line(row: Record, width: int) -> list[str]:
    messages: list[dict[str, Any]] = [
        message for message in json.loads(row["messages"]) if message["severity"] == "reject"
    ]
    cells = row["cells"]
    line = [
        str(row["row_no"] + 1),
        " ".join(message["cell"] for message in messages if message.get("cell")),
        " ".join(message["code"] for message in messages),
        " ".join(message["message"] for message in messages),
        *cells,
        *[""] * (width - len(cells)),
    ]
    return [harmless(cell) for cell in line]


def harmless(cell: str) -> str:
    """The cell as a spreadsheet shows it and never runs it; plain numbers stay as they are."""
    if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell
