"""Every statement of the queue is accepted by the server against the migrated schema."""

from __future__ import annotations

import re
from dataclasses import fields

import asyncpg
import pytest

from dragonfly.job import Claim
from dragonfly.queue import (
    audit,
    bloat,
    claiming,
    fragments,
    heartbeats,
    insight,
    keyed,
    migrate,
    pauses,
    schedules,
    sleepers,
    statements,
    stats,
    why,
)

MODULES = (
    statements, claiming, keyed, heartbeats, schedules, stats, bloat, insight, pauses, audit, why,
    sleepers,
)  # fmt: skip
TEXTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": text
    for module in MODULES
    for name, text in vars(module).items()
    if isinstance(text, str) and name.isupper() and name not in fragments.__dict__
}
# PostgreSQL numbers its own types below this, the same in every database
FIRST_OF_A_DATABASE = 16_384


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
async def test_no_type_has_to_be_looked_up(conn: asyncpg.Connection, name: str) -> None:
    """Each parameter and column has a type that every client knows, never one of the schema's."""
    prepared = await conn.prepare(TEXTS[name])

    kinds = [*prepared.get_parameters(), *(column.type for column in prepared.get_attributes())]
    assert [] == [kind for kind in kinds if kind.oid >= FIRST_OF_A_DATABASE]


@pytest.mark.parametrize("name", TEXTS)
async def test_none_relies_on_the_search_path(conn: asyncpg.Connection, name: str) -> None:
    """The statement names its schema, so a session's search_path cannot send it elsewhere."""
    await conn.execute("SET search_path = ''")

    await conn.prepare(TEXTS[name])


@pytest.mark.parametrize("name", TEXTS)
def test_none_takes_the_transactions_time(name: str) -> None:
    """now() stands still inside a transaction; only the run_at of a new job may be that."""
    adds = {"statements.ENQUEUE", "statements.ENQUEUE_EACH", "statements.ENQUEUE_MANY"}

    assert int(name in adds) == TEXTS[name].count("now()")


async def test_the_migrations_own_statements(conn: asyncpg.Connection) -> None:
    """What the migrator reads and writes with prepares too."""
    for name in ("_LOCK", "_HAS_BOOKKEEPING", "_APPLIED", "_RECORD", "_FOREIGN"):
        await conn.prepare(getattr(migrate, name))


def _fields(kind: type) -> list[str]:
    """The names that a row of this type has, in their order."""
    named: list[str] = list(getattr(kind, "_fields", ())) or [f.name for f in fields(kind)]
    return named


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("claiming.CLAIM_HEAD", Claim),
        ("claiming.CLAIM_HEAD_OF", Claim),
        ("claiming.CLAIM_BEHIND", Claim),
        ("keyed.CLAIM_KEYED", Claim),
        ("insight._COUNTS", insight.TypeCount),
        ("insight._WAITING", insight.Waiting),
        ("insight._STUCK", insight.StuckJob),
        ("insight._UNTAKEN", insight.Waiting),
        ("insight._DEAD", insight.DeadLetters),
        ("insight._WORKERS", insight.WorkerRow),
        ("insight._JOB", insight.JobDetail),
        ("insight._LIST", insight.JobLine),
        ("pauses._PAUSED", pauses.Pause),
        ("audit._ENTRIES", audit.Entry),
        ("schedules._LOOK", schedules.Seen),
        ("schedules._ROWS", schedules.ScheduleRow),
    ],
)
async def test_columns_are_the_fields(conn: asyncpg.Connection, name: str, kind: type) -> None:
    """What a statement answers has the names of the type that it is made into, in its order."""
    prepared = await conn.prepare(TEXTS[name])

    assert _fields(kind) == [attribute.name for attribute in prepared.get_attributes()]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (claiming.CLAIM, ["due_in", "suspects_wait", "keyed_wait"]),
        (claiming.CLAIM_SUSPECT, ["last_chance_waits"]),
    ],
)
async def test_what_a_claim_tells_comes_last(
    conn: asyncpg.Connection, statement: str, told: list[str]
) -> None:
    """The columns of a claim that tells of others are those of a claim, and then what it tells."""
    prepared = await conn.prepare(statement)

    names = [attribute.name for attribute in prepared.get_attributes()]
    assert [*Claim._fields, *told] == names
