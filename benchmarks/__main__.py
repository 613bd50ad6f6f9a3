"""``python -m benchmarks``: Dragonfly beside its rivals, on one server, in one run.

One embedded server for all, default settings; rounds are interleaved, figures are medians; only
the ratios count, for absolute figures move with the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import click

from benchmarks.bench import QUICK, Bench, Sizes
from benchmarks.curves import curves
from benchmarks.installing import NotInstalled, install
from benchmarks.machine import conditions
from benchmarks.peers import PEERS
from benchmarks.rounds import run
from benchmarks.stage import Stage
from benchmarks.works import EXTRA, WORKS
from benchmarks.works.draining import REPORTS
from dragonfly.postgres.embedded import embedded_server

CURVES = "W7"
PLOTS = Path("docs/plots")


@click.command()
@click.argument("works", nargs=-1, type=click.Choice([*WORKS, CURVES], case_sensitive=False))
@click.option("--rounds", default=5, show_default=True, help="Interleaved rounds of each work.")
@click.option("--jobs", type=click.IntRange(min=REPORTS), help="Jobs to drain in a round.")
@click.option("--pickups", type=int, help="Lone jobs in a round of W4 and of W4S.")
@click.option("--idle", type=float, help="Seconds of a round of W5.")
@click.option("--backlog", type=int, help="Jobs in the way in W6 and W7.")
@click.option("--soak", type=int, help="Jobs of SOAK.")
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
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Where W7 and SOAK write their plots; by default {PLOTS}, with --quick into the cache.",
)
def main(
    works: tuple[str, ...],
    rounds: int,
    peers: str,
    quick: bool,
    out: Path | None,
    cache: Path,
    plots: Path | None,
    **sizes: float | None,
) -> None:
    """Measure Dragonfly beside its rivals; without WORKS, all but W7 and SOAK.

    \b
    W1   enqueue, one by one and in bulk
    W1C  enqueue from ten connections at once
    W2   drain by one process; W2D untuned; W2T in a transaction each
    W3   drain by two processes
    W4   pick-up of a lone job; W4S of a scheduled one; W4U of one that rang nobody
    W5   idle
    W6   drain with other jobs in the table
    W7   curves of the cost of a job
    W8   start of the command
    SOAK two million jobs through one process

    With --quick, really all.
    """
    names = _installed(peers.split(","), cache)
    asked = {_SIZES[name]: size for name, size in sizes.items() if size is not None}
    chosen: Sizes = replace(QUICK if quick else Sizes(), **asked)  # type: ignore[arg-type]
    plots = plots or (cache / "plots" if quick else PLOTS)
    usual = [name for name in WORKS if name not in EXTRA]
    todo = list(works) or ([*WORKS, CURVES] if quick else usual)
    for line in conditions():
        click.echo(line)
    # ended like any other way out, or the server would stay behind
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with (
        tempfile.TemporaryDirectory(prefix="dragonfly-bench-") as folder,
        embedded_server(Path(folder) / "pg") as dsn,
    ):
        stage = (Path(folder) / "pg", dsn)
        measured = asyncio.run(_measure(stage, cache, chosen, plots, names, todo, rounds))
    if out is not None:
        out.write_text(json.dumps(measured, indent=1), "utf-8")


_SIZES = {
    "jobs": "jobs",
    "pickups": "pickups",
    "idle": "idle_seconds",
    "backlog": "backlog",
    "soak": "soak",
}


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
    server: tuple[Path, str],
    cache: Path,
    sizes: Sizes,
    plots: Path,
    names: list[str],
    works: list[str],
    rounds: int,
) -> dict[str, Any]:
    """Everything measured, and under which conditions, as plain values."""
    folder, dsn = server
    admin = await asyncpg.create_pool(dsn, min_size=1)
    told = await _conditions(admin, sizes, rounds)
    click.echo(f"PostgreSQL {told['postgres']}; {sizes}")
    bench = Bench(Stage(folder, dsn, admin), cache, sizes, plots)
    if not sizes.durable:
        await bench.stage.forget_the_disk()
    await run(bench, names, [name for name in works if name != CURVES], rounds, click.echo)
    for line in bench.figures.lines():
        click.echo(line)
    points = await curves(bench, names, rounds, click.echo) if CURVES in works else []
    await admin.close()
    return {"conditions": told, "figures": bench.figures.as_json(), "curves": points}


async def _conditions(admin: asyncpg.Pool, sizes: Sizes, rounds: int) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "postgres": await admin.fetchval("SHOW server_version"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "load_before": Stage.load(),
        "rounds": rounds,
        "sizes": asdict(sizes),
    }


if __name__ == "__main__":
    main()
