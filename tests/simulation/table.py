"""What the simulated database holds: rows, their locks, and everything that was done to them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tests.queue.model import PENDING, PROCESSING, Model, ModelJob
from tests.simulation.fate import Fate, Planned
from tests.simulation.loop import VirtualLoop
from tests.simulation.rows import MICRO, Stored, Taken

if TYPE_CHECKING:
    from tests.simulation.connections import Connection


class Table:
    """The rows, and the writes of clients and operators."""

    def __init__(self, loop: VirtualLoop, fate: Fate) -> None:
        self.loop = loop
        self.fate = fate
        self.model = Model()
        self.connections: list[Connection] = []
        self.locked: set[int] = set()
        self.locked_keys: set[str] = set()
        self.claims: list[Taken] = []
        self.effects: Counter[int] = Counter()  # of transactions that completed their job
        self.ended: dict[int, float] = {}  # jobs, and when
        self.one_ended, self.one_listens = asyncio.Event(), asyncio.Event()
        self.beats: dict[str, str] = {}
        self.refusing = self.silent = self.refusing_logins = False
        self.refused: frozenset[str] = frozenset()  # statements without a grant
        self.error_rate = fate.error_rate
        self.speaker = ""  # the process whose statement is being answered
        self.complain: Callable[[str], None] = lambda _: None
        self._ids = self._begun = 0
        self.sessions = 0
        self.open: set[str] = set()  # transactions of clients
        self._beats_of: dict[str, list[float]] = {}

    # --- time and rows --------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The database's time, in microseconds."""
        self.model.now = int(self.loop.now * MICRO)
        return self.model.now

    def job(self, job_id: int) -> Stored:
        job = self.model.jobs[job_id]
        assert isinstance(job, Stored)
        return job

    def all(self, status: str | None = None) -> list[Stored]:
        found = [self.job(job_id) for job_id in self.model.jobs]
        return [job for job in found if status in {None, job.status}]

    async def enqueue(self, *planned: Planned) -> list[int]:
        """What a client does in one transaction: its trigger asks who sleeps before the commit."""
        heard = {each.job_type for each in planned if self.is_slept_for(each.job_type)}
        if open_seconds := max(each.open_seconds for each in planned):
            self._begun += 1
            name = f"client {self._begun}"
            self.open.add(name)
            await asyncio.sleep(open_seconds)
            self.open.remove(name)
        made = [job_id for each in planned if (job_id := self._insert(each))]
        types = dict.fromkeys(self.job(job_id).job_type for job_id in made)
        self.notify("ops_jobs", *(each for each in types if each in heard))
        return made

    def _insert(self, planned: Planned) -> int | None:
        """What it commits; None for a key that is taken."""
        _ = self.now
        if self.model.pending_with(planned.job_type, planned.unique_key):
            return None
        self._ids += 1
        self.model.jobs[self._ids] = Stored(
            self._ids,
            planned.job_type,
            planned.priority,
            self.model.at(int(planned.delay * MICRO)),
            planned.unique_key,
            planned.concurrency_key,
        )
        return self._ids

    def is_slept_for(self, job_type: str) -> bool:
        return any(conn.asleep[job_type] > 0 for conn in self.connections)

    def cancel(self, job_id: int) -> bool:
        """What an operator commits; False if the row is locked."""
        if job_id in self.locked:
            return False
        if self.job(job_id).status in {PENDING, PROCESSING}:
            self.model.change(job_id, status="cancelled", token=None, error="cancelled")
            self.notify("ops_jobs_cancelled", str(job_id))
        return True

    def end(self, job: ModelJob, status: str, **changed: object) -> None:
        """An attempt is over, and with it the job unless it is pending again."""
        self.model.end(job, status, **changed)
        if self.job(job.id).status != PENDING:
            self.ended[job.id] = self.loop.now
            self.one_ended.set()

    def notify(self, channel: str, *payloads: str) -> None:
        for conn in self.connections if payloads else ():
            conn.hear(channel, payloads)

    def _with_token(self, pairs: Iterable[tuple[int, int]]) -> list[Stored]:
        """Rows that carry these tokens and that nobody has locked, in the order of their ids."""
        found = [
            self.job(job_id)
            for job_id, token in sorted(pairs)
            if job_id in self.model.jobs and self.job(job_id).token == token
        ]
        return [job for job in found if job.id not in self.locked]
