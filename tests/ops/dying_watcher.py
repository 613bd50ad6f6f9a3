"""A single run of the watcher that kills its own process at the n-th thing it does to the world.

``python -m tests.ops.dying_watcher ROOT DSN N``: steps are files opened for writing, renames and
new folders below ROOT, and the moments before and after each statement and commit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import asyncpg
from asyncpg.transaction import Transaction

from tests.ops.drops import Drop


class Death:
    def __init__(self, at: int) -> None:
        self.left = at

    def step(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), 9) if sys.platform != "win32" else os._exit(-9)

    def watch_files(self, root: str) -> None:
        def hook(event: str, args: tuple[Any, ...]) -> None:
            writes = event in {"os.rename", "os.mkdir"} or (
                event == "open" and isinstance(args[1], str) and args[1][0] in "wax"
            )
            if writes and str(args[0]).startswith(root):
                self.step()

        sys.addaudithook(hook)

    def watch_database(self) -> None:
        for owner, name in ((asyncpg.Connection, "fetchval"), (Transaction, "commit")):
            setattr(owner, name, self._around(getattr(owner, name)))

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def stepping(*args: Any, **options: Any) -> Any:
            self.step()
            result = await call(*args, **options)
            self.step()
            return result

        return stepping


def main() -> None:
    root, dsn, tick = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    drop = Drop(root, dsn)
    death = Death(tick)
    death.watch_files(str(root))
    death.watch_database()
    anyio.run(drop.once)


if __name__ == "__main__":
    main()
