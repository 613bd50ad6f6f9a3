"""What the tests of chaos share: a history, a crew of real processes, a seed."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import Crew
from tests.chaos.runs import crew_on, say
from tests.process.conftest import traced

__all__ = ["traced"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a busy machine real processes take their time: a test of chaos may take longer."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture
def rng() -> random.Random:
    """A seeded source of chance; pytest shows the seed of a test that fails."""
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(2**32)))
    say(f"CHAOS_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
async def told(conn: asyncpg.Connection) -> asyncpg.Connection:
    """A connection to a database with the tables of a history."""
    await history.prepare(conn)
    return conn


@pytest.fixture
async def team(dsn: str, told: asyncpg.Connection, tmp_path: Path) -> AsyncIterator[Crew]:
    """A crew on that database, all of whom are gone at the end."""
    async with crew_on(dsn, tmp_path) as together:
        yield together
