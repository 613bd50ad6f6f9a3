"""The long form: ``python -m tests.simulation --seeds 5000``; ``--seed N`` plays one of them."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.world import play


def main() -> int:
    """0 if every seed kept every promise, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5000, help="how many to play")
    parser.add_argument("--first", type=int, default=0, help="where to begin")
    parser.add_argument("--seed", type=int, help="play this one alone")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.seeds)
    if asked.seed is not None:
        seeds = range(asked.seed, asked.seed + 1)
    began, lived, failed = time.perf_counter(), 0.0, 0
    for seed in seeds:
        outcome = play(seed)
        lived += outcome.seconds
        failed += bool(outcome.broken)
        for sentence in outcome.broken:
            say(f"seed {seed}: {sentence}")
    took = time.perf_counter() - began
    say(
        f"{len(seeds)} seeds, {failed} of them with a broken promise; "
        f"{lived / 3600:.1f} hours of theirs in {took:.1f} s of ours"
    )
    return int(failed > 0)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
