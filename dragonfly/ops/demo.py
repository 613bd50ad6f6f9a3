"""What the demonstration delivers, what a clerk would add afterwards, and what came of it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio.to_thread

from dragonfly.queue.bulk import enqueue_many
from dragonfly.queue.store import enqueue

if TYPE_CHECKING:
    from asyncpg import Connection

SAMPLE = "simplicity_sample.csv"
MOST_REJECTS = 40
OUTCOMES = ("loaded", "updated", "unchanged", "duplicate", "rejected", "review")

# Every third judgment that a court's record can confirm: the clerk read it, the client signed.
_CONFIRM = """
WITH confirmed AS (
    SELECT j.judgment_id, j.plaintiff_id,
           row_number() OVER (ORDER BY j.index_key, j.judgment_id) AS n,
           coalesce((SELECT bool_and(p.kind = 'person') FROM civil.judgment_parties p
                      WHERE p.judgment_id = j.judgment_id AND p.role = 'debtor'), false) AS natural
      FROM civil.judgments j
     WHERE j.state = 'NY' AND j.status = 'imported' AND j.court_id IS NOT NULL
       AND coalesce(j.entry_date, j.judgment_date) IS NOT NULL
), third AS (
    SELECT * FROM confirmed WHERE n % 3 = 0
), authorised AS (
    UPDATE civil.plaintiffs SET authorization_status = 'both'
     WHERE plaintiff_id IN (SELECT plaintiff_id FROM third)
)
UPDATE civil.judgments j
   SET entry_date = coalesce(j.entry_date, j.judgment_date), entry_date_quality = 'court_record',
       first_enforceable_date = coalesce(j.entry_date, j.judgment_date),
       judgment_roll_filed = coalesce(j.entry_date, j.judgment_date),
       debt_class = CASE WHEN j.debt_class <> 'unknown' THEN j.debt_class
                         WHEN third.natural THEN 'consumer' ELSE 'non_consumer' END,
       debtor_is_natural_person = third.natural, status = 'verified',
       verified_by = 'demonstration clerk', verified_at = now()
  FROM third
 WHERE j.judgment_id = third.judgment_id
RETURNING j.judgment_id
"""
_LEARN = """
INSERT INTO civil.debtor_intelligence
       (judgment_id, debtor_seq, kind, value, source, obtained_at, confidence, verified_by,
        verified_at, permissible_purpose)
SELECT judgment_id, 1, kind, value::jsonb, 'demonstration', now(), 90, 'demonstration clerk',
       now(), 'collection of a judgment'
  FROM unnest($1::uuid[], $2::text[], $3::text[]) AS learnt (judgment_id, kind, value)
"""
_DOCKET = """
INSERT INTO civil.docketings (judgment_id, county_fips, docketed_on, transcript_no)
SELECT judgment_id, county_fips, entry_date, 'demonstration'
  FROM civil.judgments WHERE judgment_id = ANY ($1) AND county_fips IS NOT NULL
"""
_EMPLOYER = {
    "name": "Kestrel Works Inc",
    "gross": "1000",
    "disposable": "780",
    "frequency": "weekly",
}
_BANK = {"name": "Harbor Lantern Bank", "balance": "6000.00"}
_NOT_SERVING: dict[str, Any] = {"active": False}


async def deliver(conn: Connection, intake_root: Path) -> int:
    """Put the bundled export into the intake folder and enqueue the job that loads it."""
    await anyio.to_thread.run_sync(_copy_sample, intake_root)
    return await enqueue(conn, "simplicity_ingest", {"file_path": SAMPLE})


def _copy_sample(intake_root: Path) -> None:
    intake_root.mkdir(parents=True, exist_ok=True)
    source = resources.files("dragonfly.judgments") / "data" / SAMPLE
    with resources.as_file(source) as path:
        shutil.copyfile(path, intake_root / SAMPLE)


async def deliver_again(conn: Connection) -> int:
    """The same file once more, by another door: nothing may be loaded twice."""
    payload = {"file_path": SAMPLE, "source_system": "simplicity"}
    return await enqueue(conn, "intake", payload)


async def confirm(conn: Connection) -> int:
    """Do a clerk's work on a third of the judgments, and ask for new plans; how many."""
    async with conn.transaction():
        ids = [row["judgment_id"] for row in await conn.fetch(_CONFIRM)]
        learnt = list(_facts(ids))
        await conn.execute(_LEARN, *map(list, zip(*learnt, strict=True)))
        await conn.execute(_DOCKET, ids)
        payloads = [{"judgment_id": str(each), "trigger": "intel_changed"} for each in ids]
        await enqueue_many(conn, "enforcement_action", payloads)
    return len(ids)


