"""Enqueueing over HTTP, by the statements that PostgREST sends, with Supabase's roles."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest

PARAMETERS = """
SELECT name, format_type(type, NULL) AS type
  FROM pg_proc, unnest(proargnames, proargtypes::oid[]) AS parameter (name, type)
 WHERE proname = 'enqueue_job'
"""
CALL = """
WITH pgrst_source AS (
    SELECT pgrst_call.pgrst_scalar
      FROM (SELECT $1::json AS json_data) pgrst_payload,
           LATERAL (SELECT {columns} FROM json_to_record(pgrst_payload.json_data) AS _({typed})
                   ) pgrst_body,
           LATERAL (SELECT "ops"."enqueue_job"({named}) pgrst_scalar) pgrst_call
)
SELECT coalesce(json_agg(_postgrest_t.pgrst_scalar)->0, 'null') AS body
  FROM (SELECT "enqueue_job".* FROM pgrst_source AS "enqueue_job") _postgrest_t
"""
DOCUMENT = (Path(__file__).parents[2] / "docs" / "enqueueing.md").read_text(encoding="utf-8")
_CURL = re.compile(r"-d '(\{.+\})'")


async def over_http(conn: asyncpg.Connection, role: str, body: dict[str, Any]) -> Any:
    """The answer to ``POST /rpc/enqueue_job``, by the statements that PostgREST 13 and 14 send.

    It logs in as authenticator, and knows the function's parameters from the catalogue.
    """
    types = {row["name"]: row["type"] for row in await conn.fetch(PARAMETERS)}
    claims = json.dumps({"role": role, "iss": "supabase"})
    async with conn.transaction():
        await conn.execute("SET LOCAL SESSION AUTHORIZATION authenticator")
        await conn.execute(
            "SELECT set_config('search_path', '\"ops\", \"public\"', true),"
            " set_config('role', $1, true), set_config('request.jwt.claims', $2, true),"
            " set_config('request.method', 'POST', true)",
            role,
            claims,
        )
        call = CALL.format(
            columns=", ".join(f'"{name}"' for name in body),
            typed=", ".join(f'"{name}" {types[name]}' for name in body),
            named=", ".join(f'"{name}" := pgrst_body."{name}"' for name in body),
        )
        answer = await conn.fetchval(call, json.dumps(body))
        await conn.execute("RESET SESSION AUTHORIZATION")
    return json.loads(answer)


async def test_an_enqueue_over_http(session: asyncpg.Connection) -> None:
    """What PostgREST makes of a call's JSON enqueues for the service key, whatever it names."""
    full = {
        "job_type": "greet", "payload": {"name": "Ada"}, "run_at": "2031-05-06T07:08:09Z",
        "priority": 5, "unique_key": "k", "concurrency_key": "c", "max_attempts": 3,
        "due_at": "2031-05-06T07:08:09Z", "on_conflict": "replace",
        "correlation_id": "6f1c0c36-9d5b-4f0e-8f67-3f0a3c2d9b11", "parent_id": 41,
    }  # fmt: skip
    short = {"job_type": "greet", "unique_key": "k"}
    (documented,) = _CURL.findall(DOCUMENT)

    answers = [
        await over_http(session, "service_role", body)
        for body in (full, short, json.loads(documented))
    ]

    first, second, third = answers
    names = [name for name in full if name != "on_conflict"]
    stored = await session.fetchval(
        f"SELECT to_jsonb(j) FROM (SELECT {', '.join(names)} FROM ops.jobs WHERE id = $1) AS j",
        first,
    )
    expected = {name: full[name] for name in names}
    times = dict.fromkeys(("run_at", "due_at"), "2031-05-06T07:08:09+00:00")
    assert expected | times == json.loads(stored)
    assert first == second
    assert first != third


@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_nobody_else_enqueues_over_http(session: asyncpg.Connection, role: str) -> None:
    """The same call with another key is refused, as is one that would only read."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with session.transaction():
            await over_http(session, role, {"job_type": "greet"})
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with session.transaction():
            await session.execute("SET TRANSACTION READ ONLY")
            await over_http(session, "service_role", {"job_type": "greet"})

    assert 0 == await session.fetchval("SELECT count(*) FROM ops.jobs")


async def test_there_is_one_function(session: asyncpg.Connection) -> None:
    """A second function of the name would make calls over HTTP ambiguous."""
    assert 1 == await session.fetchval("SELECT count(*) FROM pg_proc WHERE proname = 'enqueue_job'")
