"""The statements of the queue and a model of them, in step, whatever hypothesis thinks of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dragonfly.errors import JobLost
from dragonfly.job import Claim, Completion, Finish, JobStatus
from dragonfly.queue import keyed, pauses, store
from tests.queue.conftest import EMPTY
from tests.queue.model import CRASH_BUDGET, PENDING, PROCESSING, Model, ModelJob

TYPES = ["a", "b"]
LEASE, STEP = 150, 100
SHIFT = """
UPDATE ops.jobs
   SET run_at = run_at - $1::interval, locked_at = locked_at - $1::interval,
       locked_until = locked_until - $1::interval
"""
LATER = "UPDATE ops.pauses SET until = until - make_interval(secs => $1)"
CRASH = "UPDATE ops.jobs SET crashes = $1 WHERE id = $2"
# how a job goes back to pending
BACK: dict[str, dict[str, Any]] = {
    "retried": {"delay": float(STEP), "error": "why", "acquits": True},
    "snoozed": {"delay": float(STEP), "refund": True, "acquits": True},
    "given back": {"refund": True},
}
IN_SECONDS = "SELECT clock_timestamp() + make_interval(secs => $1)"
STATE = """
SELECT id, status, attempts, crashes, lock_token, split_part(locked_by, '@', 2)
  FROM ops.jobs ORDER BY id
