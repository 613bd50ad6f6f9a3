"""Every statement of the queue is accepted by the server against the migrated schema."""

from __future__ import annotations

import re

import asyncpg
import pytest

from dragonfly.queue import (
    bloat,
    claiming,
    fragments,
    heartbeats,
    keyed,
    migrate,
    schedules,
    statements,
    stats,
)

TEXTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": text
    for module in (statements, claiming, keyed, heartbeats, schedules, stats, bloat)
    for name, text in vars(module).items()
    if isinstance(text, str) and name.isupper() and name not in fragments.__dict__
}


def test_all_are_found() -> None:
    """The list that the other tests go by is not empty, and knows both modules."""
    assert {"claiming.CLAIM", "statements.RESCUE", "heartbeats._BEAT"} <= TEXTS.keys()


@pytest.mark.parametrize("name", TEXTS)
async def test_each_prepares(conn: asyncpg.Connection, name: str) -> None:
    """The statement parses, its tables, columns and types exist, and no parameter is left out."""
    prepared = await conn.prepare(TEXTS[name])

    numbers = {int(number) for number in re.findall(r"\$(\d+)", TEXTS[name])}
    assert set(range(1, len(prepared.get_parameters()) + 1)) == numbers


@pytest.mark.parametrize("name", TEXTS)
async def test_none_relies_on_the_search_path(conn: asyncpg.Connection, name: str) -> None:
    """The statement names its schema, so a session's search_path cannot send it elsewhere."""
    await conn.execute("SET search_path = ''")

    await conn.prepare(TEXTS[name])


@pytest.mark.parametrize("name", TEXTS)
def test_none_takes_the_transactions_time(name: str) -> None:
    """now() stands still inside a transaction; only the run_at of a new job may be that."""
    expected = 1 if name in {"statements.ENQUEUE_EACH", "statements.ENQUEUE_MANY"} else 0

    assert expected == TEXTS[name].count("now()")


async def test_the_migrations_own_statements(conn: asyncpg.Connection) -> None:
    """What the migrator reads and writes with prepares too."""
    for name in ("_LOCK", "_HAS_BOOKKEEPING", "_APPLIED", "_RECORD", "_FOREIGN"):
        await conn.prepare(getattr(migrate, name))
