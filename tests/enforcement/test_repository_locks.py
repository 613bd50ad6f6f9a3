"""Plans, payments and signatures that meet on one judgment."""

from __future__ import annotations

import asyncio

import asyncpg

from dragonfly.enforcement.repository import (
    StoredPlan,
    load_facts,
    lock_judgment,
    store_plan,
)
from tests.enforcement.cases import AS_OF
from tests.enforcement.rows_in_postgres import add_judgment, add_payment, decided, plan


async def test_two_plans_of_one_judgment_wait_for_each_other(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """The second reads its facts after the first has committed, so it finds nothing to change."""
    judgment_id = await add_judgment(conn)
    other = await asyncpg.connect(dsn)
    async with conn.transaction():
        await lock_judgment(conn, judgment_id)
        second = asyncio.create_task(plan(other, judgment_id))
        await blocked(dsn, other)
        first = await store_plan(conn, judgment_id, await decided(conn, judgment_id))
    stored = await second
    await other.close()

    assert (True, StoredPlan(first.plan_id, changed=False)) == (first.changed, stored)


async def test_a_payment_that_comes_while_a_plan_is_made_waits_for_it(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """No fact changes between the reading and the plan."""
    judgment_id = await add_judgment(conn)
    other = await asyncpg.connect(dsn)
    async with conn.transaction():
        await lock_judgment(conn, judgment_id)
        payment = asyncio.create_task(add_payment(other, judgment_id, "10.00"))
        await blocked(dsn, other)
        facts = await load_facts(conn, judgment_id, AS_OF)
    await payment
    await other.close()

    assert facts is not None
    assert () == facts.payments


async def test_a_signature_given_first_is_seen_by_the_plan(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """Whoever signs while a plan is made is waited for, and what was signed stays signed."""
    judgment_id = await add_judgment(conn)
    await plan(conn, judgment_id)
    await conn.execute("update civil.judgments set dispute_since = now()")
    other = await asyncpg.connect(dsn)
    async with conn.transaction():
        await conn.execute(
            "update civil.enforcement_actions set status = 'signed', signed_by = 'attorney', "
            "signed_at = now() where action_type = 'information_subpoena'"
        )
        second = asyncio.create_task(plan(other, judgment_id))
        await blocked(dsn, other)
    await second
    await other.close()

    signed = await conn.fetch(
        "select target_key from civil.enforcement_actions where status = 'signed'"
    )
    assert ["debtor:1"] == [row["target_key"] for row in signed]


async def blocked(dsn: str, waiting: asyncpg.Connection) -> None:
    """Return once the other connection waits for a lock."""
    watcher = await asyncpg.connect(dsn)
    waits = "select wait_event_type = 'Lock' from pg_catalog.pg_stat_activity where pid = $1"
    pid = waiting.get_server_pid()
    while not await watcher.fetchval(waits, pid):
        await asyncio.sleep(0)
    await watcher.close()
