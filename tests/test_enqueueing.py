"""docs/enqueueing.md: its code, file and commands do what it says, with every driver it names."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.ops.test_commands import Shell, shell

TEXT = (Path(__file__).parents[1] / "docs" / "enqueueing.md").read_text(encoding="utf-8")
_CODE = re.compile(r"```python\n# (\w+)\.py\n(.+?)```", re.DOTALL)
_LINES = re.compile(r"```jsonl\n(.+?)```", re.DOTALL)
_SQL = re.compile(r"```sql\n(SELECT pg_advisory_lock.+?)```", re.DOTALL)
_SHELL = re.compile(r"^dragonfly (enqueue .+)$", re.MULTILINE)
MODULES = dict(_CODE.findall(TEXT))

__all__ = ["shell"]  # a fixture


def module(name: str) -> dict[str, Any]:
    """The names of this example, once it has been run."""
    names: dict[str, Any] = {"__name__": name}
    exec(MODULES[name], names)
    return names


@pytest.fixture
async def orders(conn: asyncpg.Connection) -> asyncpg.Connection:
    """A connection to a database that has the table of the examples."""
    await conn.execute("CREATE TABLE orders (number text PRIMARY KEY)")
    return conn


async def ordered(conn: asyncpg.Connection) -> tuple[list[str], list[tuple[int, str, Any, str]]]:
    """The numbers of all orders, and the jobs."""
    rows = await conn.fetch("SELECT id, job_type, payload, unique_key FROM ops.jobs ORDER BY id")
    numbers = await conn.fetch("SELECT number FROM orders ORDER BY 1")
    jobs = [(row[0], row[1], json.loads(row[2]), row[3]) for row in rows]
    return [row["number"] for row in numbers], jobs


def confirmed(job_id: int, number: str) -> tuple[int, str, Any, str]:
    """The job that belongs to an order."""
    return job_id, "confirm", {"number": number}, number


async def test_python(orders: asyncpg.Connection) -> None:
    """With asyncpg: in the caller's transaction, debounced, and many at once."""
    example = module("orders")

    first = await example["order"](orders, "A1")
    with pytest.raises(asyncpg.UniqueViolationError):
        await example["order"](orders, "A1")
    moved = await example["touch"](orders, "A1")
    waits = await orders.fetchval("SELECT run_at > clock_timestamp() FROM ops.jobs")
    many = await example["remind"](orders, ["A1", "B2", "A1"])

    numbers, jobs = await ordered(orders)
    assert (first, True, first) == (moved, waits, jobs[0][0])
    assert (["A1"], confirmed(first, "A1")) == (numbers, jobs[0])
    assert [many[0], many[1]] == [job[0] for job in jobs[1:]]
    assert many[0] == many[2]


async def test_sqlalchemy_async(dsn: str, orders: asyncpg.Connection) -> None:
    """SQLAlchemy's async session: the order and its job are one commit, or none."""
    order = module("orders_async")["order"]
    engine = create_async_engine(_url(dsn, "asyncpg"))
    try:
        async with AsyncSession(engine) as session:
            job_id = await order(session, "A1")
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                await order(session, "A1")
            second = await order(session, "B2")
    finally:
        await engine.dispose()

    expected = [confirmed(job_id, "A1"), confirmed(second, "B2")]
    assert (["A1", "B2"], expected) == await ordered(orders)


async def test_sqlalchemy_sync(dsn: str, orders: asyncpg.Connection) -> None:
    """SQLAlchemy over psycopg: the same."""
    order = module("orders_sync")["order"]
    engine = sqlalchemy.create_engine(_url(dsn, "psycopg"))
    try:
        with Session(engine) as session:
            job_id = order(session, "A1")
            with pytest.raises(sqlalchemy.exc.IntegrityError):
                order(session, "A1")
            second = order(session, "B2")
    finally:
        engine.dispose()

    expected = [confirmed(job_id, "A1"), confirmed(second, "B2")]
    assert (["A1", "B2"], expected) == await ordered(orders)


async def test_psycopg(dsn: str, orders: asyncpg.Connection) -> None:
    """psycopg alone: the same."""
    order = module("orders_psycopg")["order"]
    with psycopg.connect(dsn) as connection:
        job_id = order(connection, "A1")
        with pytest.raises(psycopg.errors.UniqueViolation):
            order(connection, "A1")
        second = order(connection, "B2")

    expected = [confirmed(job_id, "A1"), confirmed(second, "B2")]
    assert (["A1", "B2"], expected) == await ordered(orders)


async def test_shell(shell: Shell, conn: asyncpg.Connection) -> None:
    """The commands of the page, on its own file, print the ids of the jobs that they add."""
    (lines,) = _LINES.findall(TEXT)
    (shell.folder / "jobs.jsonl").write_text(lines, encoding="utf-8")
    (shell.folder / "payloads.jsonl").write_text('{"name": "Bo"}\n', encoding="utf-8")

    answers = [await shell.run(*shlex.split(words)) for words in _SHELL.findall(TEXT)]

    rows = await conn.fetch("SELECT job_type, payload->>'name', priority FROM ops.jobs ORDER BY id")
    assert [(0, 1), (0, 3), (0, 1)] == [(one.code, len(one.out.split())) for one in answers]
    assert [
        ("greet", "Ada", 0), ("greet", "Ada", 5), ("greet", "Zoë", 0), ("stamp", None, 0),
        ("greet", "Bo", -5),
    ] == [tuple(row) for row in rows]  # fmt: skip


@pytest.mark.unpooled("transaction", reason="a session of its own listens")
async def test_who_listens_by_hand_is_rung(dsn: str, conn: asyncpg.Connection) -> None:
    """A session that says what the page tells it to hears of jobs of that type, and no other."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(dsn)
    await listener.add_listener("ops_jobs", lambda *said: heard.put_nowait(said[-1]))
    (said,) = _SQL.findall(TEXT)
    await listener.execute(said)
    for job_type in ("other", "greet"):
        await conn.execute("INSERT INTO ops.jobs (job_type) VALUES ($1)", job_type)

    async with asyncio.timeout(20):
        assert "greet" == await heard.get()
    await listener.close()


def test_every_example_is_tested() -> None:
    """The page has the examples that the tests above run, and no other."""
    expected = {"orders", "orders_async", "orders_sync", "orders_psycopg"}
    assert expected == MODULES.keys()
    assert TEXT.count("```python") == len(MODULES)


def _url(dsn: str, driver: str) -> str:
    return urlsplit(dsn)._replace(scheme=f"postgresql+{driver}").geturl()
