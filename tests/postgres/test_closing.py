"""The proof of a transaction, its COMMIT, and the BEGIN of the next one in one message."""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import anyio
import asyncpg
import pytest

from dragonfly.errors import TransactionAborted
from dragonfly.postgres import closing
from dragonfly.postgres.closing import ClosingConnection, brief_transaction, in_words
from dragonfly.postgres.transactions import Argument, Proof

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
        async with brief_transaction(numbers, proof=proof(1, None)):
            await numbers.execute(INSERT, n)

    begin, insert, end = numbers.said
    assert ("BEGIN", INSERT) == (begin, insert)
    assert re.fullmatch(r"EXECUTE dragonfly_\w{8}\(1,NULL\);COMMIT", end)
    assert 2 == await numbers.fetchval(COUNT)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_proof_that_fails_commits_nothing(numbers: Telling, times: int) -> None:
    """What follows the proof in its message is not run; the connection is sound afterwards."""
    for _ in range(times):
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with brief_transaction(numbers, proof=proof(2, None)):
                await numbers.execute(INSERT, 1)
        assert not numbers.is_in_transaction()

    assert 0 == await numbers.fetchval(COUNT)
    async with brief_transaction(numbers, proof=proof(1, None)):
        await numbers.execute(INSERT, 1)
    assert 1 == await numbers.fetchval(COUNT)


@pytest.mark.parametrize("prepared", [False, True])
async def test_a_swallowed_error_is_told(numbers: Telling, prepared: bool) -> None:
    """A transaction that the server has given up is not committed, whether or not the proof is
    known to the session."""
    if prepared:
        async with brief_transaction(numbers, proof=proof(1, None)):
            pass
    with pytest.raises(TransactionAborted):
        async with brief_transaction(numbers, proof=proof(1, None)):
            await numbers.execute(INSERT, 1)
            with suppress(asyncpg.DivisionByZeroError):
                await numbers.execute("SELECT 1 / 0")

    assert 0 == await numbers.fetchval(COUNT)
    assert not numbers.is_in_transaction()


async def test_a_commit_that_fails_is_told(numbers: Telling) -> None:
    """What only the COMMIT finds wrong is raised, and the next transaction is no savepoint."""
    with pytest.raises(asyncpg.UniqueViolationError):
        async with brief_transaction(numbers, proof=proof(1, None)):
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
    async with brief_transaction(numbers, proof=proof(1, None)), numbers.transaction():
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
    async with brief_transaction(numbers, proof=proof(1, text)):
        await numbers.execute(INSERT, 1)

    assert ["BEGIN", INSERT, PROOF, "COMMIT"] == numbers.said
    assert 1 == await numbers.fetchval(COUNT)


async def test_what_a_handler_deallocates_is_prepared_anew(numbers: Telling) -> None:
    """DEALLOCATE ALL costs the transaction that did it, and no other."""
    committed = []
    for forgets in (False, True, False):
        with suppress(asyncpg.InvalidSQLStatementNameError):
            async with brief_transaction(numbers, proof=proof(1, None)):
                if forgets:
                    await numbers.execute("DEALLOCATE ALL")
            committed.append(forgets)

    assert [False, False] == committed


async def test_numbers_and_nulls_alone_are_written_out() -> None:
    """Whatever else an argument may be, it is not written into a message."""
    assert "1,-2,NULL" == in_words((1, -2, None))
    assert [None, None] == [in_words((1, each)) for each in ("1", True)]


# --- the BEGIN of the next one ------------------------------------------------------------------


async def write(
    numbers: Telling, n: int, *, begins_next: bool, not_before: float = -math.inf
) -> None:
    async with brief_transaction(
        numbers, proof=proof(1, None), not_before=not_before, begins_next=lambda: begins_next
    ):
        await numbers.execute(INSERT, n)


