"""A database without a database: the model of the queue behind connections that can fail.

What each statement of the queue means is the model's affair (``tests/queue/model.py``), which is
held to the real SQL by ``tests/queue/test_model.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg

from dragonfly.job import Claim
from dragonfly.queue.fragments import LOST
from tests.queue.model import PENDING, PROCESSING, ModelJob
from tests.simulation.rows import (
    BEAT_ROW,
    CLAIM_ROW,
    EMPTY_CLAIM_ROW,
    END_ROW,
    EPOCH,
    ID_ROW,
    KEY_ROW,
    LITTER_ROW,
    MAX_ATTEMPTS,
    MICRO,
    SESSION_ROW,
    SUSPECT_ROW,
    TOKEN_ROW,
    VALUE_ROW,
    Row,
    Stored,
    Taken,
    Work,
)
from tests.simulation.table import Table

if TYPE_CHECKING:
    from tests.simulation.connections import Connection

NEXT_TO_NOTHING = 1e-4


class Server(Table):
    """Answers the statements of the queue."""

    # --- claims ---------------------------------------------------------------------------------

    def _take(self, jobs: Sequence[ModelJob], who: str, lease: float, token: int) -> list[Row]:
        for job in jobs:
            process = who.partition("@")[2]
            self.model.claim(job, process, token, int(lease * MICRO))
            if self.model.is_kept(process, self._last_chance) and self.model.held_by(process)[1:]:
                self.complain(f"{who} holds something beside a job at its last chance")
            self.model.change(job.id, locked_by=who)
            self.claims.append(Taken(self.loop.now, job.id, token, who))
        return [self._claimed(self.job(job.id)) for job in jobs]

    def _claimed(self, job: Stored) -> Row:
        return CLAIM_ROW(
            job.id, job.job_type, "{}", job.attempts, MAX_ATTEMPTS, job.crashes, job.token,
            None, None,
        )  # fmt: skip

    def _free(self, jobs: Sequence[ModelJob]) -> list[ModelJob]:
        return [job for job in jobs if job.id not in self.locked]

    def _waiting(self, types: Sequence[str], *, keyed_too: bool = False) -> list[ModelJob]:
        """Pending jobs of types that are not paused, due or not, without suspects."""
        return [
            job
            for job in self.model.jobs.values()
            if job.status == PENDING
            and not job.crashes
            and job.job_type in types
            and not self._is_paused(job.job_type)
            and (job.concurrency_key is not None) == keyed_too
        ]

    def _is_paused(self, job_type: str) -> bool:
        return job_type in self.model.paused

    def claim_head(
        self, _: Work | None, types: list[str], limit: int, who: str, lease: float, token: int
    ) -> list[Row]:
        top = max((job.priority for job in self._waiting(types)), default=0)
        first = [job for job in self.model.ordinary(types) if job.priority == top]
        return self._take(self._free(first)[:limit], who, lease, token)

    def claim_head_of(self, work: Work | None, job_type: str, *options: Any) -> list[Row]:
        return self.claim_head(work, [job_type], *options)

    def claim_behind(
        self,
        work: Work | None,
        types: list[str],
        limit: int,
        who: str,
        lease: float,
        token: int,
        behind: int,
    ) -> list[Row]:
        last = self.model.jobs[behind]
        top = max((job.priority for job in self._waiting(types)), default=-1)
        if last.status == PENDING or top > last.priority:
            return self.claim_head(work, types, limit, who, lease, token) if top >= 0 else []
        next_ones = [
            job
            for job in self.model.ordinary(types)
            if job.priority == last.priority and job.place > last.place
        ]
        return self._take(self._free(next_ones)[:limit], who, lease, token)

    def claim(
        self, _: Work | None, types: list[str], limit: int, who: str, lease: float, token: int
    ) -> list[Row]:
        due = self._free(self.model.ordinary(types))
        if due:
            return self._take(due[:limit], who, lease, token)
        waits = [job.due[0] for job in self._waiting(types)]
        pending = [j for j in self.all(PENDING) if j.job_type in types and j.crashes]
        suspects = [job.due[0] for job in pending if not self._is_paused(job.job_type)]
        waits += [at for at in suspects if at > self.model.now]
        due_in = (min(waits) - self.model.now) / MICRO if waits else None
        suspect_due = any(at <= self.model.now for at in suspects)
        keyed_wait = bool(self._waiting(types, keyed_too=True))
        return [EMPTY_CLAIM_ROW(*[None] * len(Claim._fields), due_in, suspect_due, keyed_wait)]

    @property
    def _last_chance(self) -> int:
        return max(1, self.fate.settings.crash_budget)

    def claim_suspect(
        self,
        _: Work | None,
        types: list[str],
        who: str,
        lease: float,
        token: int,
        least: int,
        most: int,
        per_key: int,
    ) -> list[Row]:
        suspects = self.model.suspects(types, keyed=False, crashes=(least, most))
        told = self.model.last_chance_waits(types, most, per_key)
        taken = self._take(self._free(suspects)[:1], who, lease, token)
        nobody = [None] * len(Claim._fields)
        return [SUSPECT_ROW(*(taken[0] if taken else nobody), told)]

    def unclaim(self, _: Work | None, tokens: Sequence[int]) -> list[Row]:
        mine = [job for job in self.all(PROCESSING) if job.token in tokens]
        for job in sorted(mine, key=lambda job: -job.id):
            self.end(job, PENDING, attempts=job.attempts - 1)
        return [ID_ROW(job.id) for job in mine]

    # --- claims of jobs with keys ---------------------------------------------------------------

    def _lock_keys(self, work: Work, keys: Iterable[str]) -> set[str]:
        got = {key for key in keys if key not in self.locked_keys}
        self.locked_keys |= got
        work.keys |= got
        return got

    def keyed_wait(self, _: Work | None, types: list[str]) -> list[Row]:
        return [VALUE_ROW(bool(self._waiting(types, keyed_too=True)))]

    def lock_keys(
        self, work: Work, types: list[str], keys_most: int, per_key: int, _behind: str
    ) -> list[Row]:
        found = self.model.keyed(types, per_key)
        picked = list(dict.fromkeys(job.concurrency_key or "" for job in found))[:keys_most]
        ours = self._lock_keys(work, picked)
        later = [
            j.due[0] for j in self._waiting(types, keyed_too=True) if j.due[0] > self.model.now
        ]
        due_in = (min(later) - self.model.now) / MICRO if later else None
        rows = [KEY_ROW(key, None, None, key in ours) for key in picked]
        return [*rows, KEY_ROW(None, due_in, "", False)]

    def lock_suspect_key(
        self, work: Work, types: list[str], per_key: int, least: int, most: int
    ) -> list[Row]:
        found = self.model.suspects(types, keyed=True, per_key=per_key, crashes=(least, most))
        picked = [job.concurrency_key or "" for job in found[:1]]
        return [KEY_ROW(key, None, None, True) for key in self._lock_keys(work, picked)]

    def claim_keyed(
        self,
        work: Work,
        types: list[str],
        limit: int,
        who: str,
        lease: float,
        token: int,
        keys: list[str],
        per_key: int,
        least: int,
        most: int,
    ) -> list[Row]:
        ready: list[ModelJob] = []
        for key in keys:
            due = [
                job
                for job in self._free(self.model.due(types))
                if job.concurrency_key == key and least <= job.crashes <= most
            ]
            ready += due[: max(0, self.model.room(key, per_key))]
        ready = sorted(ready, key=lambda job: job.place)[:limit]
        work.locks |= {job.id for job in ready}
        self.locked |= work.locks
        work.writes.append(lambda: self._take(ready, who, lease, token))
        shown = [replace(self.job(j.id), attempts=j.attempts + 1, token=token) for j in ready]
        return [self._claimed(job) for job in shown]

    # --- ends -----------------------------------------------------------------------------------

    def complete(
        self, _: Work | None, ids: list[int], tokens: list[int], _results: list[str]
    ) -> list[Row]:
        mine = self._with_token(zip(ids, tokens, strict=True))
        for job in mine:
            self._complete(job)
        return [ID_ROW(job.id) for job in mine]

    def complete_batch(self, _: Work | None, ids: str, token: int) -> list[Row]:
        wanted = [int(each) for each in ids.strip("{}").split(",")]
        return self.complete(None, wanted, [token] * len(wanted), [])

    def _complete(self, job: ModelJob) -> None:
        self.end(job, "completed")
        self._ring_for_its_key(job)

    def _ring_for_its_key(self, job: ModelJob) -> None:
        if job.concurrency_key is not None:
            self.notify("ops_jobs", job.job_type)

    def finish(self, _: Work | None, *columns: list[Any]) -> list[Row]:
        given = {row[0]: row for row in zip(*columns, strict=True)}
        mine = self._with_token((row[0], row[1]) for row in given.values())
        for job in sorted(mine, key=lambda job: -job.id):
            status, _result, error, _detail, delay, run_at, refund, acquits = given[job.id][2:]
            changed: dict[str, Any] = {"attempts": job.attempts - int(refund)}
            if status == PENDING:
                left = self.model.crashes_after(job, acquits=acquits, refund=refund)
                changed["crashes"] = left
            if error:
                changed["error"] = error
            if status == PENDING and (delay is not None or run_at is not None):
                seconds = delay if run_at is None else (run_at - self.moment()).total_seconds()
                changed["due"] = self.model.at(int(seconds * MICRO))
            self.end(job, str(status), **changed)
            now = self.model.jobs[job.id]
            if now.status == PENDING and now.due[0] <= self.model.now:
                self.notify("ops_jobs", job.job_type)
            else:
                self._ring_for_its_key(job)
        return [END_ROW(job.id, self.job(job.id).status) for job in mine]

    def moment(self) -> datetime:
        """The database's time as it tells it."""
        return EPOCH + timedelta(microseconds=self.model.now)

    def complete_one(self, work: Work, job_id: int, token: int, _result: str | None) -> list[Row]:
        self._require_ours(job_id, token)
        self._lock(work, job_id)
        work.writes.append(lambda: self._complete(self.job(job_id)))
        work.writes.append(lambda: self.effects.update([job_id]))
        return [ID_ROW(job_id)]

    def fence(self, work: Work, job_id: int, token: int) -> list[Row]:
        job = self._require_ours(job_id, token)
        self._lock(work, job_id)
        lease = job.until - job.renewed
        if job.until < self.model.now + lease / 2:
            times = {"renewed": self.model.now, "until": self.model.now + lease}
            work.writes.append(lambda: self.model.change(job_id, **times))
        return [ID_ROW(job_id)]

    def _require_ours(self, job_id: int, token: int) -> ModelJob:
        """What a proof does where the job has another holder."""
        for job in self._with_token([(job_id, token)]):
            return job
        raise asyncpg.InvalidTextRepresentationError(f"no integer: {LOST!r}")

    def _lock(self, work: Work, job_id: int) -> None:
        work.locks.add(job_id)
        self.locked.add(job_id)

    # --- life -----------------------------------------------------------------------------------

    def renew(self, _: Work | None, ids: list[int], tokens: list[int], lease: float) -> list[Row]:
        mine = self._with_token(zip(ids, tokens, strict=True))
        for job in mine:
            until = self.model.now + int(lease * MICRO)
            self.model.change(job.id, renewed=self.model.now, until=until)
        return [ID_ROW(job.id) for job in mine]

    def tokens(self, _: Work | None, ids: list[int]) -> list[Row]:
        return [TOKEN_ROW(job_id, self.job(job_id).token) for job_id in ids]

    def finished_by_us(self, _: Work | None, ids: list[int], holders: Sequence[str]) -> list[Row]:
        mine = [self.job(job_id) for job_id in ids]
        ended = [job for job in mine if job.token is None and job.locked_by in holders]
        return [END_ROW(job.id, job.status) for job in ended]

    def rescue(self, _: Work | None, budget: int, _limit: int, not_after: datetime) -> list[Row]:
        if self.moment() >= not_after:
            return []
        self._require_a_lease_of_beats()
        before = [job.id for job in self.all(PROCESSING)]
        self.model.rescue(budget, self.locked)
        after = [self.job(job_id) for job_id in before if self.job(job_id).status != PROCESSING]
        for job in after:
            self.model.change(job.id, locked_by=None, error="crashed")
            self.notify("ops_jobs", job.job_type)
        return [END_ROW(job.id, job.status) for job in after]

    def _require_a_lease_of_beats(self) -> None:
        """Only a process that has beaten for a whole lease without a gap may rescue."""
        lease, later = self.fate.settings.lease_seconds, self.loop.now
        for at in reversed(self._beats_of.get(self.speaker, ())):
            if later - at > lease / 2 + NEXT_TO_NOTHING:
                break
            if self.loop.now - at > lease - NEXT_TO_NOTHING:
                return
            later = at
        self.complain(f"{self.speaker} rescues before it has renewed for a lease")

    def beat(self, _: Work | None, who: str, _kind: str, status: str, *_more: Any) -> list[Row]:
        self.beats[who] = str(status)
        self._beats_of.setdefault(self.speaker, []).append(self.loop.now)
        lapsed = any(job.until < self.model.now for job in self.all(PROCESSING))
        return [BEAT_ROW(self.moment(), lapsed)]

    def nothing(self, _: Work | None, *_args: Any) -> list[Row]:
        return []

    def litter(self, _: Work | None) -> list[Row]:
        """Nothing is dead here for long."""
        return [LITTER_ROW(0, len(self.model.jobs), 0, True)]

    def effect(self, work: Work, _job_id: int, _token: int) -> list[Row]:
        """A handler's own write."""
        assert work is not None
        return [VALUE_ROW(None)]

    # --- sessions -------------------------------------------------------------------------------

    def ask(self, _: Work | None, pids: list[int], _ages: list[float]) -> list[Row]:
        """It works at nothing, once it has answered; so each session is idle, for so long."""
        now = self.loop.now
        known = [conn for conn in self.connections if conn.number in pids]
        return [SESSION_ROW(conn.number, True, now - conn.heard_at) for conn in known]

    def end_sessions(
        self, _: Work | None, pids: list[int], _ages: list[float], quiet: float
    ) -> list[Row]:
        known = [conn for conn in self.connections if conn.number in pids]
        late = [conn for conn in known if self.loop.now - conn.heard_at >= quiet]
        for conn in late:
            conn.cut()
        return [VALUE_ROW(len(late))]

    # --- sleepers -------------------------------------------------------------------------------

    def fall_asleep(self, _: Work | None, types: list[str]) -> list[Row]:
        self._hears().asleep.update(types)
        return []

    def wake_up(self, _: Work | None, types: list[str]) -> list[Row]:
        locks = self._hears().asleep
        locks.subtract(types)
        if min(locks.values()) < 0:
            self.complain(f"{self.speaker} gives back a lock that it does not hold")
        return []

    def writers(self, _: Work | None) -> list[Row]:
        return [VALUE_ROW(name) for name in sorted(self.open)]

    def _hears(self) -> Connection:
        """The session that said so: the one by which its process listens."""
        mine = (conn for conn in self.connections if conn.owner == self.speaker)
        return next(conn for conn in mine if conn.purpose == "listen")

    # --- transactions ---------------------------------------------------------------------------

    def commit(self, work: Work) -> None:
        writes = [] if work.failed else work.writes
        self.undo(work)
        for write in writes:
            write()

    def undo(self, work: Work) -> None:
        """Forget its writes and let go of its locks."""
        self.locked -= work.locks
        self.locked_keys -= work.keys
        work.locks, work.keys, work.writes = set(), set(), []
