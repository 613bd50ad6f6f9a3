"""Stops in the worst moments, staged on the virtual clock with more workers than seeds have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from unittest import mock

import pytest

from dragonfly.events import DatabaseAway, WorkerStopped
from dragonfly.job import Job
from dragonfly.runtime.process import Mode
from dragonfly.settings import Settings
from dragonfly.worker import Worker
from tests.simulation.fate import Fate
from tests.simulation.handlers import Hands
from tests.simulation.incarnation import Incarnation
from tests.simulation.watch import Watch
from tests.simulation.world import World, standing_in

WORKERS = 16


@asynccontextmanager
async def never_opens(_settings: Settings) -> AsyncIterator[None]:
    """Resources that are waited for in vain."""
    await asyncio.Event().wait()
    yield


async def nothing(_job: Job[Any]) -> None:
    """Nothing to do."""


def workers(lifespan: Callable[[Settings], Any] | None = None) -> list[Worker]:
    """Sixteen of one process, each of a type of its own."""
    made = [Worker(f"w{number}", lifespan=lifespan) for number in range(WORKERS)]
    for worker in made:
        worker.job(worker.name)(nothing)
    return made


async def stop_in_silence(world: World, seconds: float) -> float:
    """How long a stop takes that comes ``seconds`` after the database fell silent."""
    incarnation = Incarnation(world, "process-0.0", Mode.FOREVER, world.complain)
    world.all.append(incarnation)
    await asyncio.sleep(7.0)
    world.server.silent = True
    await asyncio.sleep(seconds)
    began = world.loop.now
    incarnation.stop("SIGTERM")
    await incarnation.over.wait()
    took = world.loop.now - began
    await incarnation.bury()
    return took


def play(made: list[Worker], seconds: float) -> tuple[World, float, list[Any]]:
    """Stop a process of these; the world, how long it took, and what was told."""
    fate, told = Fate(0), []
    fate.quiet = True
    fate.settings = fate.settings.model_copy(update={"grace_seconds": 0.0, "poll_seconds": 5.0})
    world, hear = World(fate), Watch.hear

    def note(watch: Watch, event: Any) -> None:
        told.append(event)
        hear(watch, event)

    with ExitStack() as stack:
        standing_in(stack, world)
        stack.enter_context(mock.patch.object(Hands, "workers", return_value=made))
        stack.enter_context(mock.patch.object(Watch, "hear", note))
        took = world.loop.run_until_complete(stop_in_silence(world, seconds))
    world.loop.close()
    return world, took, told


@pytest.mark.parametrize(("seconds", "claims"), [(6.0, 1), (14.0, 2)])
def test_no_worker_begins_a_claim_once_it_is_to_stop(seconds: float, claims: int) -> None:
    """Of all that wait in vain, one behind the other, only who has begun claims; all end of it."""
    world, _, told = play(workers(), seconds)

    assert [] == world.broken
    assert WORKERS == len([event for event in told if isinstance(event, WorkerStopped)])
    assert claims == len([event for event in told if isinstance(event, DatabaseAway)])


def test_many_that_never_opened_are_left_as_fast_as_one() -> None:
    """Sixteen workers whose resources do not open cost a stop no more time than one of them."""
    world, took, _ = play(workers(never_opens), 1.0)
    _, alone, _ = play(workers(never_opens)[:1], 1.0)

    assert [] == world.broken
    assert took == pytest.approx(alone, abs=0.1)
