"""Two pages that tell a platform, and a person, whether this process lives and can work.

No page needs a token: they name workers and reasons, never rows, addresses or secrets.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from dragonfly import __version__
from dragonfly.events import Events, WebListening, WebUnavailable
from dragonfly.postgres.failures import TROUBLE
from dragonfly.postgres.line import Line
from dragonfly.queue.heartbeats import WorkerStatus
from dragonfly.runtime.supervisor import Supervisor
from dragonfly.settings import Settings

LOOPBACK = "127.0.0.1"
LOOPBACK_PORT = 8787
EVERYWHERE = "0.0.0.0"  # noqa: S104 - a platform's router asks from outside the machine
DATABASE_SECONDS = 2.0
BACKLOG = 128


class _Server(uvicorn.Server):
    """Leaves signals to the supervisor, whose process this is."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def health_app(supervisor: Supervisor, database: Line) -> Starlette:
    """``/health/live`` and ``/health/ready``; ``database`` is asked anew at each look."""

    async def live(_: Request) -> JSONResponse:
        return JSONResponse({"status": "live", "version": __version__})

    async def ready(_: Request) -> JSONResponse:
        answers = await _answers(database)
        workers = supervisor.view()
        able = any(worker.status is not WorkerStatus.ERROR for worker in workers)
        body = {
            "status": "ready" if answers and able else "not ready",
            "workers": [asdict(worker) for worker in workers],
            "database": "answers" if answers else "does not answer",
            "version": __version__,
        }
        return JSONResponse(body, status_code=200 if answers and able else 503)

    return Starlette(routes=[Route("/health/live", live), Route("/health/ready", ready)])


async def _answers(database: Line) -> bool:
    """Whether the database answers a query in time, however it fails to."""
    with anyio.move_on_after(DATABASE_SECONDS):
        try:
            async with database.use() as conn:
                await conn.execute("SELECT 1")
                return True
        except TROUBLE:
            return False
    return False


async def serve(supervisor: Supervisor, settings: Settings, events: Events) -> None:
    """Serve the health pages until cancelled; without a free port say so and return."""
    host, port = _place(settings)
    try:
        listener = _listen(host, port)
    except OSError as error:
        events.emit(WebUnavailable(port, error.strerror or type(error).__name__))
        return
    # a connection of its own: readiness must not wait for the jobs', nor hold up the heartbeats
    line = Line(lambda: supervisor.process.database.connect("health"), DATABASE_SECONDS)
    config = uvicorn.Config(
        health_app(supervisor, line),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    try:
        events.emit(WebListening(host, listener.getsockname()[1]))
        await server.serve(sockets=[listener])
    finally:
        with anyio.CancelScope(shield=True):
            # uvicorn, cancelled, would leave its sockets open
            if server.started:
                await server.shutdown([listener])
            listener.close()
            await line.aclose()


def _place(settings: Settings) -> tuple[str, int]:
    if settings.port is None:
        return LOOPBACK, LOOPBACK_PORT
    return EVERYWHERE, settings.port


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            # on Windows SO_REUSEADDR would share the port with whoever holds it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
