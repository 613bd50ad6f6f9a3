"""Watches the drop folder: each complete file becomes a job, exactly where it can be found.

The order is: insert the job, move the file to done/, commit, write the receipt. A file is moved
only when the database has taken its job, and its job is seen only when the file has moved. What
dies between the move and the receipt is made good at the next start.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from dragonfly.backoff import pause_seconds
from dragonfly.errors import ConfigurationError, InputRefused
from dragonfly.judgments.encodings import refuse_other_types
from dragonfly.ops.dropfolder import DropFolder, Mark, shown
from dragonfly.ops.filing import (
    JOB_TYPE,
    Filed,
    StillChanging,
    enqueue_file,
    fingerprint,
    loaded_as,
    taken_up,
)
from dragonfly.postgres.database import close
from dragonfly.postgres.failures import TROUBLE, Failure, classify, describe
from dragonfly.postgres.transactions import transaction

if TYPE_CHECKING:
    from asyncpg import Connection

SETTLE_SECONDS = 3.0
EXIT_OK, EXIT_REJECTED, EXIT_CONFIGURATION, EXIT_LOCKED = range(4)


@dataclass(slots=True)
class Tally:
    """What a run of the watcher did; ``waiting`` counts the files that the next look takes up."""

    accepted: int = 0
    rejected: int = 0
    waiting: int = 0
    away: bool = False

    @property
    def exit_code(self) -> int:
        if self.away:
            return EXIT_CONFIGURATION
        return EXIT_REJECTED if self.rejected else EXIT_OK

    def line(self) -> str:
        """The summary, in one line."""
        away = "; the database is away" if self.away else ""
        return (
            f"watch: {self.accepted} accepted, {self.rejected} rejected, "
            f"{self.waiting} waiting{away}"
        )

    def json(self) -> dict[str, int | bool]:
        return asdict(self) | {"exit_code": self.exit_code}


class _Away(Exception):
    """The database cannot be reached now."""


class _CannotMove(Exception):
    """Another program holds the file."""


class Watcher:
    """Looks at one drop folder; the caller holds its lock.

    ``connect`` opens a connection for each look that has work; ``say`` prints one line.
    """

    def __init__(
        self,
        folder: DropFolder,
        connect: Callable[[], Awaitable[Connection]],
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self.tally = Tally()
        self._folder = folder
        self._connect = connect
        self._say = say
        self._clock = clock
        self._pause = pause
        self._since: dict[str, tuple[Mark, float]] = {}
        self._unsure = True
        self._outages = 0
        self._complained: set[str] = set()

    async def once(self) -> Tally:
        """Hand over what is there now, and nothing that comes later."""
        await self.look()
        if self._since and not self.tally.away:
            present = set(self._since)
            await self._pause(SETTLE_SECONDS)
            await self.look(only=present)
        return self.tally

    async def forever(self, interval: float, stopping: Callable[[], bool]) -> Tally:
        """Look every ``interval`` seconds, more rarely while the database is away."""
        while not stopping():
            await self.look()
            self._outages = self._outages + 1 if self.tally.away else 0
            wait = pause_seconds(self._outages) if self._outages else 0.0
            await self._pause(max(interval, wait))
        return self.tally

    async def look(self, only: set[str] | None = None) -> None:
        """Take what has settled in the inbox, and hand over all that was taken.

        ``only`` restricts what is taken to these names. Raises ConfigurationError for a refused
        login; a database that is away leaves the files where they are.
        """
        folder = self._folder
        settled = self._settled(await to_thread.run_sync(folder.arrivals), only)
        late = await to_thread.run_sync(folder.without_receipt) if self._unsure else []
        in_hand = await to_thread.run_sync(folder.in_hand)
        self.tally.away = False
        if settled or late or in_hand:
            try:
                await self._work(settled, late)
            except _Away as away:
                self.tally.away = True
                self._say(f"The database is away ({away}); the files wait.")
        self.tally.waiting = len(self._since) + len(await to_thread.run_sync(folder.in_hand))

    def _settled(self, arrivals: dict[str, Mark], only: set[str] | None) -> list[str]:
        now = self._clock()
        self._since = {
            name: (mark, self._since[name][1])
            if name in self._since and self._since[name][0] == mark
            else (mark, now)
            for name, mark in arrivals.items()
        }
        # what the clock may have lost between two looks is far less than a tenth
        return sorted(
            name
            for name, (_, since) in self._since.items()
            if now - since >= SETTLE_SECONDS - 0.1 and (only is None or name in only)
        )

    async def _work(self, settled: list[str], late: list[str]) -> None:
        # connected before anything is moved: with the database away, the inbox stays as it is
        conn = await self._open()
        try:
            self._unsure = not all([await self._receipt_late(conn, path) for path in late])
            for name in settled:
                now = datetime.now(UTC)
                if await to_thread.run_sync(self._folder.take, name, now):
                    del self._since[name]
            for taken in await to_thread.run_sync(self._folder.in_hand):
                await self._hand_over(conn, taken)
        finally:
            await close(conn)

    async def _open(self) -> Connection:
        try:
            return await self._connect()
        except ConfigurationError:
            raise
        except TROUBLE as error:
            raise _Away(describe(error)) from error

    async def _hand_over(self, conn: Connection, taken: Path) -> None:
        """One file, whose troubles are its own."""
        try:
            filed = await to_thread.run_sync(self._examine, taken)
        except InputRefused as refusal:
            await to_thread.run_sync(self._folder.reject, taken, refusal)
            self.tally.rejected += 1
            self._say(f"rejected {shown(taken)}: {refusal.code} (see rejected/)")
            return
        except (OSError, StillChanging) as trouble:
            self._complain(taken.name, "read", trouble)
            return
        await self._commit(conn, filed, taken)

    def _examine(self, taken: Path) -> Filed:
        self._folder.require_plain(taken)
        refuse_other_types(taken)
        size, sha256 = fingerprint(taken)
        return Filed(self._folder.done_path(taken), size, sha256)

    async def _commit(self, conn: Connection, filed: Filed, taken: Path) -> None:
        try:
            async with transaction(conn):
                job_id = await enqueue_file(conn, filed)
                known = await loaded_as(conn, filed)
                try:
                    await to_thread.run_sync(self._folder.move_to_done, taken)
                except OSError as trouble:
                    raise _CannotMove from trouble
        except _CannotMove as trouble:
            self._complain(taken.name, "moved", trouble.__cause__ or trouble)
            return
        except TROUBLE as error:
            self._unsure = True
            raise self._judge(error) from error
        await self._receipt(filed, job_id, None if known is None else str(known))

    def _complain(self, name: str, verb: str, trouble: BaseException) -> None:
        """Say it once, not at every look."""
        if name not in self._complained:
            self._complained.add(name)
            reason = type(trouble).__name__
            self._say(f"{shown(name)} cannot be {verb} yet ({reason}); it waits.")

    def _judge(self, error: Exception) -> Exception:
        """A connection that was lost is waited for; anything else is for a person."""
        away = classify(error) in {Failure.AWAY, Failure.TRANSIENT}
        return _Away(describe(error)) if away else error

    async def _receipt_late(self, conn: Connection, path: str) -> bool:
        """A file whose commit nobody saw: enqueue it unless a job has begun with it."""
        try:
            size, sha256 = await to_thread.run_sync(fingerprint, self._folder.root / path)
        except (OSError, StillChanging) as trouble:
            self._complain(path, "read", trouble)
            return False
        filed = Filed(path, size, sha256)
        try:
            job_id = None if await taken_up(conn, filed) else await enqueue_file(conn, filed)
            known = await loaded_as(conn, filed)
        except TROUBLE as error:
            raise self._judge(error) from error
        await self._receipt(filed, job_id, None if known is None else str(known))
        return True

    async def _receipt(self, filed: Filed, job_id: int | None, known: str | None) -> None:
        receipt = {
            "path": filed.path,
            "bytes": filed.size,
            "sha256": filed.sha256,
            "job_type": JOB_TYPE,
            "job_id": job_id,
            "same_content_loaded_as_batch": known,
            "received_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        await to_thread.run_sync(self._folder.write_receipt, filed.path, receipt)
        self.tally.accepted += 1
        again = f"; its content was loaded before, as batch {known}" if known else ""
        self._say(f"accepted {shown(filed.path)} as job {job_id}{again}")
