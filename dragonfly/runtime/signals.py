"""SIGTERM and Ctrl-C ask for a stop; a second one for a stop at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signals(request: Callable[[str], None]) -> Iterator[None]:
    """Call ``request(name)`` in the event loop for each signal, while the block runs."""
    loop = asyncio.get_running_loop()
    wanted = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGBREAK"):
        wanted.append(signal.SIGBREAK)
    before = {}
    for number in wanted:
        name = signal.Signals(number).name

        def handle(_number: int, _frame: object, name: str = name) -> None:
            # Windows has no add_signal_handler; this form serves every platform
            loop.call_soon_threadsafe(request, name)

        before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
