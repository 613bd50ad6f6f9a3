"""PgBouncer in front of a test's server, and which tests it takes the ground from.

``DRAGONFLY_TEST_POOLER=session`` or ``transaction`` lets every test of the queue and the runtime
reach its database through one; ``python -m tests.check --pooler transaction`` runs them so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg
import pytest

from tests.servers import free_port

VARIABLE = "DRAGONFLY_TEST_POOLER"
MODES = ("session", "transaction")

needs_pgbouncer = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="PgBouncer is not installed"
)


class Pooler:
    """A PgBouncer on a port of 127.0.0.1 that serves all databases of one server."""

    def __init__(self, mode: str, port: int) -> None:
        self.mode = mode
        self.port = port

    def through(self, dsn: str) -> str:
        """The address of the same database through the pooler."""
        parts = urlsplit(dsn)
        netloc = f"{parts.username}@127.0.0.1:{self.port}"
        return urlunsplit(parts._replace(netloc=netloc, query=""))


@contextmanager
def pgbouncer(server: str, mode: str) -> Iterator[Pooler]:
    """Run one while the block does; it answers from the start of the block on."""
    parts = urlsplit(server)
    host = parts.hostname or parse_qs(parts.query)["host"][0]
    password = f" password={parts.password}" if parts.password else ""
    folder = Path(tempfile.mkdtemp(prefix="dragonfly-pgbouncer-"))
    folder.chmod(0o755)
    port = free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={host} port={parts.port or 5432} user={parts.username}{password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        f"pool_mode = {mode}\ndefault_pool_size = 30\nmax_client_conn = 500\nunix_socket_dir =\n"
    )
    # PgBouncer refuses to run as root; the embedded server's own account can reach its socket
    account = ["-u", "pgserver"] if os.geteuid() == 0 else []
    with subprocess.Popen(["pgbouncer", "-q", *account, settings]) as process:
        try:
            _wait_for(port, process)
            yield Pooler(mode, port)
        finally:
            process.terminate()
    shutil.rmtree(folder)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while True:
        assert process.poll() is None, "PgBouncer did not start"
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)


def chosen_mode() -> str | None:
    """The mode that the environment asks for."""
    mode = os.environ.get(VARIABLE) or None
    if mode is not None and mode not in MODES:
        raise pytest.UsageError(f"{VARIABLE} is {mode!r}; it may be session or transaction.")
    return mode


def leave_out(items: list[pytest.Item], mode: str) -> list[pytest.Item]:
    """Those whose ground a pooler in this mode takes away, as they are marked."""
    return [item for item in items if mode in _unfit_modes(item)]


def _unfit_modes(item: pytest.Item) -> set[str]:
    marks = list(item.iter_markers("unpooled"))
    assert all(mark.kwargs.get("reason") for mark in marks), f"{item.nodeid}: no reason"
    return {mode for mark in marks for mode in (mark.args or MODES)}


@contextmanager
def uncached_statements(pooler: Pooler) -> Iterator[None]:
    """The tests' own connections through it keep no prepared statements, which it would mix up.

    The product's, which are named, are left to find that out for themselves.
    """
    connect = asyncpg.connect

    @wraps(connect)
    def careful(dsn: str | None = None, **options: Any) -> Any:
        if dsn and urlsplit(dsn).port == pooler.port and "server_settings" not in options:
            options = {"statement_cache_size": 0} | options
        return connect(dsn, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncpg, "connect", careful)
        yield
