"""Refused logins: three tries, then a door that is shut, then one try at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from dragonfly.errors import LoginRefused
from dragonfly.runtime.logins import LOGIN_PAUSE_SECONDS, LOGIN_TRIES, Logins

if TYPE_CHECKING:
    from asyncpg import Connection


class Server:
    """Refuses whoever asks, and counts."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.logins = Logins(lambda: self.now)

    async def refuse(self) -> Connection:
        self.asked += 1
        raise asyncpg.InvalidPasswordError("password authentication failed")

    async def try_often(self) -> int:
        """How many of ten tries reach the server."""
        before = self.asked
        for _ in range(10):
            with pytest.raises((LoginRefused, asyncpg.InvalidPasswordError)):
                await self.logins.open(self.refuse)
        return self.asked - before


async def test_after_three_refusals_a_try_every_twenty_minutes() -> None:
    """Three tries reach the server, then none for twenty minutes, then one at a time."""
    server = Server()
    assert LOGIN_TRIES == await server.try_often()
    for _ in range(3):
        server.now += LOGIN_PAUSE_SECONDS - 1
        assert 0 == await server.try_often()
        server.now += 2
        assert 1 == await server.try_often()


async def test_a_success_opens_the_door_again(dsn: str) -> None:
    """Once a login is accepted the count of refusals starts again."""
    server = Server()
    await server.try_often()
    server.now += LOGIN_PAUSE_SECONDS + 1
    conn = await server.logins.open(lambda: asyncpg.connect(dsn))
    await conn.close()
    assert LOGIN_TRIES == await server.try_often()
