"""The proof of a transaction and its COMMIT in one message."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from dragonfly.errors import TransactionAborted
from dragonfly.postgres.closing import Argument, ClosingConnection, Proof
from dragonfly.postgres.transactions import transaction

# it fails unless the first of its arguments is 1
PROOF = "SELECT $1::bigint / (CASE WHEN $1 = 1 THEN 1 ELSE 0 END), $2::text"
TABLE = """
CREATE TABLE public.numbers (n int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)
"""
INSERT = "INSERT INTO public.numbers VALUES ($1)"
COUNT = "SELECT count(*) FROM public.numbers"


def proof(*args: Argument) -> Callable[[], Proof]:
    """Succeeds if its first argument is 1."""
    return lambda: Proof(PROOF, args)


class Telling(ClosingConnection):
    """The pool's kind of connection, which also tells what it executes."""

    __slots__ = ("said",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.said: list[str] = []

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        self.said.append(query)
        return await super().execute(query, *args, timeout=timeout)


@pytest.fixture
async def numbers(dsn: str) -> AsyncIterator[Telling]:
    """A connection, and a table whose key is looked at on commit."""
    conn = await asyncpg.connect(dsn, connection_class=Telling)
    await conn.execute(TABLE)
    yield conn
    await conn.close()


async def test_it_is_one_message(numbers: Telling) -> None:
    """From the second transaction on a begin, a statement and an end are three messages."""
    for n in (1, 2):
        numbers.said.clear()
        async with transaction(numbers, proof=proof(1, None), together=True):
            await numbers.execute(INSERT, n)

    begin, insert, end = numbers.said
    assert ("BEGIN;", INSERT) == (begin, insert)
    assert re.fullmatch(r"EXECUTE dragonfly_\w{8}\(1,NULL\);COMMIT", end)
    assert 2 == await numbers.fetchval(COUNT)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_proof_that_fails_commits_nothing(numbers: Telling, times: int) -> None:
    """What follows the proof in its message is not run; the connection is sound afterwards."""
    for _ in range(times):
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with transaction(numbers, proof=proof(2, None), together=True):
                await numbers.execute(INSERT, 1)
        assert not numbers.is_in_transaction()

    assert 0 == await numbers.fetchval(COUNT)
    async with transaction(numbers, proof=proof(1, None), together=True):
        await numbers.execute(INSERT, 1)
    assert 1 == await numbers.fetchval(COUNT)


@pytest.mark.parametrize("prepared", [False, True])
async def test_a_swallowed_error_is_told(numbers: Telling, prepared: bool) -> None:
    """A transaction that the server has given up is not committed, whether or not the proof is
    known to the session."""
    if prepared:
        async with transaction(numbers, proof=proof(1, None), together=True):
            pass
    with pytest.raises(TransactionAborted):
        async with transaction(numbers, proof=proof(1, None), together=True):
            await numbers.execute(INSERT, 1)
            with suppress(asyncpg.DivisionByZeroError):
                await numbers.execute("SELECT 1 / 0")

    assert 0 == await numbers.fetchval(COUNT)
    assert not numbers.is_in_transaction()


async def test_a_commit_that_fails_is_told(numbers: Telling) -> None:
    """What only the COMMIT finds wrong is raised, and the next transaction is no savepoint."""
    with pytest.raises(asyncpg.UniqueViolationError):
        async with transaction(numbers, proof=proof(1, None), together=True):
            await numbers.execute(INSERT, 1)
            await numbers.execute(INSERT, 1)
    assert not numbers.is_in_transaction()

    numbers.said.clear()
    async with numbers.transaction():
        await numbers.execute(INSERT, 2)

    assert ["BEGIN;", INSERT, "COMMIT;"] == numbers.said
    assert 1 == await numbers.fetchval(COUNT)


async def test_after_it_a_transaction_is_no_savepoint(numbers: Telling) -> None:
    """asyncpg, whose own COMMIT it was not, knows that the transaction is over."""
    async with transaction(numbers, proof=proof(1, None), together=True), numbers.transaction():
        await numbers.execute(INSERT, 1)
    numbers.said.clear()
    async with numbers.transaction():
        await numbers.execute(INSERT, 2)

    assert ["BEGIN;", INSERT, "COMMIT;"] == numbers.said
    assert 2 == await numbers.fetchval(COUNT)


@pytest.mark.parametrize("text", ["it's", "\\'); DROP TABLE public.numbers; --", "§", "$$"])
async def test_text_goes_as_a_parameter(numbers: Telling, text: str) -> None:
    """A message holds no text of a job: the proof is said before the COMMIT, with parameters."""
    numbers.said.clear()
    async with transaction(numbers, proof=proof(1, text), together=True):
        await numbers.execute(INSERT, 1)

    assert ["BEGIN;", INSERT, PROOF, "COMMIT;"] == numbers.said
    assert 1 == await numbers.fetchval(COUNT)


async def test_what_a_handler_deallocates_is_prepared_anew(numbers: Telling) -> None:
    """DEALLOCATE ALL costs the transaction that did it, and no other."""
    committed = []
    for forgets in (False, True, False):
        with suppress(asyncpg.InvalidSQLStatementNameError):
            async with transaction(numbers, proof=proof(1, None), together=True):
                if forgets:
                    await numbers.execute("DEALLOCATE ALL")
            committed.append(forgets)

    assert [False, False] == committed


async def test_numbers_and_nulls_alone_are_written_out() -> None:
    """Whatever else an argument may be, it is not written into a message."""
    assert "1,-2,NULL" == Proof("", (1, -2, None)).words
    assert [None, None] == [Proof("", (1, each)).words for each in ("1", True)]
