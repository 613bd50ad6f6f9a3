"""The long forms: ``python -m tests.simulation --seeds 5000`` plays whole processes, and with
``--decisions`` what they decide, at twenty times as many seeds; ``--seed N`` plays one of them, and
of decisions tells all that happens.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.decisions import life
from tests.simulation.many import play_all


def main() -> int:
    """0 if every seed kept every promise, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--decisions", action="store_true", help="play the decisions alone")
    parser.add_argument("--seeds", type=int, default=5000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="where to begin")
    parser.add_argument("--seed", type=int, help="play this one alone")
    parser.add_argument("--processors", type=int, help="how many to use (default: all)")
    asked = parser.parse_args()
    if asked.decisions and asked.seed is not None:
        return tell_of(asked.seed)
    seeds = range(asked.first, asked.first + asked.seeds)
    if asked.seed is not None:
        seeds = range(asked.seed, asked.seed + 1)
    began, lived, failed = time.perf_counter(), 0.0, 0
    for played in play_all(seeds, decisions=asked.decisions, processors=asked.processors):
        lived += played.seconds
        failed += bool(played.broken)
        for sentence in played.broken:
            say(f"seed {played.seed}: {sentence}")
    took = time.perf_counter() - began
    say(
        f"{len(seeds)} seeds, {failed} of them with a broken promise; {lived / 3600:.1f} hours of "
        f"theirs in {took:.1f} s of ours ({len(seeds) / took:.0f} a second)"
    )
    return int(failed > 0)


def tell_of(seed: int) -> int:
    """The story of one life of decisions, event by event."""
    with life.standing_stage():
        outcome = life.play(seed, lambda second, event: say(f"{second:12.4f} s: {event}"))
    for sentence in outcome.broken:
        say(f"seed {seed}: {sentence}")
    return int(bool(outcome.broken))


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
