"""Connections and a pool that answer as asyncpg's do, from the server of the simulation."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import Any

import asyncpg

from dragonfly.postgres.closing import Outermost
from tests.simulation.answers import CLAIMS, FINISHES, STATEMENTS
from tests.simulation.loop import OWNER
from tests.simulation.rows import Row, Work
from tests.simulation.server import Server

# TCP_USER_TIMEOUT: so long the kernel waits for what was sent to be confirmed
KERNEL_SECONDS = 60.0
IDLE_IN_TRANSACTION_SECONDS = 60.0


class _Wire:
    """What stands for a transport: no socket whose options could be set."""

    def get_extra_info(self, _name: str) -> None:
        return None


class Closing(str):
    """A statement with a COMMIT behind it, in one message."""

    __slots__ = ()


class ClosingAndBeginning(Closing):
    """The same with a BEGIN behind both."""

    __slots__ = ()


class Connection:
    """One session; all it says can be lost on the way there, or on the way back."""

    def __init__(self, server: Server, purpose: str) -> None:
        self.server = server
        self.purpose = purpose
        self.owner = OWNER.get()
        server.sessions += 1
        self.number = server.sessions
        self.heard_at = server.loop.now
        self.work: Work | None = None
        self._con = self  # nothing stands between it and the pool's proxy
        self.outermost = Outermost(self)  # type: ignore[arg-type]
        self._top_xact: object = None
        self._protocol = SimpleNamespace(queries_count=0)
        self._transport = _Wire()
        self._context = contextvars.copy_context()
        self._closed = False
        self.asleep: Counter[str] = Counter()  # job types that its session sleeps for
        self.listens_since: float | None = None
        self._channels: dict[str, Callable[..., object]] = {}
        self._mourners: list[Callable[[Any], object]] = []
        self._travelling: tuple[str, tuple[Any, ...]] | None = None
        server.connections.append(self)

    # --- what asyncpg's connections do ----------------------------------------------------------

    def is_closed(self) -> bool:
        return self._closed

    def get_server_pid(self) -> int:
        return self.number

    def is_in_transaction(self) -> bool:
        return self.work is not None

    def terminate(self) -> None:
        self.cut()

    async def close(self, timeout: float | None = None) -> None:
        self.cut()

    def transaction(self, *, isolation: str | None = None) -> Transaction:
        return Transaction(self)

    async def add_listener(self, channel: str, heard: Callable[..., object]) -> None:
        await self.say("SELECT")
        self._channels[channel] = heard
        self.listens_since = self.server.loop.now
        self.server.one_listens.set()

    def add_termination_listener(self, told: Callable[[Any], object]) -> None:
        self._mourners.append(told)

    async def fetch(self, statement: str, *args: Any) -> list[Row]:
        return await self.say(statement, *args)

    async def fetchrow(self, statement: str, *args: Any) -> Row | None:
        rows = await self.say(statement, *args)
        return rows[0] if rows else None

    async def fetchval(self, statement: str, *args: Any) -> Any:
        rows = await self.say(statement, *args)
        return rows[0][0] if rows else None

    async def execute(self, statement: str, *args: Any) -> str:
        rows = await self.say("SELECT" if statement.startswith("SET ") else statement, *args)
        return f"DONE {len(rows)}"

    async def commit_after(self, statement: str, words: str, *, begin_next: bool) -> None:
        args = [None if word == "NULL" else int(word) for word in words.split(",")]
        now = time.monotonic()
        begins_next = begin_next and self.outermost.may_begin_next(now)
        await self.say((ClosingAndBeginning if begins_next else Closing)(statement), *args)
        self.outermost.ended(now, begins_next=begins_next)

    # --- the way to the server and back ---------------------------------------------------------

    async def say(self, statement: str, *args: Any) -> list[Row]:
        self._require_open()
        server, fate = self.server, self.server.fate
        self._travelling = (statement, args)
        faulty = fate.happens(server.error_rate)
        try:
            await self._travel()
            if faulty and fate.happens(0.4):
                self._lose()
            self._travelling = None
            rows = self._apply(statement, args)
            if faulty or fate.happens(0.01):
                await self._come_back(lost=faulty)
        except asyncio.CancelledError:
            self.arrive_or_not()
            raise
        finally:
            self._travelling = None
        return rows

    async def _travel(self) -> None:
        await asyncio.sleep(self.server.fate.latency())
        if self.server.silent:
            await self._until_the_kernel_gives_up()
        self._require_open()

    async def _until_the_kernel_gives_up(self) -> None:
        await asyncio.sleep(KERNEL_SECONDS)
        self._lose()

    async def _come_back(self, *, lost: bool) -> None:
        await asyncio.sleep(self.server.fate.latency())
        if self.server.silent or (lost and self.server.fate.happens(0.3)):
            await self._until_the_kernel_gives_up()
        if lost:
            self._lose()
        self._require_open()

    def _lose(self) -> None:
        self.cut()
        raise ConnectionResetError("the connection was lost")

    def _apply(self, statement: str, args: tuple[Any, ...]) -> list[Row]:
        server, work = self.server, self.work
        self.heard_at = server.loop.now
        words = statement.split(";")
        if set(words) <= {"BEGIN", "COMMIT", "ROLLBACK"}:
            for word in words:
                self._turn(word)
            return []
        if work is not None and work.failed:
            raise asyncpg.InFailedSQLTransactionError("the transaction is aborted")
        try:
            self._refuse(statement)
            _ = server.now
            server.speaker = self.owner
            rows = STATEMENTS[statement](server, work, *args)
        except asyncpg.PostgresError:
            if work is not None:
                work.failed = True
            raise
        if isinstance(statement, Closing):
            self._turn("COMMIT")
        if isinstance(statement, ClosingAndBeginning):
            self._turn("BEGIN")
        return rows

    def _refuse(self, statement: str) -> None:
        server = self.server
        kind = "claims" if statement in CLAIMS else "finishes" if statement in FINISHES else ""
        if kind in server.refused:
            raise asyncpg.InsufficientPrivilegeError("permission denied for table jobs")
        if server.fate.happens(server.error_rate / 4):
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        if server.fate.happens(server.error_rate / 4):
            self.cut()
            raise asyncpg.AdminShutdownError("terminating connection")

    def _turn(self, word: str) -> None:
        if word == "BEGIN":
            self.work = Work()
        elif self.work is not None:
            work, self.work = self.work, None
            (self.server.commit if word == "COMMIT" else self.server.undo)(work)

    def _require_open(self) -> None:
        if self._closed:
            raise asyncpg.InterfaceError("connection is closed")

    # --- what befalls it ------------------------------------------------------------------------

    def hear(self, channel: str, payloads: Iterable[str]) -> None:
        """Of one commit, which come together."""
        heard = self._channels.get(channel)
        if heard is None or self._closed or self.server.silent:
            return
        at = self.server.loop.now + self.server.fate.latency()
        for each in payloads:
            self.server.loop.call_at(at, heard, self, 0, channel, each, context=self._context)

    def arrive_or_not(self) -> None:
        """Whoever waited for the answer is gone: what was said may have arrived all the same."""
        said, self._travelling = self._travelling, None
        if said is None or self._closed or self.server.silent or not self.server.fate.happens(0.5):
            return
        try:
            self._apply(*said)
        except asyncpg.PostgresError:
            return

    def cut(self) -> None:
        """The session is over: the server rolls back, and who listens is told."""
        if self._closed:
            return
        self._closed = True
        self.server.connections.remove(self)
        if self.work is not None:
            self.server.undo(self.work)
            self.work = None
        for told in self._mourners:
            self.server.loop.call_soon(told, self, context=self._context)


class Transaction:
    """``conn.transaction()``, with its own words or as a context."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn

    async def start(self) -> None:
        await self._conn.say("BEGIN")

    async def commit(self) -> None:
        await self._conn.say("COMMIT")

    async def rollback(self) -> None:
        await self._conn.say("ROLLBACK")

    async def __aenter__(self) -> None:
        await self.start()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.commit()
        elif not self._conn.is_closed():
            await self.rollback()


