"""A quick, read-only look at the firm's data: are plaintiffs and judgments there, and do they fit?

Safe on prod: one read-only transaction, bounded in time, which counts and names nobody.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dragonfly.ops import supabase
from dragonfly.ops.findings import age
from dragonfly.postgres.dsn import check_dsn

if TYPE_CHECKING:
    from asyncpg import Connection

STATEMENT_TIMEOUT = "SELECT set_config('statement_timeout', '5s', true)"

_PLACE = """
SELECT current_user AS "user", current_database() AS database,
       to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS server_time
"""
_COUNTS = """
SELECT (SELECT count(*) FROM civil.plaintiffs WHERE status = 'active') AS plaintiffs_active,
       (SELECT count(*) FROM civil.plaintiffs WHERE status = 'test') AS plaintiffs_test,
       (SELECT count(*) FROM civil.plaintiffs) AS plaintiffs,
       (SELECT count(*) FROM civil.plaintiff_contacts) AS contacts,
       (SELECT count(*) FROM civil.tasks
         WHERE kind = 'call' AND status = 'open') AS open_calls,
       (SELECT count(*) FROM civil.tasks t
         WHERE t.kind = 'call' AND t.status = 'open'
           AND NOT EXISTS (SELECT FROM civil.plaintiff_contacts c
                            WHERE c.plaintiff_id = t.plaintiff_id
                              AND c.kind = 'phone')) AS open_calls_without_phone,
       (SELECT count(*) FROM civil.tasks
         WHERE kind = 'review' AND status = 'open') AS open_reviews,
       (SELECT count(*) FROM civil.judgments) AS judgments,
       (SELECT count(*) FROM civil.intake_rejected_rows
         WHERE resolution = 'open') AS open_rejected_rows
"""
_JUDGMENTS = "SELECT status, count(*) AS count FROM civil.judgments GROUP BY status ORDER BY status"
_LAST_BATCH = """
SELECT status, extract(epoch FROM clock_timestamp() - created_at)::float8 AS seconds
  FROM civil.intake_batches ORDER BY created_at DESC, batch_id LIMIT 1
"""
# each names a number that must be nought
_MUST_BE_NOUGHT = """
SELECT (SELECT count(*) FROM civil.plaintiffs p
         WHERE p.status = 'active'
           AND NOT EXISTS (SELECT FROM civil.plaintiff_contacts c
                            WHERE c.plaintiff_id = p.plaintiff_id)
           AND NOT EXISTS (SELECT FROM civil.tasks t
                            WHERE t.plaintiff_id = p.plaintiff_id AND t.status = 'open')
           AND NOT EXISTS (SELECT FROM civil.judgments j
                            WHERE j.plaintiff_id = p.plaintiff_id)) AS plaintiffs_out_of_reach,
       (SELECT count(*) FROM civil.judgments j
          JOIN civil.plaintiffs p USING (plaintiff_id)
         WHERE p.status = 'merged') AS judgments_of_merged_plaintiffs,
       (SELECT count(*) FROM civil.judgments j
         WHERE NOT EXISTS (SELECT FROM civil.judgment_parties d
                            WHERE d.judgment_id = j.judgment_id
                              AND d.role = 'debtor')) AS judgments_without_debtor,
       (SELECT count(*) FROM civil.judgments j
         WHERE NOT EXISTS (SELECT FROM civil.judgment_parties d
                            WHERE d.judgment_id = j.judgment_id
                              AND d.role IN ('creditor', 'assignee'))
       ) AS judgments_without_creditor,
       (SELECT count(*) FROM civil.tasks t
         WHERE t.kind = 'call' AND t.status = 'open'
           AND NOT EXISTS (SELECT FROM civil.plaintiffs p
                            WHERE p.plaintiff_id = t.plaintiff_id
                              AND p.status = 'active')) AS calls_to_nobody,
       (SELECT count(*) FROM civil.intake_batches b
         WHERE b.status IN ('completed', 'completed_with_rejects')
           AND b.rows_rejected <> (SELECT count(*) FROM civil.intake_rejected_rows r
                                    WHERE r.batch_id = b.batch_id
                                      AND r.resolution <> 'fixed')) AS batches_missing_rejects
"""


@dataclass(frozen=True, slots=True)
class Smoke:
    """``failed`` names the assertions that do not hold, with their number of offenders."""

    mode: str
    project: str | None
    place: dict[str, str]
    counts: dict[str, int]
    judgments_by_status: dict[str, int]
    last_batch: str | None
    failed: dict[str, int]

    @property
    def exit_code(self) -> int:
        """0 all holds, 1 an assertion fails, 3 an empty database in prod."""
        if self.failed:
            return 1
        empty = self.counts["plaintiffs"] == 0 and self.counts["judgments"] == 0
        return 3 if empty and self.mode == "prod" else 0

    def line(self) -> str:
        """The summary, in one line."""
        verdict = {0: "ok", 1: "FAILED", 3: "EMPTY"}[self.exit_code]
        failed = "".join(f"; {name} {count}" for name, count in self.failed.items())
        counts = self.counts
        return (
            f"smoke plaintiffs ({self.mode}, {self.project or self.place['database']}, "
            f"{self.place['user']}, {self.place['server_time']}): {verdict}: "
            f"{counts['plaintiffs_active']} active plaintiffs, {counts['judgments']} judgments, "
            f"{counts['contacts']} contacts, {counts['open_calls']} calls "
            f"({counts['open_calls_without_phone']} without a phone number) and "
            f"{counts['open_reviews']} reviews open, {counts['open_rejected_rows']} rejected rows "
            f"open, last file {self.last_batch or 'never'}{failed}"
        )

    def json(self) -> dict[str, Any]:
        return asdict(self) | {"exit_code": self.exit_code}


async def smoke(
    conn: Connection, mode: str, dsn: str | None, expect_min_plaintiffs: int = 0
) -> Smoke:
    """Count and assert; asyncpg.PostgresError if a table cannot be read."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        await conn.execute(STATEMENT_TIMEOUT)
        (place,) = await conn.fetch(_PLACE)
        (counts,) = await conn.fetch(_COUNTS)
        judgments = await conn.fetch(_JUDGMENTS)
        last = await conn.fetchrow(_LAST_BATCH)
        (nought,) = await conn.fetch(_MUST_BE_NOUGHT)
    failed = {name: count for name, count in nought.items() if count}
    if counts["plaintiffs_active"] < expect_min_plaintiffs:
        failed["missing_plaintiffs"] = expect_min_plaintiffs - counts["plaintiffs_active"]
    return Smoke(
        mode=mode,
        project=supabase.database_ref(check_dsn(dsn, "the address")) if dsn else None,
        place=dict(place),
        counts=dict(counts),
        judgments_by_status={row["status"]: row["count"] for row in judgments},
        last_batch=f"{last['status']} {age(last['seconds'])} ago" if last else None,
        failed=failed,
    )
