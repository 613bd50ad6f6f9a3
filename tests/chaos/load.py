"""The load of a soak: jobs that do everything a job can do, the orders they stand for, the books.

An order is written in the transaction that enqueues its job, an entry of the ledger in the commit
that finishes it: what the two tables add up to must be equal when everything has ended.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import asyncpg

from dragonfly import Job, Reject, Retry, Snooze, Worker, enqueue
from dragonfly.ops.drill import history
from dragonfly.ops.drill.history import Finding
from dragonfly.ops.drill.worker import QUICKLY, Notes, poison, returning, take_notes
from dragonfly.postgres.failures import TROUBLE

Payload = dict[str, Any]

LOAD = "tests.chaos.load:worker"
LONG = "drill_long"
REPEATED = "drill_repeated"
SNOOZED = "drill_snoozed"
REFUSED = "drill_refused"
BLOCKING = "drill_blocking"
SLOTS = 12
KEYS = 8
TICK_SECONDS = 0.25

BOOKS = """
CREATE TABLE drill.orders (job_id bigint PRIMARY KEY, amount integer NOT NULL);
CREATE TABLE drill.ledger (job_id bigint NOT NULL, amount integer NOT NULL)
"""
_ORDER = "INSERT INTO drill.orders VALUES ($1, $2) ON CONFLICT DO NOTHING"
_ENTRY = "INSERT INTO drill.ledger VALUES ($1, $2)"

worker = Worker("load", concurrency=SLOTS, lifespan=take_notes)
worker.job(history.RETURNING, retry=QUICKLY)(returning)
worker.job(history.POISON, retry=QUICKLY)(poison)


@worker.job(history.FENCED, retry=QUICKLY)
async def carry_out(job: Job[Payload]) -> None:
    """Carry out the order, in the commit that finishes the job."""
    notes: Notes = job.resources
    await notes.note(job, "start")
    await _enter(job, notes)


@worker.job(LONG, retry=QUICKLY)
async def take_long(job: Job[Payload]) -> None:
    """Seconds of work before the order is carried out."""
    notes: Notes = job.resources
    await notes.note(job, "start")
    await anyio.sleep(job.payload["work"])
    await _enter(job, notes)


@worker.job(REPEATED, retry=QUICKLY)
async def repeat(job: Job[Payload]) -> None:
    """Carry the order out at the attempt that the payload names; never, if there is none such."""
    notes: Notes = job.resources
    await notes.note(job, "start")
    if job.attempt < job.payload["attempts"]:
        raise Retry("not yet", after=0.2)
    await _enter(job, notes)


@worker.job(SNOOZED, retry=QUICKLY)
async def snooze(job: Job[Payload]) -> None:
    """Put the order off once."""
    notes: Notes = job.resources
    await notes.note(job, "start")
    if job.last_checkpoint is None:
        await job.checkpoint("snoozed")
        raise Snooze(after=1)
    await _enter(job, notes)


@worker.job(REFUSED, retry=QUICKLY)
async def refuse(job: Job[Payload]) -> None:
    """Find out in the middle of the transaction that the order cannot be carried out."""
    notes: Notes = job.resources
    await notes.note(job, "start")
    async with job.transaction() as conn:
        await _write(conn, job)
        raise Reject("REFUSED", "this order is refused")


@worker.job(BLOCKING, retry=QUICKLY)
async def block(job: Job[Payload]) -> None:
    """Block the event loop, as a library without an async interface does."""
    notes: Notes = job.resources
    await notes.note(job, "start")
    time.sleep(job.payload["work"])
    await _enter(job, notes)


async def _enter(job: Job[Payload], notes: Notes) -> None:
    async with job.transaction() as conn:
        await _write(conn, job)
        await notes.note(job, "effect")
        await anyio.sleep(job.payload.get("seconds", 0))
        job.complete()
    await notes.note(job, "end")


async def _write(conn: asyncpg.Connection, job: Job[Payload]) -> None:
    await conn.execute(history.EFFECT, job.id, job.claim.lock_token)
    await conn.execute(_ENTRY, job.id, job.payload["amount"])


# --- who orders -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Order:
    """A job to be asked for; ``options`` are those of ``enqueue``."""

    job_type: str
    payload: Payload = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def _keyed(rng: random.Random) -> Order:
    key = f"account {rng.randrange(KEYS)}"
    return Order(history.FENCED, {"seconds": 0.02}, {"concurrency_key": key})


def _later(rng: random.Random) -> Order:
    return Order(
        history.FENCED,
        options={"run_at": datetime.now(UTC) + timedelta(seconds=rng.uniform(0.5, 5))},
    )


def _hopeless(_: random.Random) -> Order:
    return Order(REPEATED, {"attempts": 9, "ends": "failed"}, {"max_attempts": 3})


# how many of a hundred, and of what kind
MIX: dict[str, tuple[int, Callable[[random.Random], Order]]] = {
    "short": (30, lambda rng: Order(history.FENCED, {"seconds": rng.uniform(0, 0.03)})),
    "long": (4, lambda rng: Order(LONG, {"work": rng.uniform(1, 3)})),
    "returning": (15, lambda rng: Order(history.RETURNING, {"result": rng.random()})),
    "retried": (6, lambda rng: Order(REPEATED, {"attempts": rng.randint(2, 3)})),
    "snoozed": (5, lambda _: Order(SNOOZED)),
    "unique": (
        10,
        lambda rng: Order(history.FENCED, options={"unique_key": f"{rng.randrange(20)}"}),
    ),
    "keyed": (10, _keyed),
    "later": (8, _later),
    "urgent": (7, lambda rng: Order(history.FENCED, options={"priority": rng.randint(1, 9)})),
    "refused": (3, lambda _: Order(REFUSED, {"ends": "failed"})),
    "hopeless": (2, _hopeless),
}


class Orders:
    """Asks for jobs at a steady pace, whatever happens to the server; ``told`` are those it got."""

    def __init__(self, dsn: str, rng: random.Random, rate: float) -> None:
        self._dsn, self._rng, self._rate = dsn, rng, rate
        self._over = False
        self.told: set[int] = set()
        self.refused = 0

    def enough(self) -> None:
        """Ask for no more."""
        self._over = True

    async def run(self) -> None:
        """Ask until it is enough."""
        conn: asyncpg.Connection | None = None
        while not self._over:
            began = anyio.current_time()
            try:
                conn = conn or await asyncpg.connect(self._dsn)
                self.told |= await self._ask(conn)
            except TROUBLE:
                self.refused += 1
                if conn is not None:
                    conn.terminate()
                conn = None
            await anyio.sleep(max(0.0, began + TICK_SECONDS - anyio.current_time()))
        if conn is not None:
            await conn.close()

    async def _ask(self, conn: asyncpg.Connection) -> set[int]:
        weights, makers = zip(*MIX.values(), strict=True)
        made = self._rng.choices(makers, weights, k=round(self._rate * TICK_SECONDS))
        asked: set[int] = set()
        async with conn.transaction():
            for order in [maker(self._rng) for maker in made]:
                asked.add(await put(conn, order, self._rng.randint(1, 100)))
        return asked


async def put(conn: asyncpg.Connection, order: Order, amount: int) -> int:
    """The order and its job, in one transaction of the caller's; the job's id."""
    payload = order.payload | {"amount": amount}
    job_id = await enqueue(conn, order.job_type, payload, **order.options)
    await conn.execute(_ORDER, job_id, amount)
    return job_id


# --- whether the books balance --------------------------------------------------------------------

_MISSING = "SELECT id FROM unnest($1::bigint[]) AS told (id) EXCEPT SELECT id FROM ops.jobs"
_NOT_ORDERED = """
SELECT coalesce(j.id, o.job_id) AS id
  FROM ops.jobs j FULL JOIN drill.orders o ON o.job_id = j.id
 WHERE j.id IS NULL OR o.job_id IS NULL