def _facts(ids: Sequence[UUID]) -> list[tuple[UUID, str, str]]:
    """What was found out: of some debtors the employer, of some the bank, of some nothing."""
    facts = []
    for place, judgment_id in enumerate(ids):
        facts.append((judgment_id, "military", json.dumps(_NOT_SERVING)))
        if place % 3 == 0:
            facts.append((judgment_id, "employer", json.dumps(_EMPLOYER)))
        if place % 3 == 1:
            facts.append((judgment_id, "bank", json.dumps(_BANK)))
    return facts


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was not loaded; ``row`` and ``cell`` are those that Excel shows."""

    row: int
    cell: str | None
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What the demonstration did; the six outcomes in ``rows`` add up to ``total``.

    ``notes`` counts the codes found in rows that were not rejected.
    """

    rows: dict[str, int]
    notes: dict[str, int]
    rejects: tuple[Reject, ...]
    plans: dict[str, int]
    actions: dict[tuple[str, str], int]
    jobs: tuple[tuple[str, str, int], ...]
    second_delivery: str


_BATCH = """
SELECT result FROM ops.jobs WHERE job_type = $1 AND status = 'completed' ORDER BY id LIMIT 1
"""
_REJECTS = """
SELECT raw.row_no + 1 AS row, message ->> 'cell' AS cell, message ->> 'code' AS code,
       message ->> 'message' AS sentence
  FROM civil.intake_rejected_rows bad
  JOIN civil.intake_raw_rows raw USING (batch_id, row_no)
  CROSS JOIN LATERAL jsonb_array_elements(bad.messages) AS message
 WHERE bad.batch_id = $1 AND message ->> 'severity' = 'reject'
 ORDER BY raw.row_no LIMIT $2
"""
_PLANS = """
SELECT outcome, count(*) FROM civil.enforcement_plans WHERE superseded_by IS NULL
 GROUP BY outcome ORDER BY count(*) DESC, outcome
"""
_ACTIONS = """
SELECT a.action_type, a.status, count(*)
  FROM civil.enforcement_actions a JOIN civil.enforcement_plans p USING (plan_id)
 WHERE p.superseded_by IS NULL
 GROUP BY a.action_type, a.status ORDER BY count(*) DESC, a.action_type, a.status
"""
_JOBS = """
SELECT split_part(locked_by, '.', 1) AS worker, status, count(*)
  FROM ops.jobs GROUP BY 1, 2 ORDER BY 1, 2
"""


async def summarise(conn: Connection) -> Summary:
    """Read the figures back from the tables, so that what is shown is what is stored."""
    first = json.loads(await conn.fetchval(_BATCH, "simplicity_ingest"))
    second = json.loads(await conn.fetchval(_BATCH, "intake"))
    rejects = await conn.fetch(_REJECTS, UUID(first["batch_id"]), MOST_REJECTS)
    return Summary(
        rows=first["rows"],
        notes=_notes(first["codes"], Counter(row["code"] for row in rejects)),
        rejects=tuple(Reject(*row) for row in rejects),
        plans={row["outcome"]: row["count"] for row in await conn.fetch(_PLANS)},
        actions={(row["action_type"], row["status"]): row["count"]
                 for row in await conn.fetch(_ACTIONS)},
        jobs=tuple((row["worker"], row["status"], row["count"]) for row in await conn.fetch(_JOBS)),
        second_delivery=second["outcome"],
    )  # fmt: skip


def _notes(codes: dict[str, int], rejected: Counter[str]) -> dict[str, int]:
    return {code: n - rejected[code] for code, n in codes.items() if n > rejected[code]}
