"""Group 6: do the intake's tables add up?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dragonfly.ops.findings import Finding, age, err, ok, warn

if TYPE_CHECKING:
    from asyncpg import Connection

STUCK_SECONDS = 1800.0

_STUCK_BATCHES = """
SELECT batch_id, status, extract(epoch FROM clock_timestamp() - created_at)::float8 AS seconds
  FROM civil.intake_batches
 WHERE status IN ('received', 'staged', 'validated', 'loading')
   AND created_at < clock_timestamp() - make_interval(secs => $1)
 ORDER BY created_at LIMIT 20
"""
# the rows as they lie there, against what the batch says of them
_MISCOUNTED = """
SELECT b.batch_id, b.rows_total, n.total
  FROM civil.intake_batches b
  CROSS JOIN LATERAL (SELECT count(*) AS total,
                             count(*) FILTER (WHERE r.outcome IS NULL) AS undecided
                        FROM civil.intake_row_results r WHERE r.batch_id = b.batch_id) AS n
 WHERE b.status IN ('completed', 'completed_with_rejects')
   AND (n.total <> b.rows_total OR n.undecided > 0
        OR b.rows_total <> b.rows_loaded + b.rows_updated + b.rows_unchanged + b.rows_duplicate
                           + b.rows_rejected + b.rows_review)
 ORDER BY b.created_at DESC LIMIT 20
"""


async def check_data(conn: Connection) -> list[Finding]:
    """Checks 6.1 and 6.2."""
    return [*await _stuck(conn), *await _miscounted(conn)]


async def _stuck(conn: Connection) -> list[Finding]:
    findings = [
        warn(
            "6.1",
            f"Batch {row['batch_id']} is {row['status']} since {age(row['seconds'])}.",
            "Look at its job (dragonfly jobs list --type simplicity_ingest) and retry it.",
        )
        for row in await conn.fetch(_STUCK_BATCHES, STUCK_SECONDS)
    ]
    return findings or [ok("6.1", "No batch is stuck halfway.")]


async def _miscounted(conn: Connection) -> list[Finding]:
    findings = [
        err(
            "6.2",
            f"Batch {row['batch_id']} counts {row['rows_total']} rows, but {row['total']} have an "
            "outcome.",
            "Load the file again; identical rows are recognised.",
        )
        for row in await conn.fetch(_MISCOUNTED)
    ]
    return findings or [ok("6.2", "The outcomes of every finished batch add up.")]
