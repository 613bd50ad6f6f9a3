"""Takes every contestant through every work, round by round."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.peers import PEERS, Peer
from benchmarks.running import Broken
from benchmarks.works import TOGETHER, WORKS, Work

RUN_SECONDS = 600.0


def turned(names: list[str], number: int) -> list[str]:
    """The contestants in the order of this round."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


async def attempt(bench: Bench, work: Work, peer: Peer) -> str | None:
    """Do one work once; the sentence that says why it failed, or None."""
    try:
        async with asyncio.timeout(RUN_SECONDS):
            await work(bench, peer)
    except Broken as broken:
        return f"{work.__name__}: {broken}"
    except TimeoutError:
        return f"{work.__name__}: {peer.name} took more than {RUN_SECONDS:.0f} s"
    return None


async def _in_turn(at_once: asyncio.Semaphore, bench: Bench, work: Work, peer: Peer) -> str | None:
    async with at_once:
        return await attempt(bench, work, peer)


async def run(
    bench: Bench, names: list[str], works: list[str], rounds: int, tell: Callable[[str], None]
) -> None:
    """Each round takes every contestant through every work, so that drift hits all alike.

    One runs at a time, and another first in each round, for the disk is still busy with what the
    last one wrote; but those that idle do so together, each in a database of its own.
    """
    broken: set[tuple[Work, str]] = set()
    for number in range(rounds):
        for work in (WORKS[name] for name in works):
            peers = [PEERS[name] for name in turned(names, number) if (work, name) not in broken]
            began = time.monotonic()
            if work in TOGETHER:
                for peer in peers:
                    await bench.template(peer)
            at_once = asyncio.Semaphore(len(PEERS) if work in TOGETHER else bench.sizes.at_once)
            told = await asyncio.gather(*(_in_turn(at_once, bench, work, peer) for peer in peers))
            for peer, sentence in zip(peers, told, strict=True):
                if sentence:
                    broken.add((work, peer.name))
                    tell(sentence)
            took = time.monotonic() - began
            tell(f"round {number + 1}: {work.__name__} {took:.0f} s, load {bench.stage.load():.1f}")
