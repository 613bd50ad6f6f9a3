"""Finds workers by name: those of the trade, or ``package.module:worker`` of somebody else."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from dragonfly.errors import ConfigurationError
from dragonfly.worker import Worker
from dragonfly.workers import TRADE_WORKERS


def find_workers(names: Iterable[str]) -> list[Worker]:
    """The workers of these names, each once; ConfigurationError for one that cannot be found."""
    found: dict[str, Worker] = {}
    for name in names:
        for each in TRADE_WORKERS if name == "all" else (name,):
            worker = _find(each)
            if found.setdefault(worker.name, worker) is not worker:
                raise ConfigurationError(
                    f"Two different workers are named {worker.name!r}; rename one of them."
                )
    if not found:
        raise ConfigurationError(f"Name at least one worker: all, {', '.join(TRADE_WORKERS)}.")
    return list(found.values())


def _find(name: str) -> Worker:
    plain = name.strip().replace("_", "-")
    where = TRADE_WORKERS.get(plain, name if ":" in name else None)
    if where is None:
        raise ConfigurationError(
            f"There is no worker {name!r}. Known: all, {', '.join(TRADE_WORKERS)}; "
            "one of your own is named package.module:worker."
        )
    module_name, _, attribute = where.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        worker = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"Worker {name!r} cannot be loaded: {error}. It must be package.module:name, "
            "found from the folder in which the command is started."
        ) from error
    if not isinstance(worker, Worker):
        raise ConfigurationError(f"{name!r} is a {type(worker).__name__}, not a dragonfly.Worker.")
    if not worker.handlers:
        raise ConfigurationError(f"Worker {name!r} has no handlers; add one with @worker.job(…).")
    return worker
