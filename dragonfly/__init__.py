"""Dragonfly: a Postgres job supervisor for asyncio."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Loaded on first use, so that `dragonfly --help` does not pay for pydantic and asyncpg.
_HOMES = {
    "Cancel": "dragonfly.job",
    "ConfigurationError": "dragonfly.errors",
    "CrashLoopError": "dragonfly.errors",
    "DragonflyError": "dragonfly.errors",
    "InputRefused": "dragonfly.errors",
    "Job": "dragonfly.job",
    "JobLost": "dragonfly.errors",
    "JobMisuse": "dragonfly.errors",
    "JobStatus": "dragonfly.job",
    "Reject": "dragonfly.job",
    "Retry": "dragonfly.job",
    "RetryPolicy": "dragonfly.job",
    "Snooze": "dragonfly.job",
    "TransactionAborted": "dragonfly.errors",
    "UnfitValue": "dragonfly.errors",
    "Worker": "dragonfly.worker",
    "enqueue": "dragonfly.queue.store",
    "enqueue_many": "dragonfly.queue.bulk",
}

__all__ = [
    "Cancel",
    "ConfigurationError",
    "CrashLoopError",
    "DragonflyError",
    "InputRefused",
    "Job",
    "JobLost",
    "JobMisuse",
    "JobStatus",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "TransactionAborted",
    "UnfitValue",
    "Worker",
    "enqueue",
    "enqueue_many",
]

if TYPE_CHECKING:
    from dragonfly.errors import (
        ConfigurationError,
        CrashLoopError,
        DragonflyError,
        InputRefused,
        JobLost,
        JobMisuse,
        TransactionAborted,
        UnfitValue,
    )
    from dragonfly.job import Cancel, Job, JobStatus, Reject, Retry, RetryPolicy, Snooze
    from dragonfly.queue.bulk import enqueue_many
    from dragonfly.queue.store import enqueue
    from dragonfly.worker import Worker


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dragonfly' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
