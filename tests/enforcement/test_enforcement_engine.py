"""The third worker, run by the real supervisor on a real PostgreSQL."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from dragonfly import enqueue, enqueue_many
from dragonfly.enforcement.repository import today_in_new_york
from dragonfly.testing import DrainedJob, drain
from dragonfly.workers.enforcement_engine import worker
from tests.enforcement.rows_in_postgres import add_intelligence, add_judgment

BANK = {"name": "First Example Bank", "balance": "6000.00", "county_fips": "36047"}


async def run(dsn: str, conn: asyncpg.Connection, payload: dict[str, Any]) -> DrainedJob:
    """One job through the engine, as it then stands in the table."""
    await enqueue(conn, "enforcement_action", payload)
    (job,) = (await drain(dsn, worker)).jobs
    return job


async def count(conn: asyncpg.Connection) -> int:
    found: int = await conn.fetchval("select count(*) from civil.enforcement_plans")
    return found


async def test_a_judgment_gets_its_plan_and_the_job_its_result(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """The result says what the plan's row says, amounts as strings, without a name."""
    judgment_id = await add_judgment(conn)
    await add_intelligence(conn, judgment_id, "bank", BANK)
    job = await run(dsn, conn, {"judgment_id": str(judgment_id), "trigger": "import"})
    result = job.result

    assert "completed" == job.status
    assert {"plan_id", "outcome", "blockers", "actions", "balance", "changed"} == set(result)
    assert ("planned", True) == (result["outcome"], result["changed"])
    assert [["clear_by", "code", "statute", "text"]] == [sorted(b) for b in result["blockers"]]
    assert "20000.00" == result["balance"]["principal"]
    plan_id, balance = await one(conn, "select plan_id::text, balance from civil.enforcement_plans")
    assert (plan_id, json.loads(balance)) == (result["plan_id"], result["balance"])
    assert [] == [
        name
        for name in ("First Example Bank", "Debtor of the Test", "Creditor of the Test")
        if name in str(job.result)
    ]


async def one(conn: asyncpg.Connection, sql: str) -> asyncpg.Record:
    (row,) = await conn.fetch(sql)
    return row


async def test_the_same_job_again_changes_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    """Unchanged facts are a success that says so."""
    payload = {"judgment_id": str(await add_judgment(conn))}
    first = (await run(dsn, conn, payload)).result
    second = (await run(dsn, conn, payload)).result

    assert (True, False) == (first["changed"], second["changed"])
    assert (first["plan_id"], 1) == (second["plan_id"], await count(conn))


async def test_an_unverified_judgment_gets_a_plan_too(dsn: str, conn: asyncpg.Connection) -> None:
    """As a file brought it: blocked, with what would clear it."""
    judgment_id = await add_judgment(
        conn,
        authorization_status="none",
        status="imported",
        verified_by=None,
        verified_at=None,
        entry_date=None,
        entry_date_quality="unknown",
        first_enforceable_date=None,
        judgment_roll_filed=None,
        debt_class="unknown",
        debtor_is_natural_person=None,
        court_id=None,
    )
    result = (await run(dsn, conn, {"judgment_id": str(judgment_id)})).result

    assert "blocked" == result["outcome"]
    assert ("20000.00", None) == (result["balance"]["principal"], result["balance"]["interest"])
    assert ["COURT_UNKNOWN", "ENTRY_DATE_UNKNOWN", "NO_AUTHORITY", "NOT_VERIFIED"] == [
        blocker["code"] for blocker in result["blockers"]
    ][:4]
    assert {"blocked"} == {action["status"] for action in result["actions"]}


async def test_an_unknown_judgment_fails_at_once_with_a_sentence(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """It is not a success, and no retry finds it."""
    judgment_id = uuid4()
    job = await run(dsn, conn, {"judgment_id": str(judgment_id)})

    assert ("failed", 1) == (job.status, job.attempts)
    assert (
        f"UNKNOWN_JUDGMENT: There is no judgment {judgment_id}; "
        "check the id against civil.judgments."
    ) == job.error


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "judgment_id"),
        ({"judgment_id": "7"}, "judgment_id"),
        # a field that the model does not know may be anything: it is not repeated
        ({"judgment_id": str(uuid4()), "priority": 1}, "***"),
        ({"judgment_id": str(uuid4()), "trigger": "whim"}, "trigger"),
        ({"judgment_id": str(uuid4()), "as_of": "1962-01-01"}, "as_of"),
        ({"judgment_id": str(uuid4()), "only": ["surveillance"]}, "only.0"),
    ],
)
async def test_a_payload_that_does_not_fit_names_its_field(
    dsn: str, conn: asyncpg.Connection, payload: dict[str, Any], field: str
) -> None:
    """Failed at once, with the field and the reason."""
    job = await run(dsn, conn, payload)

    assert ("failed", 1) == (job.status, job.attempts)
    assert f" {field}: " in (job.error or "")


async def test_a_dry_run_decides_and_stores_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    """What would be planned on some later day can be asked for."""
    judgment_id = await add_judgment(conn)
    later = await today_in_new_york(conn) + timedelta(days=30)
    payload = {"judgment_id": str(judgment_id), "as_of": later.isoformat(), "dry_run": True}
    result = (await run(dsn, conn, payload)).result

    assert (None, False, 0) == (result["plan_id"], result["changed"], await count(conn))
    assert (later.isoformat(), "planned") == (result["balance"]["as_of"], result["outcome"])


async def test_a_plan_of_a_later_day_is_not_stored(dsn: str, conn: asyncpg.Connection) -> None:
    """Tomorrow's plan would stand in the way of today's."""
    judgment_id = await add_judgment(conn)
    later = await today_in_new_york(conn) + timedelta(days=1)
    job = await run(dsn, conn, {"judgment_id": str(judgment_id), "as_of": later.isoformat()})

    assert ("failed", 0) == (job.status, await count(conn))
    assert (job.error or "").startswith("AS_OF_IN_FUTURE: ")


async def test_asking_for_some_devices_narrows_the_answer_not_the_plan(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """A judgment has one plan, however narrow the question."""
    judgment_id = await add_judgment(conn)
    payload = {"judgment_id": str(judgment_id), "only": ["asset_search"]}
    result = (await run(dsn, conn, payload)).result
    stored = await conn.fetchval("select count(*) from civil.enforcement_actions")

    assert (["asset_search"], 3) == ([one["action_type"] for one in result["actions"]], stored)


async def test_many_jobs_at_once_leave_one_current_plan_for_each_judgment(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Eight slots, five judgments, eight jobs for each: none is planned twice."""
    judgments = [
        await add_judgment(conn, index_raw=str(n), index_key=f"|{n}|2024|") for n in range(5)
    ]
    await enqueue_many(
        conn, "enforcement_action", [{"judgment_id": str(j)} for _ in range(8) for j in judgments]
    )
    drained = await drain(dsn, worker)

    assert {"completed": 40} == drained.counts
    assert 5 == await count(conn)
