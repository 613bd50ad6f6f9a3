"""Is the queue keeping up, what waits, and what bloats its table: numbers, and what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from dragonfly.ops.findings import age
from dragonfly.queue import pauses
from dragonfly.queue.bloat import Bloat, Pin, bloat
from dragonfly.queue.pauses import Pause
from dragonfly.queue.stats import Depth, Flow, Flows, depths, flows

if TYPE_CHECKING:
    from asyncpg import Connection

SECONDS = 5
LATE_SECONDS = 60.0
OLD_SECONDS = 60.0
# a session in the midst of a short query has a snapshot, too, but a young one
OLD_TRANSACTIONS = 10
# of a pin whose time the server does not tell
OLD_UNTIMED_TRANSACTIONS = 1000
MANY_DEAD = 10_000
DEAD_SHARE = 0.25
MOST_PINS_TOLD = 3

_Answer = TypeVar("_Answer")

# jit: it takes the many small index probes for a long query, and compiles longer than they run
_BOUND = "SELECT set_config('statement_timeout', $1, true), set_config('jit', 'off', true)"


@dataclass(frozen=True, slots=True)
class Report:
    """The queue as it stands; None for what no answer came to within the bound.

    ``window`` is what the rates are over, in seconds.
    """

    window: float
    depths: tuple[Depth, ...] | None
    flows: Flows | None
    bloat: Bloat | None
    pauses: tuple[Pause, ...] = ()

    def types(self) -> list[tuple[str, Depth | None, Flow | None]]:
        """Each job type that is known of, in alphabetical order."""
        deep = {depth.job_type: depth for depth in self.depths or ()}
        flowing = {flow.job_type: flow for flow in (self.flows.types if self.flows else ())}
        names = sorted(deep.keys() | flowing.keys())
        return [(name, deep.get(name), flowing.get(name)) for name in names]

    def advice(self) -> list[str]:
        """What is wrong, each with what to do about it; empty when all is well."""
        swollen = _swollen(self.bloat) if self.bloat else ()
        return [*self._unanswered(), *map(_paused, self.pauses), *self._late(), *swollen]

    def _unanswered(self) -> Iterator[str]:
        parts = {"depths": self.depths, "rates and times": self.flows, "table": self.bloat}
        missing = [name for name, part in parts.items() if part is None]
        if missing:
            yield (
                f"No answer within {SECONDS} s about: {', '.join(missing)}. The database is busy "
                "or the table is locked or bloated; try again, then look for long transactions."
            )

    def _late(self) -> Iterator[str]:
        paused = {pause.job_type for pause in self.pauses}
        for name, depth, flow in self.types():
            if (
                name not in paused
                and depth
                and self.flows
                and (depth.oldest_due or 0) >= LATE_SECONDS
            ):
                yield _lateness(depth, flow, self.window)

    def json(self) -> dict[str, Any]:
        """For scripts; every duration is in seconds."""
        return {
            "window": self.window,
            "looked_at": self.flows.looked_at if self.flows else None,
            "types": [_type_json(*each) for each in self.types()],
            "table": asdict(self.bloat.size) if self.bloat else None,
            "pins": [asdict(pin) for pin in self.bloat.pins] if self.bloat else None,
            "sees_all_sessions": self.bloat.sees_all if self.bloat else None,
            "paused": [asdict(pause) for pause in self.pauses],
            "advice": self.advice(),
        }


async def look(conn: Connection, window: float, heartbeat: float) -> Report:
    """Ask everything, each statement within ``SECONDS``; the other two numbers are seconds, too."""
    deep = await _bounded(conn, depths)
    flowing = None
    if deep is not None:  # without the depths, what ends behind a backlog would be overlooked
        fronts = {depth.job_type: depth.frontier for depth in deep if depth.frontier is not None}
        flowing = await _bounded(conn, lambda conn: flows(conn, window, fronts, heartbeat))
    swollen = await _bounded(conn, bloat)
    paused = tuple(await _bounded(conn, pauses.paused) or ())
    return Report(window, None if deep is None else tuple(deep), flowing, swollen, paused)


async def _bounded(
    conn: Connection, question: Callable[[Connection], Awaitable[_Answer]]
) -> _Answer | None:
    try:
        async with conn.transaction(readonly=True):
            await conn.fetch(_BOUND, f"{SECONDS}s")
            return await question(conn)
    except (asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError):
        return None


def per_minute(count: int, seconds: float) -> float | None:
    """A rate; None where the looked-at jobs cover no time."""
    return count / seconds * 60 if seconds > 0 else None


def _type_json(name: str, depth: Depth | None, flow: Flow | None) -> dict[str, Any]:
    told: dict[str, Any] = {"job_type": name}
    if depth:
        told |= asdict(depth)
        del told["frontier"]
    if flow:
        told |= asdict(flow)
        told |= {
            "enqueued_per_minute": per_minute(flow.enqueued, flow.enqueued_over),
            "completed_per_minute": per_minute(flow.completed, flow.ended_over),
            "failed_per_minute": per_minute(flow.failed, flow.ended_over),
        }
    return told


def _paused(pause: Pause) -> str:
    until = f" until {pause.until:%Y-%m-%d %H:%M:%S%z}" if pause.until else ""
    return (
        f"{pause.job_type} is paused{until}, by {pause.paused_by} since "
        f"{pause.paused_at:%Y-%m-%d %H:%M:%S%z}: {pause.reason}. "
        f"To resume: dragonfly queue resume {pause.job_type}."
    )


def _lateness(depth: Depth, flow: Flow | None, window: float) -> str:
    """How long late jobs of a type will take, and whether they become more."""
    due = f"{depth.due} due, the oldest for {age(depth.oldest_due or 0)}"
    coming = per_minute(flow.enqueued, flow.enqueued_over) if flow else None
    going = per_minute(flow.completed + flow.failed, flow.ended_over) if flow else None
    if not going:
        over = age(flow.ended_over if flow else window)
        return (
            f"{depth.job_type} stands still: {due}, and none ended in {over}; see whether a "
            "worker takes this type: dragonfly workers"
        )
    left = depth.due.count / going * 60
    if depth.due.exact and left < (depth.oldest_due or 0) / 4:
        return (
            f"{depth.job_type} is late: {due}, though at {going:,.0f} a minute they would take "
            f"{age(left)}; see whether its worker still runs: dragonfly workers"
        )
    least = "" if depth.due.exact else "at least "
    sentence = (
        f"{depth.job_type} is late: {due}; at {going:,.0f} a minute they take {least}{age(left)}."
    )
    if (coming or 0) > going * 1.05:
        sentence += " More come than end: give its worker more slots, or start another process."
    return sentence


def _swollen(found: Bloat) -> Iterator[str]:
    """What to do about dead rows, if there are many."""
    size = found.size
    if size.dead < MANY_DEAD:
        return
    old = [pin for pin in found.pins if _is_old(pin)]
    for pin in old[:MOST_PINS_TOLD]:
        yield f"{_shown(pin)} keeps vacuum from removing dead rows: {_remedy(pin)}"
    if len(old) > MOST_PINS_TOLD:
        yield f"{len(old) - MOST_PINS_TOLD} more do the same; see --json."
    if any(pin.hidden for pin in old):
        yield (
            "This role may not see what other roles' sessions do; as an administrator: "
            "GRANT pg_read_all_stats TO this role."
        )
    if not old and size.dead_share >= DEAD_SHARE:
        yield (
            f"{size.dead_share:.0%} of the rows are dead and nothing holds vacuum back: run "
            "VACUUM ops.jobs, and see that autovacuum is on and not too slow for this table."
        )


def _is_old(pin: Pin) -> bool:
    if pin.seconds is None:
        return pin.transactions >= OLD_UNTIMED_TRANSACTIONS
    return pin.seconds >= OLD_SECONDS and pin.transactions >= OLD_TRANSACTIONS


def _shown(pin: Pin) -> str:
    aged = f"{pin.transactions:,} transactions" if pin.seconds is None else age(pin.seconds)
    if pin.kind == "session":
        wait = f"waits for {pin.wait}" if pin.state == "active" and pin.wait else None
        state = "state hidden" if pin.hidden else pin.state
        what = [pin.name or "no application name", state, pin.verb, wait, f"for {aged}"]
        return f"Session {pin.pid} ({', '.join(part for part in what if part)})"
    if pin.kind == "replication slot":
        return f"Replication slot {pin.name!a} ({pin.state}, for {aged})"
    return f"Prepared transaction {pin.name!a} (for {aged})"


def _remedy(pin: Pin) -> str:
    if pin.kind == "prepared transaction":
        name = pin.name.replace("'", "''")
        return f"COMMIT PREPARED '{name}' or ROLLBACK PREPARED '{name}'."
    if pin.kind == "replication slot" and pin.state == "inactive":
        return (
            "bring its standby back, or, if it is gone for good: "
            f"SELECT pg_drop_replication_slot('{pin.name}')."
        )
    if pin.kind == "replication slot" or pin.backend == "walsender":
        return "end the long query on its standby, which reports it by hot_standby_feedback."
    if pin.state == "active":
        return f"wait for its query, or cancel it: SELECT pg_cancel_backend({pin.pid})."
    return f"let its owner end the transaction, or: SELECT pg_terminate_backend({pin.pid})."
