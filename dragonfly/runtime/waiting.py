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
