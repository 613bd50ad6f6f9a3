"""One event loop per command: uvloop where it exists, winloop on Windows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

_Result = TypeVar("_Result")


def run_async(function: Callable[..., Awaitable[_Result]], *args: object) -> _Result:
    """Run ``function(*args)`` to its end."""
    return anyio.run(function, *args, backend_options={"loop_factory": _loop_factory()})


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        import winloop

        factory: Callable[[], asyncio.AbstractEventLoop] = winloop.new_event_loop
    else:
        import uvloop

        factory = uvloop.new_event_loop
    return factory
