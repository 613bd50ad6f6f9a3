"""The plans behind the statements: bounded reads, however many jobs wait, lie ahead or ended."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from dragonfly.queue import claiming, keyed, maintenance
from dragonfly.queue import statements as sql
from dragonfly.testing import PostgresServer

MANY = 100_000
HELD = 2_000

# ended; scheduled in front of what is due (higher priority, and the same); scheduled behind; due;
# due of a type of its own; held by a living process and by a dead one; and what others' types have
SEED = f"""
ALTER TABLE ops.jobs DISABLE TRIGGER ring_workers;
INSERT INTO ops.jobs (job_type, status, finished_at, attempts, locked_by)
SELECT 'greet', 'completed', now(), 1, 'greeter.1@here' FROM generate_series(1, {MANY});
INSERT INTO ops.jobs (job_type, priority, run_at)
SELECT 'greet', (ARRAY[9, 0, -9])[1 + n % 3], now() + make_interval(days => 1, secs => n)
  FROM generate_series(1, {MANY}) AS n;
INSERT INTO ops.jobs (job_type, run_at)
SELECT 'greet', now() - make_interval(secs => n) FROM generate_series(1, 100) AS n;
INSERT INTO ops.jobs (job_type, run_at) SELECT 'later', now() + interval '1 day'
  FROM generate_series(1, {MANY // 2});
INSERT INTO ops.jobs (job_type, run_at) SELECT 'soon', now() - make_interval(secs => n)
  FROM generate_series(1, {MANY // 2}) AS n;
INSERT INTO ops.jobs (job_type, status, finished_at, run_at)
SELECT 'soon', 'completed', now(), now() - interval '10 minutes';
INSERT INTO ops.jobs (job_type, crashes, run_at) SELECT 'later', 1, now() + interval '1 day'
  FROM generate_series(1, {MANY // 5});
INSERT INTO ops.jobs (job_type, concurrency_key, run_at)
SELECT 'visit', 'busy', now() - interval '1 day' FROM generate_series(1, {MANY // 5});
INSERT INTO ops.jobs (job_type, concurrency_key, run_at, priority)
SELECT 'visit', 'k' || n, now() + interval '1 day', n % 3 FROM generate_series(1, {MANY // 5}) AS n;
INSERT INTO ops.jobs (job_type, concurrency_key) SELECT 'visit', 'z' || n
  FROM generate_series(1, 100) AS n;
INSERT INTO ops.jobs (job_type, concurrency_key, status, attempts, lock_token, locked_until)
SELECT 'visit', 'busy', 'processing', 1, 9, now() + interval '1 hour';
INSERT INTO ops.jobs (job_type, status, attempts, lock_token, locked_by, locked_at, locked_until)
SELECT 'stamp', 'processing', 1, 7, 'greeter.1@here', now(), now() + interval '1 hour'
  FROM generate_series(1, {HELD});
INSERT INTO ops.jobs (job_type, status, attempts, crashes, lock_token, locked_by, locked_at,
                      locked_until, unique_key)
SELECT 'stamp', 'processing', 1, (n % 50 = 0)::int, 8, 'greeter.1@dead' || n % 7,
       now() - interval '1 hour', now() - interval '59 minutes', 'k' || n
  FROM generate_series(1, 200) AS n;
ALTER TABLE ops.jobs ENABLE TRIGGER ring_workers;
"""
HELD_IDS = """
SELECT array_agg(id ORDER BY random())::text
  FROM (SELECT id FROM ops.jobs WHERE lock_token = 7 LIMIT 200) AS any_of_them
"""
LAST_ENDED = "SELECT id FROM ops.jobs WHERE job_type = 'soon' ORDER BY id DESC LIMIT 1"
TYPES = "ARRAY['greet', 'absent']"
FINISH_ARGUMENTS = ", ".join(
    [
        "{ids}",
        "{tokens}",
        "array_fill('pending'::text, ARRAY[200])",
        *["array_fill(null::text, ARRAY[200])"] * 3,
        "array_fill(60::float8, ARRAY[200])",
        "array_fill(null::timestamptz, ARRAY[200])",
        *["array_fill(true, ARRAY[200])"] * 2,
    ]
)
TOKENS = "array_fill(7::bigint, ARRAY[200])"

# arguments, and the most pages that the statement may touch: about twice what they need
CASES: dict[str, tuple[str, str, int]] = {
    "claim one": (claiming.CLAIM, f"{TYPES}, 1, 'me', 60, 5", 150),
    "claim fifty": (claiming.CLAIM, f"{TYPES}, 50, 'me', 60, 5", 1_500),
    "claim one at the head": (claiming.CLAIM_HEAD, "ARRAY['soon'], 1, 'me', 60, 5", 60),
    "claim one of a type": (claiming.CLAIM_HEAD_OF, "'soon', 1, 'me', 60, 5", 60),
    "claim fifty of a type": (claiming.CLAIM_HEAD_OF, "'soon', 50, 'me', 60, 5", 1_500),
    "claim nothing of a type": (claiming.CLAIM_HEAD_OF, "'absent', 50, 'me', 60, 5", 30),
    "claim fifty at the head": (claiming.CLAIM_HEAD, "ARRAY['soon'], 50, 'me', 60, 5", 1_500),
    "claim behind the last": (
        claiming.CLAIM_BEHIND,
        "ARRAY['soon'], 50, 'me', 60, 5, {ended}",
        1_500,
    ),
    "claim nothing at the head": (claiming.CLAIM_HEAD, f"{TYPES}, 50, 'me', 60, 5", 60),
    "claim nothing": (claiming.CLAIM, "ARRAY['later'], 50, 'me', 60, 5", 60),
    "claim no suspect": (claiming.CLAIM_SUSPECT, "ARRAY['later'], 'me', 60, 5, 1, 2, 1", 20),
    "claim a suspect": (claiming.CLAIM_SUSPECT, f"{TYPES}, 'me', 60, 5, 1, 2, 1", 30),
    "no key waits": (keyed.KEYED_WAIT, TYPES, 20),
    "lock the first keys": (keyed.LOCK_KEYS, "ARRAY['visit'], 10, 2, ''", 3_000),
    "lock keys around": (keyed.LOCK_KEYS, "ARRAY['visit'], 10, 1, 'y'", 3_000),
    "lock no key": (keyed.LOCK_KEYS, f"{TYPES}, 10, 1, ''", 60),
    "lock no suspect's key": (keyed.LOCK_SUSPECT_KEY, "ARRAY['visit'], 1, 1, 2", 20),
    "claim of ten keys": (
        keyed.CLAIM_KEYED,
        "ARRAY['visit'], 10, 'me', 60, 5, ARRAY['busy', 'z1', 'z2'], 3, 0, 0",
        150,
    ),
    "unclaim": (claiming.UNCLAIM, "ARRAY[5::bigint]", 150),
    "complete 200": (
        sql.COMPLETE,
        "{ids}, {tokens}, array_fill('{}'::text, ARRAY[200])",
        7_000,
    ),
    "complete 200 of a claim": (sql.COMPLETE_BATCH, "{ids}::text, 7", 7_000),
    "finish 200": (sql.FINISH, FINISH_ARGUMENTS, 7_000),
    "renew 200": (sql.RENEW, "{ids}, {tokens}, 60", 7_000),
    "rescue 200": (sql.RESCUE, "3, 1000, NULL", 7_000),
    "forget 1000": (
        maintenance._STEP,
        "0, 1000, ARRAY['completed'], ARRAY[''], ARRAY[0::float8]",
        7_000,
    ),
    "forget nothing": (
        maintenance._STEP,
        "0, 1000, ARRAY['completed', 'completed'], ARRAY['greet', ''], ARRAY[3600::float8, 0]",
        2_500,
    ),
}
# as EXPLAIN writes it: j.id, j_1.id, (j.id + 0)
SORTED_BY_ID = re.compile(r"^\(*j(_\d+)?\.id( \+ 0\)+)?$")


@pytest.fixture(scope="module")
def crowded(postgres: PostgresServer, template: str) -> Iterator[str]:
    """The address of a database with a quarter of a million jobs in every state."""
    name = f"dragonfly_crowded_{secrets.token_hex(6)}"
    dsn = postgres.address(name)

    async def execute(address: str, *texts: str) -> None:
        conn = await asyncpg.connect(address)
        for text in texts:
            await conn.execute(text)
        await conn.close()

    create = postgres.creation(name, f'TEMPLATE "{template}" STRATEGY file_copy')
    asyncio.run(execute(postgres.dsn, create))
    asyncio.run(execute(dsn, "SET synchronous_commit = off", SEED, "VACUUM ANALYZE ops.jobs"))
    yield dsn
    asyncio.run(execute(postgres.dsn, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def crowd(crowded: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to it, in a transaction that is undone."""
    conn = await asyncpg.connect(crowded)
    work = conn.transaction()
    await work.start()
    yield conn
    await work.rollback()
    await conn.close()


async def explain(conn: asyncpg.Connection, statement: str, arguments: str, mode: str) -> Any:
    """What the server did for the statement, planned for these arguments or for any."""
    await conn.execute(f"SET LOCAL plan_cache_mode = {mode}")
    prepared = await conn.prepare(statement)
    types = ", ".join(
        f"{kind.name.removesuffix('[]')}{'[]' if kind.kind == 'array' else ''}"
        for kind in prepared.get_parameters()
    )
    await conn.execute(f"PREPARE explained ({types}) AS {statement}")
    if "{ids}" in arguments:
        ids = await conn.fetchval(HELD_IDS)
        arguments = arguments.replace("{ids}", f"'{ids}'").replace("{tokens}", TOKENS)
    if "{ended}" in arguments:
        arguments = arguments.replace("{ended}", str(await conn.fetchval(LAST_ENDED)))
    answer = await conn.fetchval(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained ({arguments})"
    )
    return json.loads(answer)[0]["Plan"]


def nodes(plan: Any) -> Iterator[Any]:
    """The node and everything below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("case", CASES)
async def test_reads_are_bounded(crowd: asyncpg.Connection, case: str, mode: str) -> None:
    """No statement reads the table through, and each touches a bounded number of pages."""
    statement, arguments, most = CASES[case]

    plan = await explain(crowd, statement, arguments, mode)

    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    read_through = [n["Relation Name"] for n in nodes(plan) if n["Node Type"] == "Seq Scan"]
    assert "jobs" not in read_through
    assert most >= pages


@pytest.mark.parametrize(
    ("case", "locks"),
    [("complete 200", 1), ("finish 200", 1), ("renew 200", 1), ("unclaim", 1), ("rescue 200", 2)],
)
async def test_locks_are_taken_in_id_order(
    crowd: asyncpg.Connection, case: str, locks: int
) -> None:
    """Wherever several rows are locked, they come to the lock sorted by id and by nothing else."""
    statement, arguments, _ = CASES[case]

    plan = await explain(crowd, statement, arguments, "force_generic_plan")

    keys = [n["Plans"][0].get("Sort Key") for n in nodes(plan) if n["Node Type"] == "LockRows"]
    assert [["id"]] * locks == [
        key and [SORTED_BY_ID.sub("id", one) for one in key] for key in keys
    ]


async def test_a_sweep_goes_by_the_places_of_rows(crowd: asyncpg.Connection) -> None:
    """It walks the primary key once; neither a lock nor a deletion looks for its row again."""
    statement, arguments, _ = CASES["forget 1000"]

    plan = await explain(crowd, statement, arguments, "force_generic_plan")

    reads = [n["Node Type"] for n in nodes(plan) if n.get("Relation Name") == "jobs"]
    assert ["Index Scan", "Tid Scan", "Tid Scan"] == sorted(r for r in reads if "Scan" in r)
