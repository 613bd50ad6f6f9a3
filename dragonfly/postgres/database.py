"""How this process reaches its database: an address, a way of pooling, connections by purpose."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import anyio
import asyncpg

from dragonfly.errors import ConfigurationError, LoginRefused
from dragonfly.postgres.closing import ClosingConnection
from dragonfly.postgres.dsn import check_dsn, shown
from dragonfly.postgres.failures import TROUBLE, describe, is_login_refusal

if TYPE_CHECKING:
    from asyncpg import Connection, Pool

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0
PROBE_SECONDS = 1.5
PROBING_SECONDS = 30.0


class Pooling(StrEnum):
    """What stands between us and PostgreSQL, found out by experiment."""

    SESSION = "session"  # direct, or a pooler that keeps one server session per client
    TRANSACTION = "transaction"  # every transaction may meet another server session


@dataclass(frozen=True, slots=True)
class Database:
    """An address that answered once, and how it pools."""

    dsn: str
    pooling: Pooling
    server_version: str
    true_pids: bool = True  # a pooler tells its clients numbers of its own

    @property
    def shown(self) -> str:
        """Host and database: what a log line may show."""
        return shown(self.dsn)

    def __str__(self) -> str:
        how = "own sessions" if self.pooling is Pooling.SESSION else "transaction pooler"
        return f"PostgreSQL {self.server_version} at {self.shown} ({how})"

    async def connect(self, purpose: str, session: Mapping[str, str] | None = None) -> Connection:
        """A connection of its own; ``purpose`` is what ``pg_stat_activity`` shows of it.

        The ``session`` parameters are set where a session is ours, and left alone behind a
        transaction pooler, where they would hit somebody else.
        """
        conn = await connect(self.dsn, purpose, cached=self.keeps_sessions)
        try:
            await self._set(conn, session or {})
        except BaseException:
            conn.terminate()
            raise
        return conn

    async def pid_of(self, conn: Connection) -> int | None:
        """The server's process behind this connection; None if it changes."""
        if self.pooling is Pooling.TRANSACTION:
            return None
        if self.true_pids:
            return conn.get_server_pid()
        with anyio.fail_after(CONNECT_SECONDS):
            pid: int = await conn.fetchval("SELECT pg_backend_pid()")
        return pid

    @property
    def keeps_sessions(self) -> bool:
        """A session is ours until we close it: what is SET there stays, and hits nobody else."""
        return self.pooling is Pooling.SESSION

    async def _set(self, conn: Connection, session: Mapping[str, str]) -> None:
        if session and self.keeps_sessions:
            await conn.execute("; ".join(f"SET {name} = '{v}'" for name, v in session.items()))

    @asynccontextmanager
    async def pool(
        self,
        size: int,
        log_in: Callable[..., Coroutine[Any, Any, Connection]] = asyncpg.connect,
        session: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Pool]:
        """Connections that handlers share; opened when first needed, so a start needs none.

        ``log_in`` stands in for ``asyncpg.connect``. Between two loans an open transaction is
        rolled back and listeners are removed, but nothing is sent: what a handler SETs for the
        session stays, and so do its session locks (a reset would cost a fifth of a short
        transaction, benchmark W2T).
        """

        async def prepare(conn: Connection) -> None:
            _keep_alive(conn)
            with anyio.fail_after(CONNECT_SECONDS):
                await self._set(conn, session or {})

        pool = await asyncpg.create_pool(
            self.dsn,
            min_size=0,
            max_size=size,
            timeout=CONNECT_SECONDS,
            connect=log_in,
            init=prepare,
            reset=_leave_alone,
            connection_class=ClosingConnection,
            **_options("jobs", cached=self.keeps_sessions),
        )
        try:
            yield pool
        finally:
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(CLOSE_SECONDS):
                    await pool.close()
                pool.terminate()


async def _leave_alone(_conn: object) -> None:
    """What the pool does by itself is enough."""


def _options(purpose: str, *, cached: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"server_settings": {"application_name": f"dragonfly {purpose}"}}
    if not cached:
        # behind a transaction pooler a prepared statement may meet a server that never saw it
        options["statement_cache_size"] = 0
    return options


async def connect(dsn: str, purpose: str, *, cached: bool = True) -> Connection:
    """Open one connection, within a bound.

    Raises LoginRefused or ConfigurationError for what no retry mends, else what the network said.
    """
    try:
        conn: Connection = await asyncpg.connect(
            dsn, timeout=CONNECT_SECONDS, **_options(purpose, cached=cached)
        )
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        if is_login_refusal(error):
            raise LoginRefused(
                f"{shown(dsn)} refused the login ({describe(error)}): check user and password; "
                "a pooler wants the user as postgres.PROJECT."
            ) from error
        if isinstance(error, asyncpg.InvalidCatalogNameError):
            raise ConfigurationError(
                f"{shown(dsn)} does not exist on that server; check the database's name."
            ) from error
        if isinstance(error, asyncpg.PostgresError):
            raise
        raise ConfigurationError(
            f"The database address cannot be used ({type(error).__name__}); "
            "write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE."
        ) from error
    _keep_alive(conn)
    return conn


# seconds, but for the number of probes and the milliseconds that what is sent may stay unconfirmed
_KEEP_ALIVE = {
    "TCP_KEEPIDLE": 30,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 60_000,
}


def _keep_alive(conn: Connection) -> None:
    """Let the kernel notice a peer that is gone; asyncpg has no option for it."""
    transport: asyncio.Transport = conn._transport  # type: ignore[attr-defined]  # noqa: SLF001
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE.items():
        if hasattr(socket, option):
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def open_database(dsn: str, variable: str) -> Database:
    """Log in once, and find out whether sessions are our own.

    Raises ConfigurationError (a sentence) for an address or login that does not work.
    """
    check_dsn(dsn, variable)
    conn = await connect(dsn, "probe", cached=False)
    try:
        with anyio.fail_after(PROBING_SECONDS):
            version = str(await conn.fetchval("SHOW server_version"))
            pooling = await _find_pooling(dsn, conn)
            true_pids = await conn.fetchval("SELECT pg_backend_pid()") == conn.get_server_pid()
    finally:
        await close(conn)
    return Database(dsn, pooling, version, true_pids)


async def _find_pooling(dsn: str, listener: Connection) -> Pooling:
    """A session that LISTENs hears another's NOTIFY only if it is really its own."""
    if _is_local_socket(dsn):
        return Pooling.SESSION
    channel = f"dragonfly_probe_{os.getpid()}_{secrets.token_hex(4)}"
    heard = asyncio.Event()
    await listener.add_listener(channel, lambda *_: heard.set())
    other = await connect(dsn, "probe", cached=False)
    try:
        await other.execute("SELECT pg_notify($1, '')", channel)
        with anyio.move_on_after(PROBE_SECONDS):
            await heard.wait()
    finally:
        await close(other)
    return Pooling.SESSION if heard.is_set() else Pooling.TRANSACTION


def _is_local_socket(dsn: str) -> bool:
    """The embedded server is never behind a pooler: its socket stands in its own folder."""
    parts = check_dsn(dsn, "the address")
    return not parts.hostname and "host=" in parts.query and "port=" not in parts.query


async def close(conn: Connection) -> None:
    """Close politely within a bound, or drop."""
    with anyio.CancelScope(shield=True):
        with suppress(*TROUBLE):
            await conn.close(timeout=CLOSE_SECONDS)
        if not conn.is_closed():
            conn.terminate()
