"""How often Python looks for garbage while a supervisor runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from dragonfly import Job, Worker, enqueue
from dragonfly.runtime.garbage import YOUNG_OBJECTS, seldom_collected
from tests.support import drain


@pytest.fixture(autouse=True)
def _threshold() -> Iterator[None]:
    """Python's own, whoever runs the tests; and back to what it was."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


async def test_seldom_while_jobs_run(dsn: str, conn: asyncpg.Connection) -> None:
    """In a handler the collector waits for ten thousand new objects; after the run it is as set."""
    seen: list[tuple[int, int, int]] = []
    worker = Worker("keeper")

    @worker.job("keep")
    async def keep(job: Job[dict[str, Any]]) -> None:
        seen.append(gc.get_threshold())

    await enqueue(conn, "keep", {})
    await drain(dsn, worker)

    assert [(YOUNG_OBJECTS, 10, 10)] == seen
    assert (700, 10, 10) == gc.get_threshold()


@pytest.mark.parametrize("young", [0, YOUNG_OBJECTS * 5])
def test_who_wants_it_seldomer_keeps_that(young: int) -> None:
    """Collections that are switched off, or set further apart, stay so."""
    gc.set_threshold(young, 10, 10)
    with seldom_collected():
        assert young == gc.get_threshold()[0]

    assert young == gc.get_threshold()[0]


def test_it_comes_back_after_a_failure() -> None:
    """What ends the block with an error changes nothing for whoever goes on."""
    with pytest.raises(KeyError), seldom_collected():
        raise KeyError

    assert (700, 10, 10) == gc.get_threshold()
