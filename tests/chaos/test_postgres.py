"""PostgreSQL crashes, stays away, refuses writes or logins, or its disk is full."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path

import anyio
import asyncpg
import pytest

from dragonfly.ops.drill import history
from dragonfly.ops.drill.crew import Member, until
from dragonfly.ops.drill.scenarios import play
from dragonfly.postgres.failures import TROUBLE
from tests.chaos.runs import (
    PATIENT,
    all_done,
    crew_on,
    held,
    nobody_restarted,
    restart_at_random,
)
from tests.servers import OwnServer, own_server

JOBS = 120
_SOME_ENDED = f"SELECT ({history.ENDED}) >= 20"
_ALL_CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE application_name LIKE 'dragonfly %' AND pid <> pg_backend_pid()
"""
_WRITE = "SELECT pg_logical_emit_message(false, 'drill', repeat('x', 1000000))"
_FULL = """
CREATE FUNCTION drill.no_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER no_room BEFORE INSERT OR UPDATE ON ops.jobs FOR EACH STATEMENT
EXECUTE FUNCTION drill.no_room()
"""


async def test_every_kind_of_connection_is_cut(dsn: str, tmp_path: Path) -> None:
    """The server ends every kind of connection under load: the processes live, no job is lost."""
    (result,) = [result async for result in play(dsn, tmp_path, ["terminate"])]

    assert [] == [finding for finding in result.findings if not finding.held]


async def test_it_is_away_for_an_hour(tmp_path: Path, rng: random.Random) -> None:
    """An hour in pauses a thousandth as long, and longer than a lease: no job, no restart."""
    async with own_server() as server:
        await restart_at_random(
            server, tmp_path, rng, jobs=JOBS, times=1, seconds=0.05, away=3.6, scale=0.001
        )


async def test_writes_are_refused(tmp_path: Path) -> None:
    """A server that becomes read-only, as a standby is, costs no job and no restart."""
    async with own_server() as server, at_work(server, tmp_path) as (conn, members):
        await conn.execute("SET default_transaction_read_only = off")
        await conn.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await conn.execute("SELECT pg_reload_conf()")
        await all_say(members)
        await conn.execute("ALTER SYSTEM RESET default_transaction_read_only")
        await conn.execute("SELECT pg_reload_conf()")


async def test_no_connection_is_left(tmp_path: Path) -> None:
    """A server without room for a connection costs no job and no restart."""
    async with own_server() as server:
        await configure(server, "max_connections = 24")
        async with at_work(server, tmp_path) as (conn, members):
            for member in members:
                member.signal(signal.SIGSTOP)  # so that they come too late
            await until(conn, _ALL_CUT, expected=0, seconds=30)
            crowd = [each async for each in crowd_in(server)]
            for member in members:
                member.signal(signal.SIGCONT)
            await all_say(members, "TooManyConnections")
            for each in crowd:
                await each.close()


@pytest.mark.parametrize("really", [True, False])
async def test_the_disk_is_full(tmp_path: Path, really: bool) -> None:
    """A server that has no room to write, and crashes of it, costs no job and no restart.

    Or that says so, which is all that can be tried where no disk can be mounted.
    """
    with small_disk(megabytes=200) if really else nullcontext() as disk:
        async with own_server(within=disk) as server:
            await configure(server, "min_wal_size = '32MB'", "max_wal_size = '48MB'")
            async with at_work(server, tmp_path) as (conn, members):
                if disk is None:
                    await conn.execute(_FULL)
                    await all_say(members)
                    await conn.execute("DROP TRIGGER no_room ON ops.jobs")
                else:
                    ballast = fill(disk)
                    await write_until_it_breaks(conn)
                    await all_say(members)
                    ballast.unlink()
                    await bring_back(server)


# --- what they share ------------------------------------------------------------------------------


@asynccontextmanager
async def at_work(
    server: OwnServer, folder: Path
) -> AsyncIterator[tuple[asyncpg.Connection, list[Member]]]:
    """Two processes in the midst of their jobs; after the block they finish them all.

    None of them ends for what happens in it, and every promise holds.
    """
    conn = await asyncpg.connect(server.dsn)
    await history.prepare(conn)
    async with crew_on(server.dsn, folder) as team:
        members = await team.started(conn, 2, **PATIENT)
        await history.put_mixed(conn, JOBS, seconds=0.05)
        await until(conn, _SOME_ENDED, seconds=30)
        yield conn, members
        if conn.is_closed():
            conn = await asyncpg.connect(server.dsn)
        await all_done(conn)
        nobody_restarted(members)
        await team.stop()
    await held(conn)
    await conn.close()


async def all_say(members: list[Member], words: str = "the database is away") -> None:
    """Wait until each of them has said this."""
    with anyio.fail_after(60):
        while not all(words in member.text for member in members):
            await anyio.sleep(0.05)


async def crowd_in(server: OwnServer) -> AsyncIterator[asyncpg.Connection]:
    """Connections until there is no room for another."""
    with suppress(asyncpg.TooManyConnectionsError):
        while True:
            yield await asyncpg.connect(server.dsn)


async def configure(server: OwnServer, *lines: str) -> None:
    """Start the server again with these lines in its configuration."""
    with (server.folder / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    await server.stop()
    await server.start()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path | None]:
    """A disk of so many megabytes; None where nobody may mount one (the server then lies)."""
    with tempfile.TemporaryDirectory(prefix="dragonfly-disk-") as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", name]
        may = os.geteuid() == 0 and shutil.which("mount") is not None
        mounted = may and subprocess.run(mount, check=False, capture_output=True).returncode == 0
        try:
            yield Path(name) if mounted else None
        finally:
            if mounted:
                subprocess.run(["umount", name], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**20))
    return ballast


async def write_until_it_breaks(conn: asyncpg.Connection) -> None:
    """Write to the log of the server until it has no room for it."""
    with suppress(*TROUBLE):
        while True:
            await conn.execute(_WRITE)


async def bring_back(server: OwnServer) -> None:
    """Wait until the server answers; start it, if its crash was its end."""
    with anyio.fail_after(30):
        while True:
            try:
                await (await asyncpg.connect(server.dsn)).close()
            except (OSError, asyncpg.PostgresError):
                if not server.is_running():
                    await server.start()
                await anyio.sleep(0.1)
            else:
                return
