"""The stage waits as asyncio and anyio do: the same code tells the same story on both."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import anyio
import pytest

from dragonfly.runtime import supervisor
from tests.simulation.decisions.kernel import Kernel
from tests.simulation.decisions.life import standing_stage

Story = Callable[[Callable[[str], None]], Awaitable[None]]
LONG, SHORT = 3600.0, 0.001


async def an_event_beats_a_deadline(tell: Callable[[str], None]) -> None:
    event = asyncio.Event()
    event.set()
    with anyio.move_on_after(LONG) as scope:
        tell(f"set: {await event.wait()}")
    tell(f"cancelled: {scope.cancelled_caught}")


async def a_deadline_cuts_off(tell: Callable[[str], None]) -> None:
    with anyio.move_on_after(SHORT) as scope:
        try:
            await asyncio.Event().wait()
        finally:
            tell("cut off")
    tell(f"cancelled: {scope.cancelled_caught}")


async def a_cancelled_scope_stays_so(tell: Callable[[str], None]) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        for _ in range(2):
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:
                tell("cancelled again")
        await asyncio.sleep(0)
        tell("never told")
    tell(f"out of it: {scope.cancel_called} {scope.cancelled_caught}")


async def a_shield_holds(tell: Callable[[str], None]) -> None:
    with anyio.CancelScope() as outer:
        outer.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(SHORT)
            tell("under the shield")
            tell(f"deadline: {anyio.current_effective_deadline()}")
        tell(f"deadline: {anyio.current_effective_deadline()}")
        await asyncio.sleep(0)
        tell("never told")


async def an_inner_scope_ends_alone(tell: Callable[[str], None]) -> None:
    with anyio.CancelScope() as outer:
        with anyio.CancelScope() as inner:
            inner.cancel()
            await asyncio.sleep(0)
        tell("inner over")
        await asyncio.sleep(0)
        tell("outer goes on")
    tell(f"{inner.cancelled_caught} {outer.cancelled_caught}")


async def children_end_before_their_group(tell: Callable[[str], None]) -> None:
    async def child() -> None:
        await asyncio.sleep(SHORT)
        tell("child")

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        tell("body")
    tell("group")


async def an_error_cancels_the_others(tell: Callable[[str], None]) -> None:
    async def patient() -> None:
        try:
            await asyncio.sleep(LONG)
        except asyncio.CancelledError:
            tell("patient is cancelled")
            raise

    async def failing() -> None:
        await asyncio.sleep(SHORT)
        raise LookupError("gone")

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(patient)
            group.start_soon(failing)
            await asyncio.sleep(LONG)
    except* LookupError as errors:
        tell(f"raised: {errors.exceptions}")


async def a_group_is_cancelled(tell: Callable[[str], None]) -> None:
    async def child() -> None:
        with anyio.CancelScope(shield=True):
            await asyncio.sleep(SHORT)
            tell("last words")
        await asyncio.sleep(LONG)

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        await asyncio.sleep(0)
        group.cancel_scope.cancel()
    tell("group")


async def the_first_of_two(tell: Callable[[str], None]) -> None:
    one, other = asyncio.Event(), asyncio.Event()

    async def ring() -> None:
        await asyncio.sleep(SHORT)
        other.set()

    async with anyio.create_task_group() as group:
        group.start_soon(ring)
        await vars(supervisor)["first_of"](one, other, seconds=LONG)
        tell(f"{one.is_set()} {other.is_set()}")
        await vars(supervisor)["first_of"](one, seconds=SHORT)
        tell(f"{one.is_set()}")


async def a_condition_wakes_all(tell: Callable[[str], None]) -> None:
    condition, ready = asyncio.Condition(), [False]

    async def wait() -> None:
        async with condition:
            await condition.wait_for(lambda: ready[0])
            tell("woken")

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        group.start_soon(wait)
        await asyncio.sleep(SHORT)
        ready[0] = True
        async with condition:
            condition.notify_all()


async def a_timer_is_cancelled(tell: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    first = loop.call_at(loop.time() + SHORT, lambda: tell("never told"))
    first.cancel()
    loop.call_at(loop.time() + SHORT, lambda: tell("timer"))
    await asyncio.sleep(10 * SHORT)


STORIES: list[Story] = [
    an_event_beats_a_deadline,
    a_deadline_cuts_off,
    a_cancelled_scope_stays_so,
    a_shield_holds,
    an_inner_scope_ends_alone,
    children_end_before_their_group,
    an_error_cancels_the_others,
    a_group_is_cancelled,
    the_first_of_two,
    a_condition_wakes_all,
    a_timer_is_cancelled,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_stage_waits_as_the_real_ones_do(story: Story) -> None:
    """What is told on asyncio's loop with anyio's scopes is told on the stage, in that order."""
    real: list[str] = []
    played: list[str] = []
    asyncio.run(_as_coroutine(story, real))
    with standing_stage():
        kernel = Kernel(random.Random(0))
        kernel.run(kernel.spawn(_as_coroutine(story, played)))

    assert real == played
    assert real


async def _as_coroutine(story: Story, told: list[str]) -> None:
    await story(told.append)
