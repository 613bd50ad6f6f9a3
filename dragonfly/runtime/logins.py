"""One door for all logins of a process: poolers lock out an address that keeps being refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from dragonfly.errors import LoginRefused
from dragonfly.postgres.failures import is_login_refusal

if TYPE_CHECKING:
    from asyncpg import Connection

LOGIN_TRIES = 3
LOGIN_PAUSE_SECONDS = 1200.0


class Logins:
    """Lets three refusals happen, whoever of the process asks; then shuts for twenty minutes.

    After that a single try decides whether it shuts again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused = 0
        self._trying = 0
        self._shut_until = float("-inf")
        self._changed = asyncio.Condition()

    async def open(self, connect: Callable[[], Awaitable[Connection]]) -> Connection:
        """A connection from ``connect``; LoginRefused without asking the server while shut."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.shut or self._has_room())
            if self.shut:
                raise LoginRefused("logins were refused: the next try is some minutes away")
            self._trying += 1
        try:
            conn = await connect()
        except BaseException as error:
            self._failed(refused=isinstance(error, LoginRefused) or is_login_refusal(error))
            raise
        else:
            self._refused = 0
            return conn
        finally:
            self._trying -= 1
            async with self._changed:
                self._changed.notify_all()

    @property
    def shut(self) -> bool:
        """Whoever asked now would be turned away; may be read from any thread."""
        return self._clock() < self._shut_until

    def _has_room(self) -> bool:
        return self._refused + self._trying < LOGIN_TRIES

    def _failed(self, *, refused: bool) -> None:
        if refused:
            self._refused += 1
        if self._refused >= LOGIN_TRIES:
            self._refused = LOGIN_TRIES - 1
            self._shut_until = self._clock() + LOGIN_PAUSE_SECONDS
