"""How often Python looks for garbage in cycles: seldom, for a queue makes hardly any."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# A claim brings thousands of objects that all live until their finish: to look through them after
# each 700 new ones is a tenth of Python's time a job (benchmark W2).
YOUNG_OBJECTS = 10_000


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Collect when there are this many new objects, while the block runs; never sooner than set."""
    young, *older = gc.get_threshold()
    changes = 0 < young < YOUNG_OBJECTS  # 0: its owner wants no collections
    if changes:
        gc.set_threshold(YOUNG_OBJECTS, *older)
    try:
        yield
    finally:
        if changes:
            gc.set_threshold(young, *older)