class Pool:
    """Connections that handlers share."""

    def __init__(
        self,
        size: int,
        connect: Callable[..., Awaitable[Connection]],
        init: Callable[[Connection], Awaitable[None]],
        timeout: float,
    ) -> None:
        self._room = asyncio.Semaphore(size)
        self._connect, self._init, self._timeout = connect, init, timeout
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()

    def get_idle_size(self) -> int:
        return len(self._idle)

    async def acquire(self, *, timeout: float | None = None) -> Connection:
        async with asyncio.timeout(timeout):
            return await self._acquire()

    async def _acquire(self) -> Connection:
        await self._room.acquire()
        try:
            while self._idle:
                conn = self._idle.pop()
                if not conn.is_closed():
                    break
            else:
                conn = await self._connect("jobs", timeout=self._timeout)
                try:
                    await self._init(conn)
                except BaseException:
                    conn.cut()
                    raise
        except BaseException:
            self._room.release()
            raise
        self._lent.add(conn)
        return conn

    async def release(self, conn: Connection, *, timeout: float) -> None:
        self._lent.discard(conn)
        self._room.release()
        if not conn.is_closed():
            if conn.is_in_transaction() or conn.server.silent:
                conn.cut()
            else:
                self._idle.append(conn)

    async def close(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        for conn in [*self._idle, *self._lent]:
            conn.cut()


class Network:
    """What stands for ``asyncpg.connect`` and ``asyncpg.create_pool``."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.dead: set[str] = set()  # processes that are gone: nobody hears them

    async def connect(
        self, _dsn: str, *, timeout: float, server_settings: dict[str, str] | None = None, **_: Any
    ) -> Connection:
        purpose = (server_settings or {}).get("application_name", "dragonfly jobs")
        try:
            async with asyncio.timeout(timeout):
                await self._reach()
        except TimeoutError:
            raise TimeoutError from None
        return Connection(self.server, purpose.removeprefix("dragonfly "))

    async def _reach(self) -> None:
        server = self.server
        if OWNER.get() in self.dead:
            raise ConnectionRefusedError("nobody is there")
        await asyncio.sleep(server.fate.latency())
        if server.silent:
            await asyncio.Event().wait()
        if server.refusing or OWNER.get() in self.dead:
            raise ConnectionRefusedError("connection refused")
        if server.refusing_logins:
            raise asyncpg.InvalidPasswordError("password authentication failed")
        if server.fate.happens(server.error_rate / 2):
            raise asyncpg.TooManyConnectionsError("sorry, too many clients already")

    async def create_pool(
        self,
        _dsn: str,
        *,
        max_size: int,
        timeout: float,
        connect: Callable[..., Awaitable[Connection]],
        init: Callable[[Connection], Awaitable[None]],
        **_: Any,
    ) -> Pool:
        return Pool(max_size, connect, init, timeout)
