"""What a row of ops.jobs may say of itself, whoever writes it."""

from __future__ import annotations

import itertools

import asyncpg
import pytest

HELD, ENDED = ("processing",), ("completed", "failed", "cancelled")
WORDS = ("pending", *HELD, *ENDED, "scheduled")


@pytest.mark.parametrize("status", WORDS)
async def test_state(conn: asyncpg.Connection, status: str) -> None:
    """A token and a lease stand in a held job alone, a time of its end in an ended one alone."""
    accepted = []
    for token, lease, finish in itertools.product((False, True), repeat=3):
        try:
            await conn.execute(
                "INSERT INTO ops.jobs (job_type, status, lock_token, locked_until, finished_at)"
                " SELECT 'greet', $1, $2, CASE WHEN $3 THEN now() END,"
                "        CASE WHEN $4 THEN now() END",
                status,
                7 if token else None,
                lease,
                finish,
            )
        except asyncpg.CheckViolationError:
            continue
        accepted.append((token, lease, finish))

    known = status in WORDS[:-1]
    assert [(status in HELD, status in HELD, status in ENDED)] * known == accepted
