"""Transactions that cannot lie."""

from __future__ import annotations

from contextlib import suppress

import asyncpg
import pytest

from dragonfly.errors import TransactionAborted
from dragonfly.postgres.failures import TROUBLE
from dragonfly.postgres.transactions import Proof, transaction


@pytest.fixture
async def numbers(conn: asyncpg.Connection) -> asyncpg.Connection:
    """A connection to a database with a table of numbers."""
    await conn.execute("CREATE TABLE public.numbers (n int PRIMARY KEY)")
    return conn


async def test_what_the_block_wrote_is_committed(numbers: asyncpg.Connection) -> None:
    """A block that ends in peace is committed."""
    async with transaction(numbers):
        await numbers.execute("INSERT INTO public.numbers VALUES (1)")

    assert 1 == await numbers.fetchval("SELECT count(*) FROM public.numbers")


async def test_a_swallowed_error_is_told(numbers: asyncpg.Connection) -> None:
    """A block that swallows a database error has committed nothing, and says so."""
    with pytest.raises(TransactionAborted):
        async with transaction(numbers):
            await numbers.execute("INSERT INTO public.numbers VALUES (1)")
            with suppress(asyncpg.UniqueViolationError):
                await numbers.execute("INSERT INTO public.numbers VALUES (1)")

    assert 0 == await numbers.fetchval("SELECT count(*) FROM public.numbers")
    assert not numbers.is_in_transaction()


async def test_savepoints_recover(numbers: asyncpg.Connection) -> None:
    """An error inside a nested transaction is undone there alone."""
    async with transaction(numbers):
        await numbers.execute("INSERT INTO public.numbers VALUES (1)")
        with suppress(asyncpg.UniqueViolationError):
            async with numbers.transaction():
                await numbers.execute("INSERT INTO public.numbers VALUES (1)")

    assert 1 == await numbers.fetchval("SELECT count(*) FROM public.numbers")


async def test_a_failing_proof_rolls_back(numbers: asyncpg.Connection) -> None:
    """What the proof raises leaves the block, and nothing is written."""
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with transaction(numbers, proof=lambda: Proof("SELECT 1 / $1::int", (0,))):
            await numbers.execute("INSERT INTO public.numbers VALUES (1)")

    assert 0 == await numbers.fetchval("SELECT count(*) FROM public.numbers")


async def test_a_rollback_that_fails_closes_the_connection(
    numbers: asyncpg.Connection, dsn: str
) -> None:
    """A connection that cannot even roll back is not used again."""
    other = await asyncpg.connect(dsn)
    # which it is depends on when the server's farewell arrives
    with pytest.raises(TROUBLE):
        async with transaction(numbers):
            await other.execute("SELECT pg_terminate_backend($1)", numbers.get_server_pid())
            await numbers.execute("INSERT INTO public.numbers VALUES (1)")
    await other.close()

    assert numbers.is_closed()
