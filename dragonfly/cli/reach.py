"""From settings to a database that answers: the address, or the embedded server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import asyncpg

from dragonfly.backoff import pause_seconds
from dragonfly.errors import ConfigurationError
from dragonfly.postgres.database import Database, close, open_database
from dragonfly.postgres.embedded import embedded_server
from dragonfly.postgres.failures import describe
from dragonfly.queue.migrate import migrate
from dragonfly.settings import EMBEDDED_FOLDER, Settings

Waiting = Callable[[str, float], None]


@asynccontextmanager
async def reach_database(
    settings: Settings, *, embedded: Path = EMBEDDED_FOLDER, waiting: Waiting | None = None
) -> AsyncIterator[Database]:
    """Log in once to the database of ``settings``; in dev without an address, run one.

    The embedded server is migrated at once. Raises ConfigurationError with a sentence; but a
    database that does not answer is waited for if ``waiting`` is given, which is told each time.
    """
    dsn = settings.database_url
    async with AsyncExitStack() as stack:
        if dsn is None:
            if settings.mode == "prod":
                raise ConfigurationError(
                    "SUPABASE_MODE is prod but SUPABASE_DB_URL_PROD is not set; "
                    "set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
                )
            server = embedded_server(embedded)
            dsn = await anyio.to_thread.run_sync(server.__enter__)
            stack.callback(server.__exit__, None, None, None)
        variable = f"SUPABASE_DB_URL_{settings.mode.upper()}"
        database = await _log_in(dsn, variable, waiting, settings.backoff_scale)
        if settings.database_url is None:
            conn = await database.connect("migrate")
            try:
                await migrate(conn)
            finally:
                await close(conn)
        yield database


async def _log_in(dsn: str, variable: str, waiting: Waiting | None, scale: float) -> Database:
    failures = 0
    while True:
        try:
            return await open_database(dsn, variable)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            if waiting is None:
                raise ConfigurationError(
                    f"The database of {variable} does not answer ({describe(error)}); "
                    "check host, port and network, then start again."
                ) from error
            failures += 1
            pause = pause_seconds(failures, scale)
            waiting(describe(error), pause)
            await anyio.sleep(pause)
