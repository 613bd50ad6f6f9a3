"""Declaring a schedule: what fits, and a sentence for everything that does not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from dragonfly import ConfigurationError, Job, Worker
from dragonfly.runtime.ticker import schedules_of


class Report(BaseModel):
    court: str
    pages: int = 1


class Dated(BaseModel):
    court: str
    tick_at: datetime


@dataclass
class DatedRecord:
    tick_at: datetime


class DatedDict(TypedDict):
    tick_at: str


def declared() -> Worker:
    """A worker with a handler for each kind of payload."""
    worker = Worker("reporter")

    @worker.job("report")
    async def report(job: Job[Report]) -> None: ...

    @worker.job("dated")
    async def dated(job: Job[Dated]) -> None: ...

    @worker.job("record")
    async def record(job: Job[DatedRecord]) -> None: ...

    @worker.job("typed")
    async def typed(job: Job[DatedDict]) -> None: ...

    @worker.job("plain")
    async def plain(job: Job[dict[str, Any]]) -> None: ...

    @worker.job("any")
    async def anything(job: Job[Any]) -> None: ...

    return worker


def test_defaults() -> None:
    """A name, an expression and a job type are enough where the payload may be empty."""
    schedule = declared().schedule("nightly", "0 6 * * 1-5", "plain")

    assert ("UTC", "{}", "last", "skip", 0, None, False) == (
        schedule.cron.timezone,
        schedule.payload,
        schedule.catch_up,
        schedule.overlap,
        schedule.priority,
        schedule.max_attempts,
        schedule.tells_tick,
    )


def test_all_missed_ticks_are_queued() -> None:
    """Who asks for all missed ticks need not ask for a queue of them."""
    assert "queue" == declared().schedule("s", "@daily", "plain", catch_up="all").overlap


@pytest.mark.parametrize("job_type", ["dated", "record", "typed"])
def test_a_type_with_tick_at_is_told(job_type: str) -> None:
    """A model, a dataclass and a TypedDict with a field tick_at are told the tick's time."""
    payload = {"court": "Kings"} if job_type == "dated" else {}

    assert declared().schedule("s", "@daily", job_type, payload).tells_tick


@pytest.mark.parametrize("job_type", ["plain", "any"])
def test_a_payload_without_a_type_is_left_alone(job_type: str) -> None:
    """A handler of plain dicts gets what was declared, and nothing besides."""
    schedule = declared().schedule("s", "@daily", job_type, {"tick_at": "mine"})

    assert ('{"tick_at":"mine"}', False) == (schedule.payload, schedule.tells_tick)


def test_a_model_is_a_payload() -> None:
    """A payload may be an instance of the handler's own type; a tick replaces its tick_at."""
    worker = declared()
    report = worker.schedule("a", "@daily", "report", Report(court="Kings"))
    moment = datetime.fromisoformat("2026-01-01T00:00:00Z")
    dated = worker.schedule("b", "@daily", "dated", Dated(court="Kings", tick_at=moment))

    assert '{"court":"Kings","pages":1}' == report.payload
    assert '{"court":"Kings"}' == dated.payload


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"job_type": "unknown"}, "^Schedule 's' is for 'unknown' jobs, which worker"),
        ({"job_type": "unknown"}, "it takes: report, dated, .* Declare a schedule below the"),
        ({"name": ""}, "Schedule name '' must be letters"),
        ({"name": "a b"}, "Schedule name 'a b'"),
        ({"name": "x" * 101}, "at most 100"),
        ({"cron": "0 25 * * *"}, "^Schedule 's': the hour '25' of the cron .* allowed are 0 to 23"),
        ({"timezone": "America/NewYork"}, "^Schedule 's': the time zone 'America/NewYork' is"),
        ({"payload": {}}, "^Schedule 's': the payload of report does not fit: court: Field req"),
        ({"payload": {"court": "K", "pages": "x"}}, "pages: Input should be a valid integer"),
        ({"payload": [1]}, "its payload must be a mapping or a pydantic model"),
        ({"payload": {"court": float("nan")}}, "its payload cannot be kept as JSON"),
        ({"payload": {"court": "\0"}}, "its payload cannot be kept as JSON"),
        ({"job_type": "dated", "payload": {"court": "K", "tick_at": 1}}, "sets 'tick_at', which"),
        ({"catch_up": "some"}, "catch_up is 'some'; allowed are last, all and none"),
        ({"overlap": "wait"}, "overlap is 'wait'; allowed are skip and queue"),
        ({"catch_up": "all", "overlap": "skip"}, "catch_up \"all\" enqueues several jobs at once"),
        ({"priority": 40000}, "priority is 40000; allowed are -32768 to 32767"),
        ({"max_attempts": 0}, "max_attempts is 0; allowed are 1 to 1000"),
    ],
)  # fmt: skip
def test_what_does_not_fit(changes: dict[str, Any], says: str) -> None:
    """A schedule that cannot work is refused where it is declared, with its name and the reason."""
    fit: dict[str, Any] = {
        "name": "s", "cron": "@daily", "job_type": "report", "payload": {"court": "Kings"}
    }  # fmt: skip

    with pytest.raises(ConfigurationError, match=says):
        declared().schedule(**(fit | changes))


def test_a_name_is_declared_once() -> None:
    """Neither one worker nor two of a process may declare a name twice."""
    worker, other = declared(), Worker("other")
    other.job("count")(_count)
    worker.schedule("s", "@daily", "plain")
    other.schedule("s", "@daily", "count")

    with pytest.raises(ConfigurationError, match="Worker 'reporter' has two schedules named 's'"):
        worker.schedule("s", "@hourly", "plain")
    with pytest.raises(
        ConfigurationError, match=r"Both reporter and other declare the sched.* 's'"
    ):
        schedules_of([worker, other])


async def _count(job: Job[Any]) -> None: ...


def test_fingerprints_differ_with_every_part() -> None:
    """Two declarations have one fingerprint exactly when they say the same."""
    worker = declared()
    differing: list[dict[str, Any]] = [
        {},
        {"cron": "@hourly"},
        {"timezone": "America/New_York"},
        {"job_type": "any"},
        {"payload": {"a": 1}},
        {"catch_up": "none"},
        {"overlap": "queue"},
        {"priority": 1},
        {"max_attempts": 1},
    ]
    prints = []
    for changes in [*differing, {}]:
        worker.schedules.clear()
        given: dict[str, Any] = {"name": "s", "cron": "@daily", "job_type": "plain"}
        prints.append(worker.schedule(**(given | changes)).fingerprint)

    assert (prints[0], len(differing)) == (prints[-1], len(set(prints)))
