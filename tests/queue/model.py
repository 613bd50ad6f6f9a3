"""The queue as a few dictionaries: what each statement promises, without SQL.

Time stands in whole seconds of the model's own clock, and moves in steps that are large beside the
real time that a test takes.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from itertools import count

CRASH_BUDGET = 2
ANY_CRASHES = (1, 32767)
PENDING, PROCESSING = "pending", "processing"


@dataclass(frozen=True)
class ModelJob:
    """A job; ``due`` is its run_at with the order in which times were written."""

    id: int
    job_type: str
    priority: int
    due: tuple[int, int]
    unique_key: str | None
    concurrency_key: str | None
    status: str = PENDING
    attempts: int = 0
    crashes: int = 0
    charged: int = 0  # how often in all, as its evidence tells
    token: int | None = None
    process: str | None = None
    renewed: int = 0
    until: int = 0

    @property
    def place(self) -> tuple[int, tuple[int, int], int]:
        """Where it stands in the order of claims."""
        return -self.priority, self.due, self.id


@dataclass
class Model:
    """All jobs, the pauses, and the time."""

    jobs: dict[int, ModelJob] = field(default_factory=dict)
    paused: dict[str, int | None] = field(default_factory=dict)
    now: int = 0
    writes: count[int] = field(default_factory=count)

    def change(self, job_id: int, **columns: object) -> None:
        self.jobs[job_id] = replace(self.jobs[job_id], **columns)  # type: ignore[arg-type]

    def at(self, delay: int) -> tuple[int, int]:
        """A time to be written now."""
        return self.now + delay, next(self.writes)

    # --- what may be claimed --------------------------------------------------------------------

    def due(self, job_types: list[str]) -> list[ModelJob]:
        """Pending jobs of types that are not paused and whose time has come, in order."""
        open_types = [
            kind
            for kind in job_types
            if kind not in self.paused or (self.paused[kind] or self.now + 1) <= self.now
        ]
        found = [
            job
            for job in self.jobs.values()
            if job.status == PENDING and job.job_type in open_types and job.due[0] <= self.now
        ]
        return sorted(found, key=lambda job: job.place)

    def ordinary(self, job_types: list[str]) -> list[ModelJob]:
        return [j for j in self.due(job_types) if not j.crashes and j.concurrency_key is None]

    def room(self, key: str | None, per_key: int) -> int:
        """How many more jobs of a key may run."""
        running = [
            j for j in self.jobs.values() if j.status == PROCESSING and j.concurrency_key == key
        ]
        return per_key - len(running)

    def keyed(self, job_types: list[str], per_key: int) -> list[ModelJob]:
        """Of each key as many as there is room for, before the first ordinary job."""
        ordinary = self.ordinary(job_types)
        found: list[ModelJob] = []
        waiting = [j for j in self.due(job_types) if j.concurrency_key and not j.crashes]
        reachable = {
            j.concurrency_key for j in waiting if not ordinary or j.place < ordinary[0].place
        }
        for job in waiting:
            taken = [j for j in found if j.concurrency_key == job.concurrency_key]
            free = self.room(job.concurrency_key, per_key) - len(taken)
            if job.concurrency_key in reachable and free > 0:
                found.append(job)
        return found

    def suspects(
        self,
        job_types: list[str],
        *,
        keyed: bool,
        per_key: int = 1,
        crashes: tuple[int, int] = ANY_CRASHES,
    ) -> list[ModelJob]:
        least, most = crashes
        return [
            j
            for j in self.due(job_types)
            if j.crashes
            and least <= j.crashes <= most
            and (j.concurrency_key is not None) == keyed
            and (not keyed or self.room(j.concurrency_key, per_key) > 0)
        ]

    def last_chance_waits(self, job_types: list[str], most: int, per_key: int = 1) -> bool:
        """One with more crashes than ``most`` could be claimed, with or without a key."""
        beyond = (most + 1, ANY_CRASHES[1])
        return any(
            self.suspects(job_types, keyed=keyed, per_key=per_key, crashes=beyond)
            for keyed in (False, True)
        )

    def crashes_for(self, process: str, budget: int = CRASH_BUDGET) -> tuple[int, int]:
        """How many crashes a suspect may have that this process takes: any if it holds nothing."""
        return (1, budget - 1) if self.held_by(process) else ANY_CRASHES

    def held_by(self, process: str | None) -> list[ModelJob]:
        return [j for j in self.jobs.values() if j.status == PROCESSING and j.process == process]

    def is_kept(self, process: str | None, budget: int = CRASH_BUDGET) -> bool:
        """A job at its last chance runs there: nothing is claimed beside it."""
        return any(j.crashes >= budget for j in self.held_by(process))

    # --- transitions ----------------------------------------------------------------------------

    def pending_with(self, job_type: str, unique_key: str | None) -> ModelJob | None:
        for job in self.jobs.values():
            same = (job.status, job.job_type, job.unique_key) == (PENDING, job_type, unique_key)
            if same and unique_key is not None:
                return job
        return None

    def claim(self, job: ModelJob, process: str, token: int, lease: int) -> None:
        self.change(
            job.id,
            status=PROCESSING,
            attempts=job.attempts + 1,
            token=token,
            process=process,
            renewed=self.now,
            until=self.now + lease,
        )

    def end(self, job: ModelJob, status: str, **columns: object) -> None:
        """Leave processing; a return to pending yields to a pending job with the unique key."""
        if status == PENDING and self.pending_with(job.job_type, job.unique_key):
            status = "cancelled"
        self.change(job.id, status=status, token=None, **columns)

    def crashes_after(self, job: ModelJob, *, acquits: bool, refund: bool) -> int:
        """How many stay if the job goes on: an end of its own takes a first one back.

        What costs no attempt does so once.
        """
        going_on = self.pending_with(job.job_type, job.unique_key) is None
        taken_back = acquits and going_on and not (refund and job.charged > 1)
        return 0 if taken_back and job.crashes == 1 else job.crashes

    def rescue(self, budget: int = CRASH_BUDGET, locked: Container[int] = ()) -> None:
        """Lapsed jobs come back; of a process that held a suspect only the suspect is charged.

        Rows that somebody has ``locked`` are passed over.
        """
        held = [j for j in self.jobs.values() if j.status == PROCESSING]
        suspected = {j.process for j in held if j.crashes}
        free = [j for j in held if j.id not in locked]
        lapsed = [j for j in free if not j.crashes and j.until < self.now]
        stay = {j.process for j in held if not j.crashes and j not in lapsed}
        charged = [
            j
            for j in free
            if j.crashes
            and j.until < self.now
            and (j.process not in stay or 2 * j.until - j.renewed < self.now)
        ]
        innocent = [j for j in lapsed if j.process in suspected]
        guilty = [j for j in lapsed if j.process not in suspected] + charged
        # of two that return with one unique key the newer stays
        for job in sorted([*innocent, *guilty], key=lambda job: -job.id):
            times = {"crashes": job.crashes + (job in guilty), "attempts": job.attempts - 1}
            status = "failed" if job in guilty and job.crashes >= budget else PENDING
            self.end(job, status, charged=job.charged + (job in guilty), process=None, **times)
