"""What stands between us and PostgreSQL is found out by experiment, and the queue works with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue_many
from dragonfly.events import ListenerConnected, ListenerUnavailable
from dragonfly.postgres.database import Pooling, open_database
from tests.support import drain

needs_pgbouncer = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="PgBouncer is not installed"
)


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, dsn: str) -> Iterator[tuple[str, str]]:
    """A pooling mode, and the address of this test's database through a PgBouncer in it."""
    parts = urlsplit(dsn)
    folder = Path(tempfile.mkdtemp(prefix="dragonfly-pgbouncer-"))
    folder.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host = parts.hostname or parse_qs(parts.query)["host"][0]
    name = parts.path.lstrip("/")
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{name} = host={host} port={parts.port or 5432} user={parts.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        f"pool_mode = {request.param}\ndefault_pool_size = 10\nunix_socket_dir =\n"
    )
    # PgBouncer refuses to run as root; the embedded server's own account can reach its socket
    account = ["-u", "pgserver"] if os.geteuid() == 0 else []
    with subprocess.Popen(["pgbouncer", "-q", *account, folder / "pgbouncer.ini"]) as pooler:
        yield request.param, f"postgresql://{parts.username}@127.0.0.1:{port}/{name}"
        pooler.terminate()
    shutil.rmtree(folder)


async def _answering(address: str) -> None:
    with anyio.fail_after(10):
        while True:
            try:
                conn = await asyncpg.connect(address, statement_cache_size=0)
            except OSError:
                await anyio.sleep(0.05)
            else:
                await conn.close()
                return


@needs_pgbouncer
async def test_pooling_is_found_and_lived_with(
    pooled: tuple[str, str], conn: asyncpg.Connection
) -> None:
    """Through either kind of pooler every job runs once; without LISTEN that is reported."""
    mode, address = pooled
    worker = Worker("counter", concurrency=4)
    ran: list[int] = []

    @worker.job("count")
    async def count(job: Job[dict[str, int]]) -> None:
        async with job.transaction() as tx:
            await tx.fetchval("SELECT $1::int", job.payload["n"])
            job.complete()
        ran.append(job.payload["n"])

    await enqueue_many(conn, "count", [{"n": n} for n in range(200)])
    await _answering(address)
    code, recorder = await drain(address, worker)

    assert code == 0
    assert list(range(200)) == sorted(ran)
    assert Pooling(mode) == (await open_database(address, "the address")).pooling
    kind = ListenerConnected if mode == "session" else ListenerUnavailable
    assert 1 == len(recorder.of(kind))


async def test_a_direct_address_has_sessions(dsn: str) -> None:
    """Without a pooler sessions are our own."""
    assert Pooling.SESSION == (await open_database(dsn, "the address")).pooling
