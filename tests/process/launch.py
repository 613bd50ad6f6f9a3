"""Starts ``python -m dragonfly`` for a test, reads what it says, and sends it signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

ROOT = Path(__file__).parents[2]
QUICK = {
    "DRAGONFLY_HEARTBEAT_SECONDS": "0.2",
    "DRAGONFLY_LEASE_SECONDS": "1",
    "DRAGONFLY_POLL_SECONDS": "0.5",
    "DRAGONFLY_GRACE_SECONDS": "10",
    "DRAGONFLY_BACKOFF_SCALE": "0.01",
    "DRAGONFLY_POOL_SIZE": "10",
    "PORT": "0",
}


def environment(dsn: str | None, **changes: str) -> dict[str, str]:
    """This process's environment without its settings, with quick ones instead."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DRAGONFLY_", "SUPABASE_")) and name != "PORT"
    }
    address = {} if dsn is None else {"SUPABASE_DB_URL_DEV": dsn}
    return kept | QUICK | address | changes


class Dragonfly:
    """A running command: its lines so far, its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output: list[str] = []
        self._news = anyio.Event()

    async def read(self) -> None:
        """Collect standard output (standard error goes there too) until its end."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            self.output.append(raw.decode())
            self._news.set()
            self._news = anyio.Event()
        self._news.set()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log lines, parsed."""
        return [json.loads(line) for line in self.output if line.startswith("{")]

    @property
    def text(self) -> str:
        """Everything it said."""
        return "".join(self.output)

    async def says(self, wanted: str, *, count: int = 1, seconds: float = 20) -> dict[str, Any]:
        """The ``count``-th log line whose message contains ``wanted``."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines if wanted in line["message"]]

        await self._until(lambda: len(found()) >= count, f"{wanted!r} ({count})", seconds)
        return found()[count - 1]

    async def _until(self, true: Callable[[], bool], what: str, seconds: float) -> None:
        try:
            with anyio.fail_after(seconds):
                while not true():
                    news = self._news
                    assert self.process.returncode is None, f"ended before {what}:\n{self.text}"
                    await news.wait()
        except TimeoutError:
            raise AssertionError(f"never said {what}:\n{self.text}") from None

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to this process alone."""
        self.process.send_signal(number)

    async def ends(self, seconds: float = 20) -> int:
        """Its exit code."""
        try:
            with anyio.fail_after(seconds):
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"did not end within {seconds} s:\n{self.text}") from None


@asynccontextmanager
async def dragonfly(
    *args: str, dsn: str | None, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> AsyncIterator[Dragonfly]:
    """``python -m dragonfly ARGS`` while the block runs; what is left of it then is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dragonfly", *args, cwd=cwd,
        env=environment(dsn, PYTHONPATH=str(ROOT), **(env or {})),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    running = Dragonfly(process)
    async with anyio.create_task_group() as group:
        group.start_soon(running.read)
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.wait()


@asynccontextmanager
async def workers(
    dsn: str, *names: str, args: tuple[str, ...] = (), **env: str
) -> AsyncIterator[Dragonfly]:
    """``dragonfly run`` with workers, by default of ``scripted``, once each of them has started."""
    chosen = names or ("worker",)
    scripted = "tests.process.scripted"
    where = ",".join(name if ":" in name else f"{scripted}:{name}" for name in chosen)
    async with dragonfly("run", "--workers", where, *args, dsn=dsn, env=env) as running:
        await running.says("started as", count=len(chosen))
        yield running


async def run_to_end(
    dsn: str | None, *args: str, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> Dragonfly:
    """The command, after its end."""
    async with dragonfly(*args, dsn=dsn, cwd=cwd, env=env) as command:
        await command.ends(30)
    return command
