"""The health pages, over real HTTP, beside a real supervisor."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import anyio
import asyncpg
import httpx
import pytest

from dragonfly import Job, Worker, __version__
from dragonfly.events import WebListening, WebUnavailable, WorkerGivenUp, WorkerStarted
from dragonfly.postgres.line import Line
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.web import health
from tests.support import Recorder, allow_logins, forbid_logins, running, settings


def idle_worker() -> Worker:
    worker = Worker("idle")

    @worker.job("idle")
    async def handle(job: Job[dict[str, Any]]) -> None:
        raise AssertionError(job.id)

    return worker


@contextlib.asynccontextmanager
async def pages(
    boss: Supervisor, recorder: Recorder, port: int = 0
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the health pages, served while the block runs."""
    async with anyio.create_task_group() as group:
        group.start_soon(health.serve, boss, settings(port=port), recorder.events)
        listening = await recorder.wait_for(WebListening)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.port}") as client:
            yield client
        group.cancel_scope.cancel()


async def test_ready_names_workers_and_version(dsn: str) -> None:
    """While the database answers and a worker is well, the process is ready and says who works."""
    async with (
        running(dsn, idle_worker(), heartbeat_seconds=10, lease_seconds=60) as (boss, recorder),
        pages(boss, recorder) as client,
    ):
        await recorder.wait_for(WorkerStarted)
        answer = await client.get("/health/ready")

    body = answer.json()
    (worker,) = body.pop("workers")
    assert 200 == answer.status_code
    assert {"status": "ready", "database": "answers", "version": __version__} == body
    assert {"name", "status", "reason", "running_jobs"} == set(worker)
    assert "idle" == worker["name"]


async def test_live_needs_no_database(dsn: str) -> None:
    """The process lives as long as its loop turns, whatever became of the database."""
    async with (
        running(dsn, idle_worker()) as (boss, recorder),
        pages(boss, recorder) as client,
    ):
        await forbid_logins(dsn)
        live = await client.get("/health/live")
        ready = await client.get("/health/ready")
        await allow_logins(dsn)

    assert (200, "live") == (live.status_code, live.json()["status"])
    assert (503, "does not answer") == (ready.status_code, ready.json()["database"])


async def test_ready_comes_back_with_the_database(dsn: str) -> None:
    """A look that failed leaves nothing behind that would spoil the next.

    What the workers met meanwhile is theirs to mend: here only the database's answer counts.
    """
    async with (
        running(dsn, idle_worker()) as (boss, recorder),
        pages(boss, recorder) as client,
    ):
        before = await client.get("/health/ready")
        await forbid_logins(dsn)
        away = await client.get("/health/ready")
        await allow_logins(dsn)
        after = await client.get("/health/ready")

    assert [200, 503] == [answer.status_code for answer in (before, away)]
    assert ["answers", "does not answer", "answers"] == [
        answer.json()["database"] for answer in (before, away, after)
    ]


async def test_a_farewell_between_two_looks_is_no_answer(dsn: str) -> None:
    """What asyncpg raises for a server that said goodbye meanwhile is a database that is away."""

    class Parted(asyncpg.Connection):
        async def execute(self, *_: object, **__: object) -> str:
            raise asyncpg.InternalClientError("another operation is in progress")

    line = Line(lambda: asyncpg.connect(dsn, connection_class=Parted), 2)
    async with running(dsn, idle_worker()) as (boss, _):
        transport = httpx.ASGITransport(app=health.health_app(boss, line))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            answer = await client.get("/health/ready")
    await line.aclose()

    assert (503, "does not answer") == (answer.status_code, answer.json()["database"])


async def test_not_ready_when_every_worker_is_in_error(dsn: str) -> None:
    """A process whose workers have all fallen is not ready, and gives their reason."""
    worker = Worker("stumbler")

    @worker.job("stumble")
    async def handle(job: Job[dict[str, Any]]) -> None:
        raise LookupError("what it looked for is not there")

    conn = await asyncpg.connect(dsn)
    for _ in range(10):
        await conn.execute("INSERT INTO ops.jobs (job_type) VALUES ('stumble')")
    await conn.close()
    other = idle_worker()
    async with (
        running(dsn, worker, other, worker_restarts=0) as (boss, recorder),
        pages(boss, recorder) as client,
    ):
        await recorder.wait_for(WorkerGivenUp)
        one_fell = await client.get("/health/ready")
        boss.workers = (worker,)
        none_left = await client.get("/health/ready")

    assert 200 == one_fell.status_code
    assert 503 == none_left.status_code
    assert "LookupError" in str(none_left.json()["workers"][0]["reason"])


async def test_no_secret_is_shown(dsn: str) -> None:
    """No page shows a password, a token or the database's address."""
    async with (
        running(dsn, idle_worker(), web_token="hush-hush") as (boss, recorder),
        pages(boss, recorder) as client,
    ):
        shown = (await client.get("/health/ready")).text + (await client.get("/health/live")).text

    assert [] == [
        secret for secret in ("hush-hush", urlsplit(dsn).path, "postgresql") if secret in shown
    ]


@pytest.mark.parametrize("path", ["/", "/health", "/health/ready/x", "/docs", "/metrics"])
async def test_other_pages_do_not_exist(dsn: str, path: str) -> None:
    """Whatever else is asked for is not found."""
    async with (
        running(dsn, idle_worker()) as (boss, recorder),
        pages(boss, recorder) as client,
    ):
        answer = await client.get(path)

    assert 404 == answer.status_code


async def test_a_taken_port_is_no_failure(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PORT, a taken 8787 is an event and no end of the workers."""
    with socket.socket() as holder:
        holder.bind((health.LOOPBACK, 0))
        holder.listen()
        taken = holder.getsockname()[1]
        monkeypatch.setattr(health, "LOOPBACK_PORT", taken)
        async with running(dsn, idle_worker()) as (boss, recorder):
            with anyio.fail_after(5):
                await health.serve(boss, settings(port=None), recorder.events)
            (event,) = recorder.of(WebUnavailable)

    assert taken == event.port
    assert [] == recorder.of(WebListening)


async def test_without_a_port_only_this_machine_is_answered(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PORT opens the pages to every interface; without it they stay on loopback."""
    monkeypatch.setattr(health, "LOOPBACK_PORT", 0)
    hosts = []
    for port in (None, 0):
        async with (
            running(dsn, idle_worker()) as (boss, recorder),
            anyio.create_task_group() as group,
        ):
            group.start_soon(health.serve, boss, settings(port=port), recorder.events)
            hosts.append((await recorder.wait_for(WebListening)).host)
            group.cancel_scope.cancel()

    assert ["127.0.0.1", "0.0.0.0"] == hosts


async def test_signals_and_stdout_are_left_alone(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server neither takes the supervisor's signals nor writes among its log lines."""
    async with running(dsn, idle_worker()) as (boss, recorder):
        await recorder.wait_for(WorkerStarted)
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        async with pages(boss, recorder) as client:
            await client.get("/health/live")
            during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    assert before == during
    assert ("", "") == capsys.readouterr()


async def test_a_cancelled_server_frees_its_port(dsn: str) -> None:
    """After the end nobody listens, and a client that kept its connection is let go."""
    async with running(dsn, idle_worker()) as (boss, recorder):
        async with pages(boss, recorder) as client:
            await client.get("/health/live")
            port = recorder.of(WebListening)[0].port
        with socket.socket() as again:
            again.bind((health.LOOPBACK, port))