"""
_UNBALANCED = """
SELECT coalesce(due.id, done.id) AS id
  FROM (SELECT o.job_id AS id, o.amount FROM drill.orders o JOIN ops.jobs j ON j.id = o.job_id
         WHERE coalesce(j.payload ->> 'ends', 'completed') = 'completed'
           AND j.status <> 'cancelled' AND j.job_type <> 'drill_return') AS due
  FULL JOIN (SELECT l.job_id AS id, sum(l.amount) AS amount FROM drill.ledger l
              GROUP BY l.job_id) AS done ON done.id = due.id
 WHERE due.amount IS DISTINCT FROM done.amount
"""
# whatever gave way to another job with its unique key, that one was carried out after it
_GAVE_WAY_TO_NOBODY = """
SELECT j.id FROM ops.jobs j
 WHERE j.status = 'cancelled' AND NOT EXISTS (
       SELECT FROM ops.jobs other
        WHERE other.job_type = j.job_type AND other.unique_key = j.unique_key
          AND other.status = 'completed' AND other.finished_at > j.finished_at)
"""
_WRONG_ATTEMPTS = """
SELECT id FROM ops.jobs
 WHERE status = 'completed' AND attempts <> coalesce((payload ->> 'attempts')::integer, 1)
"""
# a claim whose effect was committed held its key from its start to that effect
_KEY_SHARED = """
WITH runs AS (
    SELECT h.job_id, h.token, j.concurrency_key AS key,
           min(h.at) FILTER (WHERE step = 'start') AS began,
           min(h.at) FILTER (WHERE step = 'effect' AND e.token IS NOT NULL) AS wrote
      FROM drill.history h JOIN ops.jobs j ON j.id = h.job_id AND j.concurrency_key IS NOT NULL
      LEFT JOIN drill.effects e ON e.job_id = h.job_id AND e.token = h.token
     GROUP BY h.job_id, h.token, j.concurrency_key
)
SELECT other.job_id AS id
  FROM runs JOIN runs AS other ON other.key = runs.key AND other.job_id <> runs.job_id
   AND other.began > runs.began AND other.began < runs.wrote
"""


async def audit(conn: asyncpg.Connection, told: set[int]) -> list[Finding]:
    """What the books say after the run; ``told`` are the ids that a commit has confirmed."""
    asked: list[tuple[str, str, tuple[Any, ...]]] = [
        ("every job that was confirmed is there", _MISSING, (list(told),)),
        ("one job for each order, and no other", _NOT_ORDERED, ()),
        ("the ledger adds up to the orders", _UNBALANCED, ()),
        ("a job gives way only to one that is carried out", _GAVE_WAY_TO_NOBODY, ()),
        ("no attempt is lost, and none is had twice", _WRONG_ATTEMPTS, ()),
        ("one job at a time of a concurrency key", _KEY_SHARED, ()),
    ]
    return [await history.ask(conn, *each) for each in asked]
