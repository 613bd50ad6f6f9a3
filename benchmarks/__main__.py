"""``python -m benchmarks``: Dragonfly beside its rivals, on one server, in one run.

One embedded server for all, default settings; rounds are interleaved, figures are medians; only
the ratios count, for absolute figures move with the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import click

from benchmarks.curves import curves
from benchmarks.installing import NotInstalled, install
from benchmarks.peers import PEERS
from benchmarks.stage import Stage
from benchmarks.works import REPORTS, WORKS, Bench, Sizes, run
from dragonfly.postgres.embedded import embedded_server

CURVES = "W7"
QUICK = Sizes(
    jobs=2_000, ones=100, pickups=50, idle_seconds=3.0, backlog=10_000, backlog_jobs=2_000
)


@click.command()
@click.argument("works", nargs=-1, type=click.Choice([*WORKS, CURVES], case_sensitive=False))
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds of each work.")
@click.option("--jobs", type=click.IntRange(min=REPORTS), help="Jobs to drain in a round.")
@click.option("--pickups", type=int, help="Lone jobs in a round of W4.")
@click.option("--idle", type=float, help="Seconds of a round of W5.")
@click.option("--backlog", type=int, help="Jobs in the way in W6 and W7.")
@click.option("--peers", default=",".join(PEERS), show_default=True, help="Who takes part.")
@click.option("--quick", is_flag=True, help="Tiny sizes, to see that everything works.")
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write the figures here too.")
@click.option(
    "--cache",
    default=".dragonfly/bench",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where rivals are installed.",
)
@click.option(
    "--plots",
    default="docs/plots",
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where W7 writes its plots.",
)
def main(
    works: tuple[str, ...],
    rounds: int,
    peers: str,
    quick: bool,
    out: Path | None,
    cache: Path,
    plots: Path,
    **sizes: float | None,
) -> None:
    """Measure Dragonfly beside its rivals; without WORKS, W1 to W6.

    W1 enqueue, W2 drain, W2D drain untuned, W3 two processes, W4 pick-up latency, W5 idle,
    W6 backlog, W7 curves.
    """
    names = _installed(peers.split(","), cache)
    asked = {_SIZES[name]: size for name, size in sizes.items() if size is not None}
    chosen: Sizes = replace(QUICK if quick else Sizes(), **asked)  # type: ignore[arg-type]
    processors = os.cpu_count()
    click.echo(f"load before: {Stage.load():.2f} on {processors} processors (should be near 0)")
    with (
        tempfile.TemporaryDirectory(prefix="dragonfly-bench-") as folder,
        embedded_server(Path(folder) / "pg") as dsn,
    ):
        figures = asyncio.run(
            _measure(Path(folder) / "pg", dsn, cache, chosen, names, works, rounds, plots)
        )
    if out is not None:
        out.write_text(json.dumps(figures, indent=1), "utf-8")


_SIZES = {"jobs": "jobs", "pickups": "pickups", "idle": "idle_seconds", "backlog": "backlog"}


def _installed(names: list[str], cache: Path) -> list[str]:
    """Those of ``names`` that are installed by now; the others are said to be missing."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise click.BadParameter(
            f"{unknown[0]} is none of {', '.join(PEERS)}", param_hint="--peers"
        )
    there = []
    for name in names:
        try:
            install(PEERS[name], cache)
        except NotInstalled as missing:
            click.echo(f"left out: {missing}")
        else:
            there.append(name)
    return there


async def _measure(
    folder: Path,
    dsn: str,
    cache: Path,
    sizes: Sizes,
    names: list[str],
    works: tuple[str, ...],
    rounds: int,
    plots: Path,
) -> list[dict[str, Any]]:
    admin = await asyncpg.create_pool(dsn, min_size=1)
    click.echo(f"PostgreSQL {await admin.fetchval('SHOW server_version')}; {sizes}")
    bench = Bench(Stage(folder, dsn, admin), cache, sizes)
    chosen = list(works) or list(WORKS)
    await run(bench, names, [name for name in chosen if name != CURVES], rounds, click.echo)
    for line in bench.figures.lines():
        click.echo(line)
    if CURVES in chosen:
        await curves(bench, names, rounds, plots, click.echo)
    await admin.close()
    return bench.figures.as_json()


if __name__ == "__main__":
    main()
