"""A PostgreSQL for tests: one server a run, one migrated template, one copy of it a test."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dragonfly.postgres.database import close, connect
from dragonfly.postgres.embedded import embedded_server, quick_folder
from dragonfly.queue.migrate import migrate


def database_dsn(server: str, name: str) -> str:
    """The address of another database on the same server."""
    parts = urlsplit(server)
    return urlunsplit(parts._replace(path=f"/{name}"))


class PostgresServer:
    """A server on which databases may be created; ``dsn`` is its address.

    ``owner``, the name and password of a role, is whose the databases are and who logs in to them;
    None: whoever ``dsn`` names.
    """

    def __init__(self, dsn: str, owner: tuple[str, str] | None = None) -> None:
        self.dsn = dsn
        self.owner = owner
        self._template: str | None = None

    def address(self, name: str) -> str:
        """The address of a database of this server, logged in to as its owner."""
        parts = urlsplit(database_dsn(self.dsn, name))
        if self.owner is None:
            return urlunsplit(parts)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{':'.join(self.owner)}@{place}"))

    def creation(self, name: str, options: str = "") -> str:
        """The statement that creates a database for its owner."""
        whose = f"OWNER {self.owner[0]}" if self.owner else ""
        return f'CREATE DATABASE "{name}" {whose} {options}'

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The address of a migrated database that exists as long as the block."""
        name = f"dragonfly_test_{secrets.token_hex(6)}"
        template = await self.template()
        # a copy by WAL takes no checkpoint, which would make every other test wait
        await self.execute(self.creation(name, f'TEMPLATE "{template}" STRATEGY wal_log'))
        try:
            yield self.address(name)
        finally:
            await self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def template(self) -> str:
        """The name of the migrated database from which the others are copied."""
        if self._template is None:
            name = f"dragonfly_template_{secrets.token_hex(4)}"
            await self.execute(self.creation(name))
            self._template = name
            conn = await connect(self.address(name), "test")
            try:
                await migrate(conn)
            finally:
                await close(conn)
        return self._template

    async def execute(self, sql: str) -> None:
        """Run a statement on the server's own database."""
        conn = await connect(self.dsn, "test")
        try:
            await conn.execute(sql)
        finally:
            await close(conn)

    async def aclose(self) -> None:
        """Remove the template."""
        if self._template is not None:
            await self.execute(f'DROP DATABASE "{self._template}" WITH (FORCE)')
            self._template = None


@contextmanager
def postgres_server(dsn: str | None = None) -> Iterator[PostgresServer]:
    """The server at ``dsn``, whose role must be allowed to create databases, or an embedded one.

    That one's files are in ``/dev/shm`` where there is room: a copy costs a tenth there.
    For a fixture of the whole session; outside an event loop, which it runs itself at the end.
    """
    if dsn:
        server = PostgresServer(dsn)
        try:
            yield server
        finally:
            asyncio.run(server.aclose())
        return
    with (
        tempfile.TemporaryDirectory(prefix="dragonfly-test-", dir=quick_folder()) as folder,
        embedded_server(Path(folder) / "pg") as address,
    ):
        server = PostgresServer(address)
        # what a crash of the machine would lose is nobody's data here
        asyncio.run(server.execute("ALTER SYSTEM SET fsync = off"))
        # it may be in memory, where a gigabyte of log is too much
        asyncio.run(server.execute("ALTER SYSTEM SET max_wal_size = '256MB'"))
        asyncio.run(server.execute("SELECT pg_reload_conf()"))
        yield server
