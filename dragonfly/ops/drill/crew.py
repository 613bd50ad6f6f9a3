"""Worker processes of a drill: started, frozen, killed, and none of them left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from dragonfly.errors import DragonflyError

if TYPE_CHECKING:
    from asyncpg import Connection

START_SECONDS = 30.0
LOOK_SECONDS = 0.02
PACKAGE = Path(__file__).parents[3]
QUICK = {
    "DRAGONFLY_HEARTBEAT_SECONDS": "0.5",
    "DRAGONFLY_LEASE_SECONDS": "2",
    "DRAGONFLY_POLL_SECONDS": "0.5",
    "DRAGONFLY_GRACE_SECONDS": "10",
    "DRAGONFLY_BACKOFF_SCALE": "0.05",
    "DRAGONFLY_POOL_SIZE": "4",
    "DRAGONFLY_LOG_FORMAT": "json",
}
_RUNNING = """
SELECT EXISTS (SELECT FROM ops.worker_heartbeats WHERE pid = $1 AND status = 'running'
                  AND started_at >= $2)
"""


class DrillBroken(DragonflyError):
    """The drill itself could not be carried out; this says nothing about the promises."""


class Member:
    """One process of the crew."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended; None while it lives, negative for a signal."""
        return self._process.returncode

    @property
    def text(self) -> str:
        """What it said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal, if it still lives."""
        # Popen.send_signal() would poll, and take the exit code away from the event loop's watcher
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        # on Windows any number but those of its consoles ends the process at once
        self.signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    async def ends(self, seconds: float = 30.0) -> int:
        """Its exit code; DrillBroken if it lives on."""
        try:
            with anyio.fail_after(seconds):
                return await self._process.wait()
        except TimeoutError:
            raise DrillBroken(f"A worker process did not end within {seconds:g} s.") from None

    async def stop(self) -> int:
        """Ask it to stop, and wait."""
        if os.name == "nt":
            self.kill()
        else:
            self.signal(signal.SIGTERM)
        return await self.ends()


class Crew:
    """Starts members on one database; ``module`` is what ``python -m`` runs."""

    def __init__(
        self, dsn: str, folder: Path, module: str = "dragonfly", root: Path = PACKAGE
    ) -> None:
        self.dsn = dsn
        self._folder = folder
        self._module = module
        self._root = root
        self.members: list[Member] = []

    async def start(
        self, workers: str = "dragonfly.ops.drill.worker:worker", **settings: str
    ) -> Member:
        """One more process; it may still be starting when this returns."""
        log = self._folder / f"{len(self.members)}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, "run", "--workers", workers,
                cwd=self._folder, env=self._environment(settings),
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        member = Member(process, log)
        self.members.append(member)
        return member

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """This process's environment without its settings: a drill has its own."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DRAGONFLY_", "SUPABASE_")) and name != "PORT"
        }
        path = os.pathsep.join([str(self._root), *filter(None, [kept.get("PYTHONPATH")])])
        own = {"SUPABASE_DB_URL_DEV": self.dsn, "PYTHONPATH": path}
        return kept | QUICK | own | dict(settings)

    async def ready(self, conn: Connection, *members: Member) -> None:
        """Wait until these say that they run."""
        since: datetime = await conn.fetchval("SELECT clock_timestamp() - interval '1 minute'")
        for member in members:
            await until(conn, _RUNNING, member.pid, since, seconds=START_SECONDS, alive=member)

    async def started(self, conn: Connection, number: int, **settings: str) -> list[Member]:
        """So many processes, ready."""
        members = [await self.start(**settings) for _ in range(number)]
        await self.ready(conn, *members)
        return members

    async def stop(self) -> None:
        """Stop everybody who lives."""
        for member in self.members:
            if member.code is None:
                await member.stop()


@asynccontextmanager
async def crew(
    dsn: str, folder: Path, module: str = "dragonfly", root: Path = PACKAGE
) -> AsyncIterator[Crew]:
    """A crew; whoever is left at the end is killed."""
    together = Crew(dsn, folder, module, root)
    try:
        yield together
    finally:
        with anyio.CancelScope(shield=True):
            for member in together.members:
                member.kill()
            for member in together.members:
                await member.ends()


async def until(
    conn: Connection,
    sql: str,
    *values: object,
    expected: object = True,
    seconds: float,
    alive: Member | None = None,
) -> None:
    """Wait until a query answers what is expected; DrillBroken after so many seconds."""
    try:
        with anyio.fail_after(seconds):
            while await conn.fetchval(sql, *values) != expected:
                if alive is not None and alive.code is not None:
                    raise DrillBroken(
                        f"A worker process ended with {alive.code} instead of working."
                    )
                await anyio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise DrillBroken(
            f"What the drill waits for did not happen within {seconds:g} s."
        ) from None
