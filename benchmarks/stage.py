"""The server that all contestants share, and a fresh database for each run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil


@dataclass(slots=True)
class Stage:
    """``folder`` is the data folder of the server at ``dsn``; ``admin`` connects to it."""

    folder: Path
    dsn: str
    admin: asyncpg.Pool
    templates: set[str] = field(default_factory=set)
    _numbers: count[int] = field(default_factory=count)

    def address(self, database: str) -> str:
        """The address of another database of this server."""
        return urlunsplit(urlsplit(self.dsn)._replace(path=f"/{database}"))

    async def forget_the_disk(self) -> None:
        """Wait for no disk any more: for a trial, whose figures count for nothing."""
        await self.admin.execute("ALTER SYSTEM SET fsync = off")
        await self.admin.execute("SELECT pg_reload_conf()")

    @asynccontextmanager
    async def new_template(self, name: str, base: str = "template1") -> AsyncIterator[str]:
        """The address of a database to fill: a template once the block has ended well."""
        await self.admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{base}"')
        yield self.address(name)
        await self.vacuum(name)
        self.templates.add(name)

    @asynccontextmanager
    async def copy_of(self, template: str) -> AsyncIterator[str]:
        """The name of a database that is a copy of ``template`` while the block runs.

        Copying file by file ends with a checkpoint, so no run pays for what another wrote.
        """
        name = f"run_{next(self._numbers)}"
        await self.admin.execute(
            f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'
        )
        await self.admin.execute("CHECKPOINT")
        try:
            yield name
        finally:
            await self.admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def vacuum(self, database: str) -> None:
        """Bring the statistics of a filled database up to date."""
        conn = await asyncpg.connect(self.address(database))
        await conn.execute("VACUUM ANALYZE")
        await conn.close()

    async def wal_bytes(self) -> int:
        """How much the server has written to its log so far."""
        return int(await self.admin.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    async def transactions(self, database: str) -> int:
        """How many transactions a database has ended so far."""
        return int(
            await self.admin.fetchval(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1",
                database,
            )
        )

    def cpu_seconds(self) -> float:
        """Processor time of the server's processes, also of those that have ended."""
        pid = int((self.folder / "postmaster.pid").read_text("utf-8").split()[0])
        postmaster = psutil.Process(pid)
        own = postmaster.cpu_times()
        ended = getattr(own, "children_user", 0.0) + getattr(own, "children_system", 0.0)
        return float(ended + cpu_of(postmaster) + sum(map(cpu_of, postmaster.children())))

    @staticmethod
    def load() -> float:
        """Processes that want a processor, the contestants' own included, over the last minute."""
        return psutil.getloadavg()[0]


def cpu_of(process: psutil.Process) -> float:
    """Processor seconds of one process, none if it has ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
