"""Files from the drop folder and from Supabase Storage, over a real connection."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from dragonfly.errors import ConfigurationError
from dragonfly.job import Reject, Retry
from dragonfly.workers import sources as module
from dragonfly.workers.sources import NotThereYet, Sources, open_sources
from tests.intake.storage import Answer, says, storage
from tests.support import settings

CONTENT = b"CaseNo,Plaintiff\r\n1,A\r\n"
KEY = "sb_secret_test"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "intake"
    (folder / "2026").mkdir(parents=True)
    (folder / "2026" / "week 12 (late).csv").write_bytes(CONTENT)
    return folder


@asynccontextmanager
async def opened(root: Path, url: str | None = None) -> AsyncIterator[Sources]:
    """The sources of a worker with these settings."""
    key = None if url is None else SecretStr(KEY)
    chosen = settings(mode="dev", intake_root=root, url_dev=url, service_role_key_dev=key)
    async with open_sources(chosen) as sources:
        yield sources


async def fetch(root: Path, answer: Answer, path: str = "2026/a.csv") -> bytes:
    """What the spool holds after fetching an object that is answered like this."""
    async with (
        storage(answer) as url,
        opened(root, url) as sources,
        sources.from_storage("intake", path) as spooled,
    ):
        assert spooled.sha256 == hashlib.sha256(spooled.path.read_bytes()).digest()
        return spooled.path.read_bytes()


async def test_a_dropped_file_is_copied_and_hashed(root: Path) -> None:
    """The copy has the file's bytes and hash, is private, and is gone afterwards."""
    async with opened(root) as sources:
        async with sources.from_drop(("2026", "week 12 (late).csv")) as spooled:
            assert spooled.path.read_bytes() == CONTENT
            assert spooled.sha256 == hashlib.sha256(CONTENT).digest()
            assert spooled.size == len(CONTENT)
            assert spooled.path.stat().st_mode & 0o077 == 0
            assert spooled.path.parent.stat().st_mode & 0o077 == 0
        assert not spooled.path.exists()
        folder = sources.spool
    assert not folder.exists()


@pytest.mark.parametrize("parts", [("2026", "none.csv"), ("none", "a.csv"), ("2026",)])
async def test_a_missing_file_is_rejected(root: Path, parts: tuple[str, ...]) -> None:
    """A file that is not there, or is a folder, will not be there on a retry either."""
    async with opened(root) as sources:
        with pytest.raises(Reject) as rejected:
            async with sources.from_drop(parts):
                pass

    assert rejected.value.code == "FILE_NOT_FOUND"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no links and pipes to try on this system")
@pytest.mark.parametrize("parts", [("link.csv",), ("folder", "week 12 (late).csv"), ("pipe",)])
async def test_links_and_pipes_are_not_followed(root: Path, parts: tuple[str, ...]) -> None:
    """A link may lead anywhere, and a pipe nowhere."""
    (root / "link.csv").symlink_to(root / "2026" / "week 12 (late).csv")
    (root / "folder").symlink_to(root / "2026")
    os.mkfifo(root / "pipe")

    async with opened(root) as sources:
        with pytest.raises(Reject) as rejected:
            async with sources.from_drop(parts):
                pass

    assert rejected.value.code == "PATH_NOT_ALLOWED"


async def test_a_file_that_grows_is_left_for_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that somebody is still writing is tried again."""
    file = root / "2026" / "week 12 (late).csv"

    class Growing(module._Spool):
        def add(self, piece: bytes) -> None:
            super().add(piece)
            if file.stat().st_size == len(CONTENT):
                with file.open("ab") as target:
                    target.write(b"2,B\r\n")

    monkeypatch.setattr(module, "_Spool", Growing)
    async with opened(root) as sources:
        with pytest.raises(Retry):
            async with sources.from_drop(("2026", "week 12 (late).csv")):
                pass
        assert list(sources.spool.iterdir()) == []


async def test_too_large_a_file_is_rejected(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither store fills the disk: the drop folder by the size, Storage by what arrives."""
    monkeypatch.setattr(module, "MAX_BYTES", len(CONTENT) - 1)

    async def large(_: Request) -> Response:
        return Response(CONTENT)

    async with opened(root) as sources:
        with pytest.raises(Reject) as rejected:
            async with sources.from_drop(("2026", "week 12 (late).csv")):
                pass
    assert rejected.value.code == "FILE_TOO_LARGE"
    with pytest.raises(Reject) as rejected:
        await fetch(root, large)
    assert rejected.value.code == "FILE_TOO_LARGE"


