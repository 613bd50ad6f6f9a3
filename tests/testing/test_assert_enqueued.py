"""An assertion about pending jobs that says what was there instead."""

from __future__ import annotations

import textwrap
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from pydantic import BaseModel

from dragonfly import enqueue, enqueue_many
from dragonfly.testing import assert_enqueued

KEY = UUID("00000000-0000-0000-0000-000000000007")


class Stamp(BaseModel):
    name: str
    key: UUID


def report(error: pytest.ExceptionInfo[AssertionError]) -> list[str]:
    """What the failure says, line by line."""
    return str(error.value).splitlines()


def lines(text: str) -> list[str]:
    """A block of this file, line by line."""
    return textwrap.dedent(text).strip().splitlines()


async def test_a_part_of_the_payload_is_enough(conn: asyncpg.Connection) -> None:
    """A job matches if its payload contains what is asked for, as JSON has it."""
    at = {"city": "Albany", "floors": [1, 2]}
    job_id = await enqueue(conn, "stamp", {"name": "Ada", "key": KEY, "at": at}, priority=3)
    await enqueue(conn, "greet", {"name": "Ada"})

    asked: list[Any] = [
        None,
        {},
        {"name": "Ada"},
        {"key": KEY},
        {"at": {"city": "Albany"}},
        {"name": "Ada", "at": {"city": "Albany", "floors": [1, 2]}},
        Stamp(name="Ada", key=KEY),
    ]
    found = [job for payload in asked for job in await assert_enqueued(conn, "stamp", payload)]

    assert 7 * [(job_id, 3, str(KEY))] == [
        (job.id, job.priority, job.payload["key"]) for job in found
    ]


async def test_unique_keys_and_numbers(conn: asyncpg.Connection) -> None:
    """A key narrows the question, a count makes it exact, and none means none."""
    ids = await enqueue_many(conn, "stamp", [{"n": n} for n in range(3)])
    keyed = await enqueue(conn, "stamp", {"n": 0}, unique_key="zero")

    assert [*ids, keyed] == [job.id for job in await assert_enqueued(conn, "stamp", count=4)]
    assert [keyed] == [job.id for job in await assert_enqueued(conn, "stamp", unique_key="zero")]
    assert [ids[0], keyed] == [job.id for job in await assert_enqueued(conn, "stamp", {"n": 0})]
    assert [] == await assert_enqueued(conn, "stamp", {"n": 7}, count=0)


async def test_only_pending_jobs_count(conn: asyncpg.Connection) -> None:
    """What has ended was enqueued some other time."""
    await enqueue(conn, "stamp", {})
    await conn.execute("UPDATE ops.jobs SET status = 'completed', finished_at = now()")

    await assert_enqueued(conn, "stamp", count=0)


async def test_a_failure_names_the_differences(conn: asyncpg.Connection) -> None:
    """It shows each job of the type and what of it does not fit, and the other types."""
    await enqueue(conn, "stamp", {"name": "Ada", "at": {"city": "Troy"}, "ink": True})
    await enqueue(conn, "stamp", {"name": "Bob"}, unique_key="bob")
    await enqueue_many(conn, "greet", [{}, {}])
    await enqueue(conn, "bill", {})
    wanted = {"name": "Ada", "at": {"city": "Albany"}, "ink": 1}

    with pytest.raises(AssertionError) as error:
        await assert_enqueued(conn, "stamp", wanted, unique_key="ada")

    assert lines("""
        expected a pending 'stamp' job with payload \
{"name": "Ada", "at": {"city": "Albany"}, "ink": 1} with unique key "ada", found none
          job 1: its unique key is null, not "ada"; at.city is "Troy", not "Albany"; \
ink is true, not 1
          job 2: its unique key is "bob", not "ada"; name is "Bob", not "Ada"; at is missing; \
ink is missing
          other pending jobs: 1 'bill', 2 'greet'
    """) == report(error)


async def test_a_failure_about_a_number(conn: asyncpg.Connection) -> None:
    """Too many are shown as well, and a long list is cut."""
    await enqueue_many(conn, "stamp", [{"n": n} for n in range(8)])

    with pytest.raises(AssertionError) as none:
        await assert_enqueued(conn, "stamp", {"n": 1}, count=0)
    with pytest.raises(AssertionError) as two:
        await assert_enqueued(conn, "stamp", {"n": 1}, count=2)

    assert lines("""
        expected no pending 'stamp' jobs with payload {"n": 1}, found 1
          job 1: n is 0, not 1
          job 2: is one
          job 3: n is 2, not 1
          job 4: n is 3, not 1
          job 5: n is 4, not 1
          and 3 more of this type
          other pending jobs: none
    """) == report(none)
    assert "expected 2 pending 'stamp' jobs with payload {\"n\": 1}, found 1" == report(two)[0]


async def test_long_values_are_cut(conn: asyncpg.Connection) -> None:
    """A difference stays a line."""
    await enqueue(conn, "stamp", {"text": "x" * 1000})

    with pytest.raises(AssertionError) as error:
        await assert_enqueued(conn, "stamp", {"text": "y" * 1000})

    assert f'  job 1: text is "{"x" * 58}…, not "{"y" * 58}…' == report(error)[1]


async def test_an_empty_queue_says_so(conn: asyncpg.Connection) -> None:
    """Nothing there is said in one line."""
    with pytest.raises(AssertionError) as error:
        await assert_enqueued(conn, "stamp")

    assert lines("""
        expected a pending 'stamp' job, found none
          other pending jobs: none
    """) == report(error)
