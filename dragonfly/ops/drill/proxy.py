"""A TCP proxy in front of the server, which can go silent: it closes nothing, and says nothing.

Between it and who comes there is no TLS, since it listens on this machine alone; to the server it
speaks TLS as the address asks for it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import anyio

LENGTH = 4
PIECE = 65536
DEFAULT_PORT = 5432
# what a client sends before it speaks TLS, instead of a startup packet
_ASK_FOR_TLS = (8).to_bytes(LENGTH) + (80877103).to_bytes(LENGTH)
_WITHOUT_TLS = frozenset({"disable", "allow"})
_VERIFIED = frozenset({"verify-ca", "verify-full"})
_OF_THE_WAY = frozenset({"host", "port", "sslmode", "sslrootcert"})


@dataclass(eq=False)
class Link:
    """One connection through the proxy; ``purpose`` is the application_name it logged in with."""

    purpose: str
    silent: bool = False


class Proxy:
    """Every connection through it is known by its purpose, as ``dragonfly claim``."""

    def __init__(self, dsn: str) -> None:
        self._parts = parts = urlsplit(dsn)
        self._options = options = dict(parse_qsl(parts.query))
        self._host = parts.hostname or options["host"]
        self._port = parts.port or int(options.get("port", DEFAULT_PORT))
        self.dsn = ""
        self.logins: Counter[str] = Counter()
        self._links: set[Link] = set()

    def silence(self, *purposes: str) -> int:
        """Pass nothing more on for connections of these purposes (none: of all), closing none.

        What is opened later is served. How many are silent now.
        """
        for link in self._links:
            link.silent = link.silent or not purposes or link.purpose in purposes
        return sum(link.silent for link in self._links)

    def open_at(self, port: int) -> None:
        """It listens on this port of 127.0.0.1."""
        who, at, _ = self._parts.netloc.rpartition("@")
        kept = {name: value for name, value in self._options.items() if name not in _OF_THE_WAY}
        query = urlencode(kept | {"sslmode": "disable"})
        self.dsn = urlunsplit(
            self._parts._replace(netloc=f"{who}{at}127.0.0.1:{port}", query=query)
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it."""
        first = await reader.readexactly(LENGTH)
        first += await reader.readexactly(int.from_bytes(first) - LENGTH)
        link = self.greet(_purpose(first))
        self.logins[link.purpose] += 1
        self._links.add(link)
        try:
            server_reader, server_writer = await self._reach()
            try:
                server_writer.write(first)
                async with anyio.create_task_group() as group:
                    scope = group.cancel_scope
                    group.start_soon(self._pump, link, reader, server_writer, scope, True)
                    group.start_soon(self._pump, link, server_reader, writer, scope, False)
            finally:
                server_writer.close()
        finally:
            self._links.discard(link)

    def greet(self, purpose: str) -> Link:
        """Somebody comes."""
        return Link(purpose)

    async def carry(
        self, link: Link, data: bytes, to: asyncio.StreamWriter, *, request: bool
    ) -> bool:
        """Pass a piece of a request or an answer on; False cuts the connection."""
        if not link.silent:
            to.write(data)
            await to.drain()
        return True

    async def _pump(
        self,
        link: Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        scope: anyio.CancelScope,
        request: bool,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(PIECE):
                if not await self.carry(link, data, writer, request=request):
                    break
        if link.silent:
            await anyio.sleep_forever()  # neither side hears that the other one has gone
        scope.cancel()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            await self._secure(reader, writer)
        except BaseException:
            writer.close()
            raise
        return reader, writer

    async def _secure(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak TLS with the server if the address wants it and the server can."""
        mode = self._options.get("sslmode", "prefer")
        if mode in _WITHOUT_TLS:
            return
        writer.write(_ASK_FOR_TLS)
        if await reader.readexactly(1) == b"S":
            await writer.start_tls(self._context(mode), server_hostname=self._host)
        elif mode != "prefer":
            raise ConnectionRefusedError("the server speaks no TLS")

    def _context(self, mode: str) -> ssl.SSLContext:
        root = self._options.get("sslrootcert") or str(Path.home() / ".postgresql" / "root.crt")
        known = root if Path(root).is_file() else None
        context = ssl.create_default_context(cafile=known)
        context.check_hostname = mode == "verify-full"
        if mode not in _VERIFIED:
            context.verify_mode = ssl.CERT_NONE
        return context


def _purpose(startup: bytes) -> str:
    """The application_name in a startup packet; of a cancel request or the like: nothing."""
    words = startup[2 * LENGTH :].split(b"\0")
    return dict(zip(words[::2], words[1::2], strict=False)).get(b"application_name", b"").decode()


Kind = TypeVar("Kind", bound=Proxy)


@asynccontextmanager
async def proxy_to(dsn: str, kind: Callable[[str], Kind]) -> AsyncIterator[Kind]:
    """A proxy to the server of ``dsn``, open while the block runs; at its end all is cut."""
    between = kind(dsn)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is None:
            raise RuntimeError("a server's callback runs in a task")
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
