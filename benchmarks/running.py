"""Starts a contestant's driver in a process of its own and reads its lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.installing import ROOT, command
from benchmarks.peers import Peer
from benchmarks.stage import cpu_of

LINE_BYTES = 2**24


class Broken(Exception):
    """A contestant ended, or said nothing for too long; the message says where to look."""


@dataclass(slots=True)
class Driver:
    """One driver at work."""

    peer: Peer
    process: asyncio.subprocess.Process
    log: Path

    async def line(self) -> dict[str, Any]:
        """Its next line; Broken if it ended instead."""
        if self.process.stdout is None:
            raise Broken(f"{self.peer.name} has no output")
        text = await self.process.stdout.readline()
        if not text:
            raise Broken(f"{self.peer.name} ended without an answer; see {self.log}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    async def go(self) -> None:
        """Let a worker that is ready begin."""
        if self.process.stdin is None:
            raise Broken(f"{self.peer.name} has no input")
        self.process.stdin.write(b"go\n")
        await self.process.stdin.drain()

    def family(self) -> list[psutil.Process]:
        """The process and those that it started."""
        try:
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_seconds(self) -> float:
        """Processor time of the family so far."""
        return sum(map(cpu_of, self.family()))

    def resident_bytes(self) -> int:
        """Resident memory of the family now."""
        return sum(process.memory_info().rss for process in self.family())

    async def end(self) -> None:
        """Kill the whole family: a child left over would hold the pipe open for ever."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def driver(
    peer: Peer, cache: Path, word: str, dsn: str, **options: Any
) -> AsyncIterator[Driver]:
    """Run one command of a driver; it is killed when the block ends."""
    arguments, environment = command(peer, cache)
    log = cache / f"{peer.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            word,
            dsn,
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            cwd=ROOT,
            env=environment,
            limit=LINE_BYTES,
        )
    running = Driver(peer, process, log)
    try:
        yield running
    finally:
        await running.end()


async def answer(peer: Peer, cache: Path, word: str, dsn: str, **options: Any) -> dict[str, Any]:
    """The one line of a command that ends by itself."""
    async with driver(peer, cache, word, dsn, **options) as running:
        line = await running.line()
        await running.process.wait()
        return line