"""


class Queue(RuleBasedStateMachine):
    """Two processes, two job types, a unique key and two concurrency keys."""

    dsn = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.tokens = 0
        self.conn: asyncpg.Connection = self.run(asyncpg.connect(self.dsn))
        self.run(self.conn.execute(EMPTY))

    def run(self, step: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(step)

    def teardown(self) -> None:
        self.run(self.conn.close())
        self.runner.close()

    def token(self) -> int:
        self.tokens += 1
        return self.tokens

    def held(self, wanted: Callable[[ModelJob], bool] = lambda _: True) -> list[ModelJob]:
        found = [j for j in self.model.jobs.values() if j.status == PROCESSING and wanted(j)]
        return sorted(found, key=lambda job: job.id)

    def taken(self, claims: list[Claim], jobs: list[ModelJob], process: str, token: int) -> None:
        """These jobs, in this order, were to be claimed."""
        assert [job.id for job in jobs] == [claim.id for claim in claims]
        assert {token} >= {claim.lock_token for claim in claims}
        for job in jobs:
            self.model.claim(job, process, token, LEASE)

    @initialize(
        jobs=st.lists(
            st.tuples(st.integers(0, CRASH_BUDGET), st.sampled_from([None, "k", "l"])),
            min_size=4,
            max_size=9,
        )
    )
    def something_waits(self, jobs: list[tuple[int, str | None]]) -> None:
        """A queue that is not empty, with jobs that were in flight when a process died."""
        for crashes, key in jobs:
            self.enqueue("a", 0, 0, None, key)
            job_id = max(self.model.jobs)
            self.run(self.conn.execute(CRASH, crashes, job_id))
            self.model.change(job_id, crashes=crashes)

    # --- what clients do ------------------------------------------------------------------------

    @rule(
        job_type=st.sampled_from(TYPES),
        priority=st.integers(0, 1),
        delay=st.sampled_from([0, 0, STEP]),
        unique_key=st.sampled_from([None, None, "u"]),
        concurrency_key=st.sampled_from([None, None, "k", "l"]),
    )
    def enqueue(
        self,
        job_type: str,
        priority: int,
        delay: int,
        unique_key: str | None,
        concurrency_key: str | None,
    ) -> None:
        now = self.run(self.conn.fetchval(IN_SECONDS, float(delay)))
        options: dict[str, Any] = {"unique_key": unique_key, "concurrency_key": concurrency_key}
        job_id = self.run(
            store.enqueue(self.conn, job_type, {}, run_at=now, priority=priority, **options)
        )
        before = self.model.pending_with(job_type, unique_key)
        if before is not None:
            assert before.id == job_id
            return
        due = self.model.at(delay)
        self.model.jobs[job_id] = ModelJob(job_id, job_type, priority, due, **options)

    @precondition(lambda self: self.model.jobs)
    @rule(
        data=st.data(),
        deed=st.sampled_from(["cancel", "retry", "pause", "resume"]),
        job_type=st.sampled_from(TYPES),
        until=st.sampled_from([None, STEP]),
    )
    def operate(self, data: st.DataObject, deed: str, job_type: str, until: int | None) -> None:
        job = self.model.jobs[data.draw(st.sampled_from(sorted(self.model.jobs)))]
        match deed:
            case "cancel":
                self.cancel(job)
            case "retry":
                self.retry(job)
            case "pause":
                self.pause(job_type, until)
            case _:
                self.resume(job_type)

    def cancel(self, job: ModelJob) -> None:
        live = job.status in {PENDING, PROCESSING}
        assert live == self.run(store.cancel(self.conn, job.id, "why"))
        if live:
            self.model.change(job.id, status="cancelled", token=None)

    def retry(self, job: ModelJob) -> None:
        ended = job.status not in {PENDING, PROCESSING}
        able = ended and self.model.pending_with(job.job_type, job.unique_key) is None
        assert able == self.run(store.retry(self.conn, job.id))
        if able:
            self.model.change(job.id, status=PENDING, attempts=0, crashes=0, due=self.model.at(0))

    def pause(self, job_type: str, until: int | None) -> None:
        now = self.run(self.conn.fetchval(IN_SECONDS, float(until or 0)))
        over = self.model.paused.get(job_type, -1)
        free = job_type not in self.model.paused or (over is not None and over <= self.model.now)
        done = self.run(pauses.pause(self.conn, job_type, "ada", "why", now if until else None))
        assert free == done
        if free:
            self.model.paused[job_type] = None if until is None else self.model.now + until

    def resume(self, job_type: str) -> None:
        over = self.model.paused.pop(job_type, -1)
        assert (over is None or over > self.model.now) == self.run(
            pauses.resume(self.conn, job_type)
        )

    # --- what workers do ------------------------------------------------------------------------

    @rule(
        process=st.sampled_from(["p", "q"]),
        types=st.sampled_from([TYPES, ["a"]]),
        limit=st.integers(1, 3),
        head=st.booleans(),
    )
    def claim(self, process: str, types: list[str], limit: int, head: bool) -> None:
        if self.model.is_kept(process):
            return
        due, token = self.model.ordinary(types), self.token()
        options = (self.conn, types, limit, f"w.1@{process}", LEASE, token)
        if head:
            levels = [job.priority for job in self.model.jobs.values() if self._ladder(job, types)]
            first = [job for job in due if job.priority == max(levels, default=0)]
            self.taken(self.run(store.claim_head(*options)), first[:limit], process, token)
            return
        claimed = self.run(store.claim(*options))
        self.taken(claimed.jobs, due[:limit], process, token)
        if not due:
            keyed_wait = [j for j in self.model.jobs.values() if self._ladder(j, types, keyed=True)]
            suspects = [j for j in self.model.due(types) if j.crashes]
            assert (bool(suspects), bool(keyed_wait)) == (
                claimed.suspects_wait,
                claimed.keyed_wait,
            )

    def _ladder(self, job: ModelJob, types: list[str], *, keyed: bool = False) -> bool:
        """It stands among the claimable jobs of its type, due or not."""
        over = self.model.paused.get(job.job_type, -1)
        paused = job.job_type in self.model.paused and (over is None or over > self.model.now)
        return (
            job.status == PENDING
            and not job.crashes
            and not paused
            and job.job_type in types
            and (job.concurrency_key is not None) == keyed
        )

    @rule(process=st.sampled_from(["p", "q"]), limit=st.integers(1, 3), per_key=st.integers(1, 2))
    def claim_keyed(self, process: str, limit: int, per_key: int) -> None:
        if self.model.is_kept(process):
            return
        token = self.token()
        options = (limit, per_key, f"w.1@{process}", LEASE, token)
        found = self.run(keyed.claim_keyed(self.conn, TYPES, *options))
        expected = self.model.keyed(TYPES, per_key)
        keys = list(dict.fromkeys(job.concurrency_key for job in expected))[:limit]
        expected = [job for job in expected if job.concurrency_key in keys]
        self.taken(found.jobs, expected[:limit], process, token)

    @rule(process=st.sampled_from(["p", "q"]), sought=st.booleans())
    def claim_suspect(self, process: str, sought: bool) -> None:
        if self.held(lambda job: bool(job.crashes) and job.process == process):
            return  # a process holds one at a time
        least, most = self.model.crashes_for(process)
        if sought and most > CRASH_BUDGET:  # it has been emptied for one at its last chance
            least = CRASH_BUDGET
        crashes = (least, most)
        token = self.token()
        options = (f"w.1@{process}", LEASE, token)
        found = self.run(store.claim_suspect(self.conn, TYPES, *options, crashes=crashes))
        assert self.model.last_chance_waits(TYPES, most) == found.last_chance_waits
        claim = found.job
        expected = self.model.suspects(TYPES, keyed=False, crashes=crashes)
        if claim is None:
            assert [] == expected
            expected = self.model.suspects(TYPES, keyed=True, crashes=crashes)
            claim = self.run(
                keyed.claim_keyed_suspect(self.conn, TYPES, 1, *options, crashes=crashes)
            )
        self.taken([claim] if claim else [], expected[:1], process, token)

    @precondition(lambda self: self.held())
    @rule(process=st.sampled_from(["p", "q"]))
    def renew(self, process: str) -> None:
        mine = self.held(lambda job: job.process == process)
        claims = [Claim(j.id, j.job_type, "{}", 1, 8, 0, j.token or 0, None, None) for j in mine]
        stale = [claim._replace(lock_token=-1) for claim in claims]
        assert set() == self.run(store.renew(self.conn, stale, LEASE))
        assert {job.id for job in mine} == self.run(store.renew(self.conn, claims, LEASE))
        for job in mine:
            self.model.change(job.id, renewed=self.model.now, until=self.model.now + LEASE)

    @precondition(lambda self: self.held())
    @rule(
        data=st.data(),
        end=st.sampled_from(["completed", "failed", "cancelled", *BACK]),
        stale=st.sampled_from([False, False, False, True]),
    )
    def finish(self, data: st.DataObject, end: str, stale: bool) -> None:
        job = data.draw(st.sampled_from(self.held()))
        status = JobStatus.PENDING if end in BACK else JobStatus(end)
        finish = Finish(job.id, -1 if stale else job.token or 0, status)._replace(
            **BACK.get(end, {})
        )
        written = self.run(store.finish(self.conn, [finish]))
        if stale:
            assert {} == written
            return
        columns: dict[str, Any] = {}
        if finish.delay is not None:
            columns["due"] = self.model.at(int(finish.delay))
        if status is JobStatus.PENDING:
            ways = {"acquits": finish.acquits, "refund": finish.refund}
            columns["crashes"] = self.model.crashes_after(job, **ways)
        attempts = job.attempts - int(finish.refund)
        self.model.end(job, str(status), attempts=attempts, **columns)
        assert {job.id: self.model.jobs[job.id].status} == written

    @precondition(lambda self: self.held())
    @rule(data=st.data(), stale=st.booleans(), way=st.integers(0, 2))
    def succeed(self, data: st.DataObject, stale: bool, way: int) -> None:
        job = data.draw(st.sampled_from(self.held()))
        token = -1 if stale else job.token or 0
        finish = Finish(job.id, token, JobStatus.COMPLETED)
        if way == 0:
            done = bool(self.run(store.complete(self.conn, [finish])))
        elif way == 1:
            done = bool(self.run(store.complete_batch(self.conn, [job.id], token)))
        else:
            claim = Claim(job.id, job.job_type, "{}", 1, 8, 0, token, None, None)
            try:
                self.run(store.complete_within(self.conn, claim, Completion(None)))
                done = True
            except JobLost:
                done = False
        assert done == (not stale)
        if done:
            self.model.end(job, "completed")

    # --- what time does -------------------------------------------------------------------------

    @rule(steps=st.integers(1, 4))
    def time_passes(self, steps: int) -> None:
        self.run(self.conn.execute(SHIFT, timedelta(seconds=steps * STEP)))
        self.run(self.conn.execute(LATER, float(steps * STEP)))
        self.model.now += steps * STEP

    @precondition(lambda self: self.held())
    @rule(steps=st.sampled_from([0, 1, 2, 2, 3, 4]))
    def rescue(self, steps: int) -> None:
        if steps:
            self.time_passes(steps)
        before = self.held()
        self.run(store.rescue(self.conn, CRASH_BUDGET))
        self.model.rescue()
        for job in before:
            if self.model.jobs[job.id].status == "failed":
                assert [job] == [j for j in before if j.process == job.process], "it was not alone"

    @invariant()
    def model_and_table_agree(self) -> None:
        rows = self.run(self.conn.fetch(STATE))
        expected = [
            (j.id, j.status, j.attempts, j.crashes, j.token, j.process)
            for j in sorted(self.model.jobs.values(), key=lambda job: job.id)
        ]
        assert expected == [tuple(row) for row in rows]


def test_the_queue_does_what_the_model_says(shared: str) -> None:
    """Whatever clients, workers, operators and time do, the rows are as a few dictionaries say."""
    Queue.dsn = shared
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=30,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
