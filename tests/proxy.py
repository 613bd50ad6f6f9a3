"""The drill's proxy, which can also be deaf to newcomers, cut an answer off, and be slow."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from dragonfly.ops.drill import proxy as drill
from dragonfly.ops.drill.proxy import Link, proxy_to


class Proxy(drill.Proxy):
    """``marked``: the next request of such bytes is passed on, its answer lost, and its connection
    closed. ``delay``: seconds that every piece of a message waits, each way.
    """

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self.marked: bytes | None = None
        self.cuts = 0
        self.delay = 0.0
        self._cut: set[Link] = set()
        self._deaf = False

    def silence(self, *purposes: str, newcomers: bool = False) -> int:
        """With ``newcomers`` what is opened later is silent, too, whatever its purpose."""
        self._deaf = self._deaf or newcomers
        return super().silence(*purposes)

    def let_newcomers_in(self) -> None:
        """What is opened from now on is served; what is silent stays so."""
        self._deaf = False

    def greet(self, purpose: str) -> Link:
        return Link(purpose, silent=self._deaf)

    async def carry(
        self, link: Link, data: bytes, to: asyncio.StreamWriter, *, request: bool
    ) -> bool:
        if link in self._cut and not request:
            return False  # the server has done it, and nobody hears so
        if request and not link.silent and self.marked is not None and self.marked in data:
            self.marked, self.cuts = None, self.cuts + 1
            self._cut.add(link)
        if self.delay and not link.silent:
            await asyncio.sleep(self.delay)
        return await super().carry(link, data, to, request=request)


def proxy(dsn: str) -> AbstractAsyncContextManager[Proxy]:
    """A proxy to the server of ``dsn``, open while the block runs; at its end all is cut."""
    return proxy_to(dsn, Proxy)