async def test_an_object_is_fetched_with_the_service_key(root: Path) -> None:
    """The request names bucket and path as they are, and carries the key in both headers."""
    seen: list[tuple[str, str, str, str]] = []

    async def answer(request: Request) -> Response:
        headers = request.headers
        seen.append(
            (
                request.path_params["bucket"],
                request.path_params["path"],
                headers["authorization"],
                headers["apikey"],
            )
        )
        return Response(CONTENT)

    assert await fetch(root, answer, "2026/week 12 (late)#1.csv") == CONTENT
    assert seen == [("intake", "2026/week 12 (late)#1.csv", f"Bearer {KEY}", KEY)]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"statusCode": "404", "error": "not_found"}),
        (400, {"statusCode": "404", "error": "not_found", "message": "Object not found"}),
    ],
)
async def test_a_missing_object_may_still_come(root: Path, status: int, body: object) -> None:
    """Storage says 404, or 400 with the 404 in its body."""
    with pytest.raises(NotThereYet):
        await fetch(root, says(status, body))


@pytest.mark.parametrize("status", [429, 500, 503, 544])
async def test_a_busy_storage_is_asked_again(root: Path, status: int) -> None:
    """Errors of the server use the job's own schedule when it names no time."""
    with pytest.raises(Retry) as retry:
        await fetch(root, says(status))

    assert retry.value.after is None


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7, 7),
        ("99999999", 900, 900),
        (format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True), 900, 900),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0, 0),
    ],
    ids=["seconds", "too long", "a date", "a past date"],
)
async def test_retry_after_is_honoured(root: Path, header: str, least: float, most: float) -> None:
    """Seconds or a date, at most a quarter of an hour."""
    with pytest.raises(Retry) as retry:
        await fetch(root, says(429, Retry_After=header))

    assert retry.value.after is not None
    assert least <= retry.value.after <= most


@pytest.mark.parametrize(
    ("status", "body"), [(401, None), (403, None), (400, {"statusCode": "403"})]
)
async def test_a_refused_key_is_a_matter_of_configuration(
    root: Path, status: int, body: object
) -> None:
    """No retry mends it; the sentence names what to set and shows no key."""
    with pytest.raises(ConfigurationError, match="SUPABASE_SERVICE_ROLE_KEY") as refused:
        await fetch(root, says(status, body))

    assert KEY not in str(refused.value)


async def test_a_redirect_is_not_followed(root: Path) -> None:
    """The key is sent to the configured host alone."""

    async def answer(_: Request) -> Response:
        return RedirectResponse("http://127.0.0.1:9/elsewhere")

    with pytest.raises(ConfigurationError, match="SUPABASE_URL"):
        await fetch(root, answer)


@pytest.mark.parametrize("body", [None, [], "?", {"statusCode": "many"}, {"statusCode": "400"}])
async def test_another_refusal_rejects_the_job(root: Path, body: object) -> None:
    """A 400 about the request itself will be a 400 tomorrow."""
    with pytest.raises(Reject) as rejected:
        await fetch(root, says(400, body))

    assert rejected.value.code == "FILE_REFUSED"


async def test_an_answer_cut_off_is_tried_again(root: Path) -> None:
    """Half a file is never taken for a whole one."""

    async def answer(_: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield CONTENT[:5]

        return StreamingResponse(pieces(), headers={"Content-Length": str(len(CONTENT))})

    with pytest.raises(Retry):
        await fetch(root, answer)


async def test_a_storage_that_cannot_be_reached_is_tried_again(root: Path) -> None:
    """No connection is no fault of the job."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with opened(root, url) as sources:
            with pytest.raises(Retry):
                async with sources.from_storage("intake", "a.csv"):
                    pass


async def test_storage_must_be_configured(root: Path) -> None:
    """Without address and key the sentence names both variables of the mode."""
    async with opened(root) as sources:
        with pytest.raises(
            ConfigurationError, match="SUPABASE_URL_DEV and SUPABASE_SERVICE_ROLE_KEY_DEV"
        ):
            async with sources.from_storage("intake", "a.csv"):
                pass
