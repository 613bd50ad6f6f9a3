"""A socket in front of a server's: it passes everything on until it is told to cut answers off."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

import anyio


class Wire:
    """Connections through it lose the answer to the first request that holds ``marked``."""

    def __init__(self, dsn: str, folder: Path) -> None:
        parts = urlsplit(dsn)
        self._server = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self.dsn = urlunsplit(parts._replace(query=f"host={folder}"))
        self.path = folder / ".s.PGSQL.5432"
        self.marked: bytes | None = None
        self.cuts = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it or its answers are cut off."""
        server_reader, server_writer = await asyncio.open_unix_connection(self._server)
        cut = asyncio.Event()
        with suppress(ConnectionError):
            async with anyio.create_task_group() as group:
                group.start_soon(self._requests, reader, server_writer, cut, group.cancel_scope)
                group.start_soon(self._answers, server_reader, writer, cut, group.cancel_scope)
        server_writer.close()
        writer.close()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        cut: asyncio.Event,
        scope: anyio.CancelScope,
    ) -> None:
        while data := await reader.read(65536):
            if self.marked is not None and self.marked in data:
                self.marked, self.cuts = None, self.cuts + 1
                cut.set()
            server.write(data)
            await server.drain()
        scope.cancel()

    async def _answers(
        self,
        server: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        cut: asyncio.Event,
        scope: anyio.CancelScope,
    ) -> None:
        while data := await server.read(65536):
            if cut.is_set():
                break  # the server has done it, and nobody hears so
            writer.write(data)
            await writer.drain()
        scope.cancel()


@asynccontextmanager
async def wire(dsn: str) -> AsyncIterator[Wire]:
    """A wire to the server of ``dsn`` (a socket), open while the block runs."""
    with tempfile.TemporaryDirectory(prefix="dragonfly-wire-") as folder:
        between = Wire(dsn, Path(folder))
        listening = await asyncio.start_unix_server(between.serve, between.path)
        try:
            yield between
        finally:
            listening.close()
