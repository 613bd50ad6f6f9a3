"""How a worker waits for a ring, and its slots for work."""

from __future__ import annotations

import asyncio

import anyio

from dragonfly.runtime.slots import Rest
from dragonfly.runtime.waiting import rung_within


async def resting(rest: Rest, roused: list[str], group: anyio.abc.TaskGroup, *names: str) -> None:
    """Let slots of these names rest, in this order."""

    async def slot(name: str) -> None:
        await rest.until_roused()
        roused.append(name)

    for name in names:
        group.start_soon(slot, name)
        await anyio.wait_all_tasks_blocked()


async def test_who_rests_last_is_roused_first() -> None:
    """As many as are wanted, and no more; those that are left rest on."""
    rest, roused = Rest(), list[str]()
    async with anyio.create_task_group() as group:
        await resting(rest, roused, group, "a", "b", "c")
        rest.rouse(2)
        await anyio.wait_all_tasks_blocked()
        assert (["c", "b"], 1) == (roused, len(rest))
        rest.rouse(7)
    assert (["c", "b", "a"], 0) == (roused, len(rest))


async def test_nobody_is_roused_who_was_cancelled() -> None:
    """A slot that is cancelled while it rests leaves the call to another."""
    rest, roused = Rest(), list[str]()
    with anyio.move_on_after(5):
        async with anyio.create_task_group() as group:
            await resting(rest, roused, group, "a")
            async with anyio.create_task_group() as cancelled:
                await resting(rest, roused, cancelled, "b")
                cancelled.cancel_scope.cancel()
            rest.rouse(1)
    assert ["a"] == roused


async def test_a_ring_in_time() -> None:
    """Whoever is rung hears of it, and the time that is left rings nobody later."""
    bell = asyncio.Event()
    asyncio.get_running_loop().call_soon(bell.set)
    assert await rung_within(bell, 0.02)
    bell.clear()

    assert not await rung_within(bell, 0.05)
    assert bell.is_set()


async def test_a_ring_without_a_bound() -> None:
    """Without a number of seconds only a ring ends the wait."""
    bell = asyncio.Event()
    asyncio.get_running_loop().call_soon(bell.set)

    assert await rung_within(bell, None)
