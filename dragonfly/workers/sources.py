"""Brings a file from the drop folder or Storage into a private spool, hashed as it is copied."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote

import httpx
from anyio import to_thread

from dragonfly.errors import ConfigurationError
from dragonfly.job import Reject, Retry
from dragonfly.judgments.encodings import MAX_BYTES
from dragonfly.settings import Settings
from dragonfly.workers.places import open_file

LONGEST_WAIT = timedelta(minutes=15)
_PIECE = 1 << 20
_TIMEOUT = httpx.Timeout(30, connect=10)


class NotThereYet(Exception):
    """Storage has no such object, or not yet; the worker knows how long it has waited."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A private copy that nobody else changes; ``sha256`` is of its exact bytes."""

    path: Path
    size: int
    sha256: bytes


class Bytes(Protocol):
    """Somewhere to send pieces of a file."""

    def add(self, piece: bytes) -> None: ...


class _Spool:
    """Writes, counts and hashes; refuses more than a file may have."""

    def __init__(self, path: Path, target: IO[bytes]) -> None:
        self._path = path
        self._target = target
        self._digest = hashlib.sha256()
        self._size = 0

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MAX_BYTES:
            raise too_large()
        self._digest.update(piece)
        self._target.write(piece)

    def close(self) -> Spooled:
        self._target.flush()
        return Spooled(self._path, self._size, self._digest.digest())


@dataclass(frozen=True, slots=True)
class Sources:
    """Where files come from; ``spool`` is a folder only this process reads.

    ``supabase`` is None when the project's address or key is not set.
    """

    root: Path
    spool: Path
    supabase: httpx.AsyncClient | None
    mode: str

    @asynccontextmanager
    async def from_drop(self, parts: tuple[str, ...]) -> AsyncIterator[Spooled]:
        """A copy of a file below the intake root, gone when the block ends.

        Raises Reject (PATH_NOT_ALLOWED, FILE_NOT_FOUND, FILE_TOO_LARGE), and Retry if the file
        changed while it was copied.
        """
        with self._new_spool() as spool:
            await to_thread.run_sync(_copy_file, self.root, parts, spool)
            yield spool.close()

    @asynccontextmanager
    async def from_storage(self, bucket: str, path: str) -> AsyncIterator[Spooled]:
        """A copy of an object in Supabase Storage, gone when the block ends.

        Raises NotThereYet, Reject (FILE_TOO_LARGE, FILE_REFUSED), Retry while Storage is busy or
        away, and ConfigurationError if it is not set up or refuses the key.
        """
        if self.supabase is None:
            suffix = self.mode.upper()
            raise ConfigurationError(
                f"Set SUPABASE_URL_{suffix} and SUPABASE_SERVICE_ROLE_KEY_{suffix}: "
                "a job names a file in Supabase Storage."
            )
        with self._new_spool() as spool:
            await _download(self.supabase, bucket, path, spool)
            yield spool.close()

    @contextmanager
    def _new_spool(self) -> Iterator[_Spool]:
        with tempfile.NamedTemporaryFile(dir=self.spool, suffix=".export", delete=False) as target:
            path = Path(target.name)
            try:
                yield _Spool(path, target)
            finally:
                # closed first: Windows deletes no open file
                target.close()
                path.unlink()


@asynccontextmanager
async def open_sources(settings: Settings) -> AsyncIterator[Sources]:
    """The lifespan of the intake workers: a spool folder and one HTTP client."""
    key = settings.supabase_service_role_key
    with tempfile.TemporaryDirectory(prefix="dragonfly-spool-") as folder:
        if settings.supabase_url is None or key is None:
            yield Sources(settings.intake_root, Path(folder), None, settings.mode)
            return
        secret = key.get_secret_value()
        async with httpx.AsyncClient(
            base_url=f"{settings.supabase_url.rstrip('/')}/storage/v1/",
            # compressed answers would make the bytes on the line differ from those that count
            headers={
                "Authorization": f"Bearer {secret}",
                "apikey": secret,
                "Accept-Encoding": "identity",
            },
            timeout=_TIMEOUT,
        ) as client:
            yield Sources(settings.intake_root, Path(folder), client, settings.mode)


def _copy_file(root: Path, parts: tuple[str, ...], spool: Bytes) -> None:
    with open_file(root, parts) as source:
        before = os.fstat(source.fileno())
        if before.st_size > MAX_BYTES:
            raise too_large()
        while piece := source.read(_PIECE):
            spool.add(piece)
        after = os.fstat(source.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Retry("the file changed while it was copied")


async def _download(client: httpx.AsyncClient, bucket: str, path: str, spool: Bytes) -> None:
    address = f"object/authenticated/{quote(bucket, safe='')}/{quote(path)}"
    try:
        async with client.stream("GET", address) as answer:
            if answer.status_code != httpx.codes.OK:
                await _refuse(answer, bucket)
            async for piece in answer.aiter_bytes(_PIECE):
                await to_thread.run_sync(spool.add, piece)
    except httpx.TransportError as error:
        raise Retry(f"Supabase Storage could not be read ({type(error).__name__})") from None


async def _refuse(answer: httpx.Response, bucket: str) -> None:
    """Raise what an answer other than 200 means."""
    status = _true_status(answer.status_code, await _beginning(answer))
    if status == httpx.codes.NOT_FOUND:
        raise NotThereYet
    if status in {401, 403}:
        raise ConfigurationError(
            f"Supabase Storage refused the service role key ({status}) for bucket {bucket!r}; "
            "set SUPABASE_SERVICE_ROLE_KEY of this project."
        )
    if status in {408, 425, 429} or status >= 500:
        raise Retry(f"Supabase Storage answered {status}", after=_wait(answer))
    if status < 400:
        raise ConfigurationError(
            f"Supabase Storage answered {status} instead of the file; "
            "set SUPABASE_URL to the project's own address."
        )
    raise Reject(
        "FILE_REFUSED",
        f"Supabase Storage answered {status} for this object; check its bucket and path.",
    )


async def _beginning(answer: httpx.Response) -> bytes:
    async for piece in answer.aiter_bytes(4096):
        return piece
    return b""


def _true_status(status: int, body: bytes) -> int:
    """Storage answers many errors with 400 and says in the body which one it means."""
    if status != httpx.codes.BAD_REQUEST:
        return status
    try:
        said = httpx.Response(status, content=body).json()
    except ValueError:
        return status
    text = str(said.get("statusCode", "")) if isinstance(said, dict) else ""
    return int(text) if text.isascii() and text.isdigit() else status


def _wait(answer: httpx.Response) -> timedelta | None:
    """How long the server asks to be left alone, within reason; None if it does not say."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=min(int(text), 86_400)), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    wait = until.astimezone(UTC) - datetime.now(UTC)
    return min(max(wait, timedelta(0)), LONGEST_WAIT)


def too_large() -> Reject:
    return Reject(
        "FILE_TOO_LARGE",
        f"The file has more than {MAX_BYTES // (1024 * 1024)} MB; split it and load the parts.",
    )
