"""Enough jobs in one call to be copied in: any text arrives as it was given, or nothing does."""

from __future__ import annotations

import asyncio
import enum
import itertools
import json
import random
import sys
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import asyncpg
import pytest

from dragonfly.errors import UnfitValue
from dragonfly.queue import bulk
from dragonfly.queue.bulk import enqueue_many
from tests.queue.rows import another, until_blocked

# what COPY, JSON or SQL could take for more than a text
SIGNS = (
    "\\", "\t", "\n", "\r", "\r\n", "\b", "\v", "\x1f", "\x7f", "N", ".", "n", "x41", "101", '"',
    "'", ",", "{", "}", "$1", "%", " ", "NULL", "é", "\u0085", "\u2028", "\ufeff", "\uffff",
    "\U0001f600",
)  # fmt: skip


class Urgency(int, enum.Enum):
    HIGH = 7


class Kind(str, enum.Enum):  # noqa: UP042 - as older code has them
    GREET = "greet\tall"


def nasty() -> list[str]:
    """Every pair of signs, and texts of any characters but those that PostgreSQL has not."""
    chance = random.Random(7)
    anything = [
        "".join(filter(fit, (chr(chance.randrange(1, sys.maxunicode + 1)) for _ in range(40))))
        for _ in range(500)
    ]
    return ["".join(pair) for pair in itertools.product(SIGNS, repeat=2)] + anything


def fit(character: str) -> bool:
    return not "\ud800" <= character <= "\udfff"


async def test_any_text(conn: asyncpg.Connection) -> None:
    """Payloads, their names, concurrency keys and job types may be any text that JSON can hold."""
    texts = nasty()
    job_type = "".join(SIGNS)

    ids = await enqueue_many(conn, job_type, [{t: t} for t in texts], concurrency_keys=texts)
    bare = await enqueue_many(conn, "bare", texts)

    rows = {one["id"]: one for one in await conn.fetch("SELECT * FROM ops.jobs")}
    assert [{t: t} for t in texts] == [json.loads(rows[one]["payload"]) for one in ids]
    assert texts == [rows[one]["concurrency_key"] for one in ids]
    assert {job_type} == {rows[one]["job_type"] for one in ids}
    assert texts == [json.loads(rows[one]["payload"]) for one in bare]


async def test_some_have_a_key(conn: asyncpg.Connection) -> None:
    """No concurrency key is none, whatever texts stand beside it."""
    keys = [None, r"\N", "N", "NULL"] * bulk.COPY_ROWS

    ids = await enqueue_many(conn, "greet", range(len(keys)), concurrency_keys=keys)

    rows = await conn.fetch("SELECT id, concurrency_key FROM ops.jobs ORDER BY id")
    assert list(zip(ids, keys, strict=True)) == [tuple(one) for one in rows]


@pytest.mark.parametrize("size", [1, bulk.PIECE_LENGTH, 10_000_000])
async def test_any_size(conn: asyncpg.Connection, size: int) -> None:
    """A job may be larger than what is sent at once, and stand between small ones."""
    payloads = [0] * bulk.COPY_ROWS + ["\\" * size] + [0] * bulk.COPY_ROWS

    ids = await enqueue_many(conn, "greet", payloads)

    sizes = await conn.fetch("SELECT length(payload #>> '{}') AS size FROM ops.jobs ORDER BY id")
    assert sorted(ids) == ids
    assert [1] * bulk.COPY_ROWS + [size] + [1] * bulk.COPY_ROWS == [one["size"] for one in sizes]


@pytest.mark.parametrize("count", [bulk.COPY_ROWS, 20_000])
async def test_any_iterable(conn: asyncpg.Connection, count: int) -> None:
    """Payloads may come from a generator or be the values of a dict; their order is the jobs'."""
    kinds: list[Iterable[int]] = [(n for n in range(count)), {n: n for n in range(count)}.values()]
    for payloads in kinds:
        ids = await enqueue_many(conn, "greet", payloads)

        rows = await conn.fetch("SELECT payload FROM ops.jobs WHERE id = ANY ($1) ORDER BY id", ids)
        assert sorted(ids) == ids
        assert list(map(str, range(count))) == [one["payload"] for one in rows]


async def test_a_list_that_grows_meanwhile(conn: asyncpg.Connection) -> None:
    """The payloads of a call are those that were there when it was made."""
    payloads = list(range(bulk.COPY_ROWS))
    asyncio.get_running_loop().call_soon(payloads.append, -1)

    ids = await enqueue_many(conn, "greet", payloads)

    assert payloads[:-1] == [
        int(one["payload"]) for one in await conn.fetch("SELECT payload FROM ops.jobs ORDER BY id")
    ]
    assert bulk.COPY_ROWS == len(ids) == len(payloads) - 1


