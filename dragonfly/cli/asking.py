"""One connection for one question, from a command; and who gives the command."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from dragonfly.cli.asyncs import run_async
from dragonfly.cli.reach import reach_database
from dragonfly.postgres.database import close
from dragonfly.queue.audit import Deed
from dragonfly.queue.migrate import require_schema
from dragonfly.settings import Settings, load_settings

if TYPE_CHECKING:
    from asyncpg import Connection

_Answer = TypeVar("_Answer")


def ask(
    question: Callable[[Connection], Awaitable[_Answer]], settings: Settings | None = None
) -> _Answer:
    """The answer of the configured database, whose schema must fit this version.

    Raises ConfigurationError with a sentence if it cannot be asked.
    """

    async def put_it() -> _Answer:
        async with reach_database(settings or load_settings()) as database:
            conn = await database.connect("command")
            try:
                await require_schema(conn)
                return await question(conn)
            finally:
                await close(conn)

    return run_async(put_it)


def deed(reason: str) -> Deed:
    """What the record of deeds is to say of this command: the user as this machine knows them."""
    try:
        return Deed(getpass.getuser(), reason)
    except (OSError, KeyError, ImportError):
        return Deed("unknown", reason)
