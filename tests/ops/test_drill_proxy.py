"""The drill's proxy reaches the server as its address asks: over TLS, verified, or not at all."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from dragonfly.ops.drill.proxy import Proxy, proxy_to

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")
STARTUP = b"user\0me\0application_name\0dragonfly claim\0\0"
PACKET = (8 + len(STARTUP)).to_bytes(4) + (196608).to_bytes(4) + STARTUP
ANSWER = b"welcome"
ASKS_FOR_TLS = (8).to_bytes(4) + (80877103).to_bytes(4)


@dataclass
class Doorman:
    """What stands for a server: it says whether it speaks TLS, then answers one packet."""

    context: ssl.SSLContext | None
    port: int = 0
    got: bytes = b""
    secure: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        first = await reader.readexactly(8)
        if first == ASKS_FOR_TLS:
            writer.write(b"S" if self.context else b"N")
            if self.context:
                try:
                    await writer.start_tls(self.context)
                except ssl.SSLError:  # who came did not trust the certificate
                    writer.close()
                    return
                self.secure = True
            first = await reader.read(8)
        self.got = first + await reader.read(len(PACKET) - len(first))
        writer.write(ANSWER)
        await writer.drain()
        writer.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", *words.split(), *names], check=True, capture_output=True)
    return cert, key


@asynccontextmanager
async def doorman(certificate: tuple[Path, Path] | None) -> AsyncIterator[Doorman]:
    """A server on a port of this machine, with TLS if there is a certificate."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    man = Doorman(context)
    async with await asyncio.start_server(man.serve, "127.0.0.1", 0) as listening:
        man.port = listening.sockets[0].getsockname()[1]
        yield man


async def come(man: Doorman, options: str) -> bytes:
    """Send a startup packet through a proxy to it; what comes back until the end."""
    dsn = f"postgresql://me:secret@127.0.0.1:{man.port}/mine?{options}"
    async with proxy_to(dsn, Proxy) as between:
        parts = urlsplit(between.dsn)
        assert ("me", "secret", "/mine", "sslmode=disable") == (
            parts.username, parts.password, parts.path, parts.query,
        )  # fmt: skip
        with anyio.fail_after(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", parts.port)
            writer.write(PACKET)
            answer = await reader.read()
            writer.close()
    return answer


@needs_openssl
@pytest.mark.parametrize("options", ["", "sslmode=require", "sslmode=verify-full&sslrootcert={}"])
async def test_it_speaks_tls(certificate: tuple[Path, Path], options: str) -> None:
    """To a server that offers it, with the certificate checked where the address says so."""
    async with doorman(certificate) as man:
        answer = await come(man, options.format(certificate[0]))

    assert (ANSWER, PACKET, True) == (answer, man.got, man.secure)


@needs_openssl
async def test_a_stranger_is_refused(certificate: tuple[Path, Path]) -> None:
    """A certificate that nobody trusts gets nothing where it is to be checked."""
    async with doorman(certificate) as man:
        answer = await come(man, "sslmode=verify-full&sslrootcert=/nowhere")

    assert (b"", b"") == (answer, man.got)


@pytest.mark.parametrize(
    ("options", "reached"), [("", True), ("sslmode=disable", True), ("sslmode=require", False)]
)
async def test_a_server_without_tls(options: str, reached: bool) -> None:
    """It is reached in the clear unless the address wants TLS."""
    async with doorman(None) as man:
        answer = await come(man, options)

    assert (ANSWER, PACKET) == (answer, man.got) if reached else (b"", b"") == (answer, man.got)


async def test_a_server_that_says_nothing_is_left() -> None:
    """At the proxy's end a connection that still waits to hear of TLS is closed, too."""
    asked, left = anyio.Event(), anyio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert ASKS_FOR_TLS == await reader.readexactly(8)
        asked.set()
        assert b"" == await reader.read()
        left.set()
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with proxy_to(f"postgresql://me@127.0.0.1:{port}/mine", Proxy) as between:
            _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(between.dsn).port)
            writer.write(PACKET)
            with anyio.fail_after(5):
                await asked.wait()
        with anyio.fail_after(5):
            await left.wait()
        writer.close()