async def test_what_is_given_means_the_same_in_any_session(conn: asyncpg.Connection) -> None:
    """Times, numbers and texts do not depend on how the session writes dates or letters."""
    at = datetime(
        31, 2, 3, 4, 5, 6, 789, tzinfo=timezone(timedelta(hours=-4, minutes=30, seconds=7))
    )
    origin = uuid.uuid4()
    async with conn.transaction():
        await conn.execute("SET LOCAL DateStyle = 'SQL, DMY'; SET LOCAL TimeZone = 'Asia/Kolkata'")
        await conn.execute("SET LOCAL client_encoding = 'LATIN1'")
        await enqueue_many(
            conn,
            Kind.GREET,
            ["Zoë €"] * bulk.COPY_ROWS,
            concurrency_keys=["Zoë €"] * bulk.COPY_ROWS,
            run_at=at,
            priority=Urgency.HIGH,
            max_attempts=True,
            due_at=datetime.max.replace(tzinfo=UTC),
            correlation_id=origin,
            parent_id=2**63 - 1,
        )

    rows = await conn.fetch(
        "SELECT DISTINCT job_type, payload, concurrency_key, run_at, priority, max_attempts,"
        "                due_at, correlation_id, parent_id FROM ops.jobs"
    )
    assert [
        (
            "greet\tall",
            '"Zoë €"',
            "Zoë €",
            at,
            7,
            1,
            datetime.max.replace(tzinfo=UTC),
            origin,
            2**63 - 1,
        )
    ] == [tuple(one) for one in rows]


@pytest.mark.parametrize(
    "payload", [{"n": float("nan")}, {"s": "\0"}, {"s": "\ud800"}, {"o": object}]
)
@pytest.mark.parametrize("kind", [list, iter])
async def test_one_payload_that_is_not_json(
    conn: asyncpg.Connection, payload: object, kind: type[Any]
) -> None:
    """It is refused before a job is sent: the caller's transaction and connection can go on."""
    payloads = [{}] * bulk.COPY_ROWS + [payload] + [{}] * bulk.COPY_ROWS
    for begin in (True, False):
        work = conn.transaction()
        if begin:
            await work.start()
        with pytest.raises(UnfitValue, match="RESULT_INVALID"):
            await enqueue_many(conn, "greet", kind(payloads))
        assert 0 == await conn.fetchval("SELECT count(*) FROM ops.jobs")
        if begin:
            await work.commit()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"priority": 40_000}, asyncpg.DataError),
        ({"priority": "1\t2"}, asyncpg.DataError),
        ({"priority": 1.5}, asyncpg.DataError),
        ({"max_attempts": 0}, asyncpg.CheckViolationError),
        ({"job_type": ""}, asyncpg.CheckViolationError),
        ({"job_type": "a\0b"}, asyncpg.CharacterNotInRepertoireError),
        ({"concurrency_keys": [*["a"] * (bulk.COPY_ROWS - 1), ""]}, asyncpg.CheckViolationError),
        (
            {"concurrency_keys": [*["a"] * (bulk.COPY_ROWS - 1), "\0"]},
            asyncpg.CharacterNotInRepertoireError,
        ),
        ({"concurrency_keys": [*["a"] * (bulk.COPY_ROWS - 1), "\ud800"]}, UnicodeEncodeError),
    ],
)
async def test_what_a_column_cannot_hold(
    conn: asyncpg.Connection, options: dict[str, Any], error: type[Exception]
) -> None:
    """It is refused, not bent, and nothing is left of the other jobs."""
    wanted: dict[str, Any] = {"job_type": "greet", "payloads": [{}] * bulk.COPY_ROWS} | options

    with pytest.raises(error):
        await enqueue_many(conn, **wanted)

    assert 0 == await conn.fetchval("SELECT count(*) FROM ops.jobs")


async def test_a_caller_who_gives_up(dsn: str, conn: asyncpg.Connection) -> None:
    """Cancelled while the ids are drawn, it leaves a connection that is free for the next call."""
    async with another(dsn) as holder, another(dsn) as caller:
        async with holder.transaction():
            await holder.execute("ALTER SEQUENCE ops.jobs_id_seq CACHE 1")  # nobody draws now
            adding = asyncio.ensure_future(enqueue_many(caller, "greet", [{}] * bulk.COPY_ROWS))
            await until_blocked(conn, 1)
            adding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await adding
        ids = await enqueue_many(caller, "greet", [{}] * bulk.COPY_ROWS)

    assert ids == [one["id"] for one in await conn.fetch("SELECT id FROM ops.jobs ORDER BY id")]
