"""Waiting for whichever comes first."""

from __future__ import annotations

import asyncio

import anyio


async def first_of(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Return when one of the events is set, or after ``seconds``."""
    if any(event.is_set() for event in events):
        return
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as group:

            async def wait(event: asyncio.Event) -> None:
                await event.wait()
                group.cancel_scope.cancel()

            for event in events:
                group.start_soon(wait, event)


async def rung_within(bell: asyncio.Event, seconds: float | None) -> bool:
    """Wait until the bell is set; after ``seconds`` it is set by this, and the answer is False.

    A plain timer, for a cancel scope is dear for a lone job (benchmark W4).
    """
    in_time = True

    def ring() -> None:
        nonlocal in_time
        in_time = False
        bell.set()

    loop = asyncio.get_running_loop()
    timer = None if seconds is None else loop.call_at(loop.time() + seconds, ring)
    try:
        await bell.wait()
    finally:
        if timer is not None:
            timer.cancel()
    return in_time