async def begin_ahead(numbers: Telling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit one, with the next one begun; however slow this machine is, that is fresh."""
    monkeypatch.setattr(closing, "FRESH_SECONDS", 600.0)
    await write(numbers, 1, begins_next=True)
    numbers.said.clear()


async def test_the_next_one_begins_in_the_same_message(
    numbers: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a transaction that follows at once a statement and an end are all that is said."""
    await begin_ahead(numbers, monkeypatch)
    assert numbers.is_in_transaction()
    await write(numbers, 2, begins_next=False)

    insert, end = numbers.said
    assert (INSERT, True) == (insert, end.endswith(";COMMIT"))
    assert not numbers.is_in_transaction()
    assert 2 == await numbers.fetchval(COUNT)


async def test_what_was_begun_long_ago_is_begun_anew(
    numbers: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """now() in a transaction is that of its own beginning, or of a hundredth of a second before."""
    await begin_ahead(numbers, monkeypatch)
    monkeypatch.undo()
    assert 0.01 == closing.FRESH_SECONDS
    assert numbers.outermost.begun is not None
    numbers.outermost.begun -= 0.01
    await write(numbers, 2, begins_next=False)

    assert ["ROLLBACK;BEGIN", INSERT] == numbers.said[:2]
    assert 2 == await numbers.fetchval(COUNT)


async def test_once_a_second_none_is_begun_ahead(
    numbers: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session reports what it wrote between two transactions, so there has to be a between."""
    await begin_ahead(numbers, monkeypatch)
    monkeypatch.setattr(closing, "REPORT_SECONDS", -1.0)
    await write(numbers, 2, begins_next=True)
    assert not numbers.is_in_transaction()
    monkeypatch.setattr(closing, "REPORT_SECONDS", 600.0)
    await write(numbers, 3, begins_next=True)

    assert numbers.is_in_transaction()


async def test_what_is_written_without_end_is_counted(
    numbers: Telling, conn: asyncpg.Connection
) -> None:
    """Autovacuum hears of the rows while transactions go on to follow each other at once."""
    await numbers.execute("CREATE TABLE public.rows (n bigint)")
    counted = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'rows'"
    with anyio.fail_after(20):
        while not await conn.fetchval(counted):
            for _ in range(100):
                async with brief_transaction(numbers, begins_next=lambda: True):
                    await numbers.execute("INSERT INTO public.rows VALUES (1)")


@pytest.mark.parametrize("words", ["SELECT nonsense", "INSERT INTO public.numbers VALUES (7)"])
async def test_what_a_stranger_said_in_it_is_undone(
    numbers: Telling, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """A statement of a job that is over, late, harms or joins no other one's transaction."""
    await begin_ahead(numbers, monkeypatch)
    with suppress(asyncpg.PostgresError):
        await numbers.execute(words)
    await write(numbers, 2, begins_next=False)

    assert [1, 2] == [row[0] for row in await numbers.fetch("SELECT n FROM public.numbers")]


async def test_what_was_begun_before_a_moment_is_begun_anew(
    numbers: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """now() in a transaction is not before the moment that it is given."""
    await begin_ahead(numbers, monkeypatch)
    moment = await numbers.fetchval("SELECT clock_timestamp()")
    not_before = time.monotonic()
    async with brief_transaction(numbers, proof=proof(1, None), not_before=not_before):
        now = await numbers.fetchval("SELECT now()")

    assert moment <= now


async def test_one_that_fails_begins_nothing(
    numbers: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a proof, a commit or a block that failed the connection is in no transaction."""
    await begin_ahead(numbers, monkeypatch)
    for given, n in ((2, 2), (1, 1)):
        with pytest.raises((asyncpg.DivisionByZeroError, asyncpg.UniqueViolationError)):
            async with brief_transaction(
                numbers, proof=proof(given, None), begins_next=lambda: True
            ):
                await numbers.execute(INSERT, n)
        assert (False, None) == (numbers.is_in_transaction(), numbers.outermost.begun)
    with pytest.raises(KeyError):
        async with brief_transaction(numbers, begins_next=lambda: True):
            raise KeyError
    assert (False, None) == (numbers.is_in_transaction(), numbers.outermost.begun)

    assert 1 == await numbers.fetchval(COUNT)


async def test_savepoints_inside_the_next_one(
    numbers: Telling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a handler begins inside one that was begun ahead is a savepoint, as ever."""
    await begin_ahead(numbers, monkeypatch)
    async with brief_transaction(numbers, proof=proof(1, None)):
        with suppress(KeyError):
            async with numbers.transaction():
                await numbers.execute(INSERT, 2)
                raise KeyError
        async with numbers.transaction():
            await numbers.execute(INSERT, 3)

    assert [1, 3] == [row[0] for row in await numbers.fetch("SELECT n FROM public.numbers")]
