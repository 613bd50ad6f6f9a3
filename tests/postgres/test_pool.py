"""What a handler's connection keeps between two loans, and what it does not."""

from __future__ import annotations

from dragonfly.events import Events
from dragonfly.postgres.database import open_database
from dragonfly.runtime.process import open_process
from dragonfly.settings import Settings


async def test_the_bound_on_idle_transactions_stays(dsn: str) -> None:
    """A frozen process loses its job's transaction after a minute, at every loan."""
    database = await open_database(dsn, "the test database")
    shown = []
    async with open_process(Settings(pool_size=1), database, Events()) as process:
        for _ in range(2):
            async with process.pool.acquire() as conn:
                shown.append(await conn.fetchval("SHOW idle_in_transaction_session_timeout"))

    assert ["1min", "1min"] == shown


async def test_an_open_transaction_ends_with_the_loan(dsn: str) -> None:
    """What a handler began and did not end is rolled back before the next one gets it."""
    database = await open_database(dsn, "the test database")
    async with open_process(Settings(pool_size=1), database, Events()) as process:
        async with process.pool.acquire() as conn:
            await conn.execute("BEGIN; CREATE TABLE public.left_open (n bigint)")
        async with process.pool.acquire() as conn:
            assert not conn.is_in_transaction()
            left = await conn.fetchval("SELECT to_regclass('public.left_open')")

    assert left is None
