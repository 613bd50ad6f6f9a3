"""A TCP proxy in front of a test's server: it goes silent, cuts answers off, or is slow."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import anyio

LENGTH = 4


@dataclass(eq=False)
class Link:
    """One connection through the proxy; ``purpose`` is the application_name it logged in with."""

    purpose: str
    silent: bool = False
    cut: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Every connection through it is known by its purpose, as ``dragonfly claim``.

    ``marked``: the next request of such bytes is passed on, its answer lost and its connection
    closed. ``delay``: seconds that every piece of a message waits, each way.
    """

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._parts = parts
        host = parts.hostname or parse_qs(parts.query)["host"][0]
        self._host, self._port = host, parts.port or 5432
        self.dsn = ""
        self.marked: bytes | None = None
        self.cuts = 0
        self.delay = 0.0
        self.logins: Counter[str] = Counter()
        self._links: set[Link] = set()
        self._deaf: set[str] = set()

    def silence(self, *purposes: str, newcomers: bool = False) -> int:
        """Pass nothing more on for connections of these purposes (none: of all), closing none.

        With ``newcomers`` for those that are opened later, too. How many are silent now.
        """
        for link in self._links:
            link.silent = link.silent or not purposes or link.purpose in purposes
        if newcomers:
            self._deaf |= set(purposes) or {""}
        return sum(link.silent for link in self._links)

    def let_newcomers_in(self) -> None:
        """What is opened from now on is served; what is silent stays so."""
        self._deaf.clear()

    def open_at(self, port: int) -> None:
        """It listens on this port of 127.0.0.1."""
        name, user = self._parts.path, self._parts.username
        self.dsn = f"postgresql://{user}@127.0.0.1:{port}{name}?sslmode=disable"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it or its answers are cut off."""
        first = await reader.readexactly(LENGTH)
        first += await reader.readexactly(int.from_bytes(first) - LENGTH)
        link = Link(_purpose(first))
        link.silent = bool(self._deaf & {link.purpose, ""})
        self.logins[link.purpose] += 1
        self._links.add(link)
        server_reader, server_writer = await self._reach()
        server_writer.write(first)
        try:
            async with anyio.create_task_group() as group:
                scope = group.cancel_scope
                group.start_soon(self._requests, link, reader, server_writer, scope)
                group.start_soon(self._answers, link, server_reader, writer, scope)
        finally:
            self._links.discard(link)
            server_writer.close()
            writer.close()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host, self._port)

    async def _requests(
        self,
        link: Link,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        scope: anyio.CancelScope,
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if link.silent:
                    continue
                if self.marked is not None and self.marked in data:
                    self.marked, self.cuts = None, self.cuts + 1
                    link.cut.set()
                await self._pass_on(data, server)
        scope.cancel()

    async def _answers(
        self,
        link: Link,
        server: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        scope: anyio.CancelScope,
    ) -> None:
        with suppress(ConnectionError):
            while data := await server.read(65536):
                if link.cut.is_set():
                    break  # the server has done it, and nobody hears so
                if not link.silent:
                    await self._pass_on(data, writer)
        scope.cancel()

    async def _pass_on(self, data: bytes, to: asyncio.StreamWriter) -> None:
        if self.delay:
            await asyncio.sleep(self.delay)
        to.write(data)
        await to.drain()


def _purpose(startup: bytes) -> str:
    """The application_name in a startup packet; of a cancel request or the like: nothing."""
    words = startup[2 * LENGTH :].split(b"\0")
    return dict(zip(words[::2], words[1::2], strict=False)).get(b"application_name", b"").decode()


@asynccontextmanager
async def proxy(dsn: str) -> AsyncIterator[Proxy]:
    """A proxy to the server of ``dsn``, open while the block runs; at its end all is cut."""
    between = Proxy(dsn)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            # asyncio's own callback would report a cancelled task as an error
            # and a server that is away has no socket: OSError
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await between.serve(reader, writer)
        finally:
            writer.close()
            tasks.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    between.open_at(listening.sockets[0].getsockname()[1])
    try:
        yield between
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
