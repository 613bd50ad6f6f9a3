"""What the tests of real processes share."""

from __future__ import annotations

import asyncpg
import pytest

from tests.process.scripted import make_trace


@pytest.fixture
async def traced(dsn: str, conn: asyncpg.Connection) -> str:
    """The address of a database with the table of traces."""
    await make_trace(conn)
    return dsn
