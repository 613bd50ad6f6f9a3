"""Who else uses the processor: a figure taken beside them says nothing."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import psutil

LOOK_SECONDS = 1.0
LEAST_PERCENT = 5.0
QUIET_LOAD = 0.3


def conditions() -> Iterator[str]:
    """The load, and where it is not near 0 the processes that use the processor right now."""
    load = psutil.getloadavg()[0]
    yield f"load before: {load:.2f} on {os.cpu_count()} processors (should be near 0)"
    users = busy()
    yield from users
    if load >= QUIET_LOAD and not users:
        yield f"  nobody uses {LEAST_PERCENT:.0f} % of a processor now: the load is of the past"


def busy(seconds: float = LOOK_SECONDS) -> list[str]:
    """A line for each process above ``LEAST_PERCENT`` of one processor, the busiest first.

    Names and numbers only: a command line may hold a secret.
    """
    before = dict(_processor_times())
    time.sleep(seconds)
    used = [
        (100 * (spent - before[process]) / seconds, process)
        for process, spent in _processor_times()
        if process in before
    ]
    return [
        f"  {name} (process {pid}) uses {percent:.0f} % of a processor"
        for percent, (pid, name) in sorted(used, reverse=True)
        if percent >= LEAST_PERCENT
    ]


def _processor_times() -> Iterator[tuple[tuple[int, str], float]]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            yield (process.pid, process.name()), times.user + times.system
