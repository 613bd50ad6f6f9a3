"""Many seeds, over all processors."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain

from tests.simulation import world
from tests.simulation.decisions import life

SEEDS_AT_ONCE = 10
LIVES_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Played:
    """How a seed went: the promises it broke, and the seconds it lived."""

    seed: int
    broken: tuple[str, ...]
    seconds: float


def play_all(seeds: range, *, decisions: bool, processors: int | None = None) -> Iterator[Played]:
    """Play them, in the order of the seeds: whole processes, or their ``decisions`` alone."""
    at_once = LIVES_AT_ONCE if decisions else SEEDS_AT_ONCE
    play = partial(play_some, decisions=decisions)
    chunks = [seeds[at : at + at_once] for at in range(0, len(seeds), at_once)]
    most = min(processors or os.cpu_count() or 1, len(chunks))
    if most <= 1:
        yield from chain.from_iterable(map(play, chunks))
        return
    with ProcessPoolExecutor(most, initializer=gc.freeze) as pool:
        yield from chain.from_iterable(pool.map(play, chunks))


def play_some(seeds: Sequence[int], *, decisions: bool) -> list[Played]:
    """Play these in this process."""
    with _uncollected():
        if not decisions:
            return [_told(world.play(seed)) for seed in seeds]
        with life.standing_stage():
            return [_told(life.play(seed)) for seed in seeds]


def _told(outcome: world.Outcome | life.Outcome) -> Played:
    return Played(outcome.seed, outcome.broken, outcome.seconds)


@contextmanager
def _uncollected() -> Iterator[None]:
    """A life is full of cycles, and over so soon that looking for them is a tenth of its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        if was_on:
            gc.enable()
