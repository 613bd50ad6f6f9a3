"""How ``dragonfly queue stats`` looks: two tables, what they need to be read, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dragonfly.cli.show import say, show_table
from dragonfly.ops.findings import age
from dragonfly.ops.queue_report import Report, per_minute
from dragonfly.queue.bloat import Size
from dragonfly.queue.stats import COUNT_UP_TO, PERCENTILES, Depth, Flow, Spread

# types named in one sentence
_NAMED = 3
_COLUMNS = (
    "type", "due", "oldest due", "scheduled", "processing", "in/min", "done/min", "failed/min",
    "failed 24h",
)  # fmt: skip
_TIME_COLUMNS = ("type", "ended", *(f"{what} {p}" for what in ("wait", "run") for p in PERCENTILES))


def show_report(report: Report) -> None:
    """Print the report for people."""
    busy = [each for each in report.types() if _is_busy(*each[1:])]
    unknown = "0" if report.depths is not None else "?"
    show_table(
        _COLUMNS,
        ([name, *_depth(depth, unknown), *_rates(flow)] for name, depth, flow in busy),
        "No job waits, runs or ended lately.",
        numbers=True,
    )
    timed = [flow for _, _, flow in busy if flow and flow.timed]
    if timed:
        say("")
        show_table(_TIME_COLUMNS, (_times(flow) for flow in timed), "", numbers=True)
    say("")
    for sentence in (*_notes(report, timed), *(report.advice() or ["The queue keeps up."])):
        say(sentence)


def _is_busy(depth: Depth | None, flow: Flow | None) -> bool:
    if depth is not None:
        return True
    return flow is not None and bool(
        flow.enqueued or flow.completed or flow.failed or flow.failed_24h.count
    )


def _depth(depth: Depth | None, unknown: str) -> list[str]:
    if depth is None:
        return [unknown, "", unknown, unknown]
    oldest = "" if depth.oldest_due is None else _span(depth.oldest_due)
    return [str(depth.due), oldest, str(depth.scheduled), str(depth.processing)]


def _rates(flow: Flow | None) -> list[str]:
    if flow is None:
        return [""] * 4
    return [
        _rate(flow.enqueued, flow.enqueued_over),
        _rate(flow.completed, flow.ended_over),
        _rate(flow.failed, flow.ended_over),
        str(flow.failed_24h),
    ]


def _rate(count: int, seconds: float) -> str:
    rate = per_minute(count, seconds)
    if rate is None:
        return "?"
    if 0 < rate < 0.1:
        return "<0.1"
    return f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.1f}"


def _times(flow: Flow) -> list[str]:
    cells = [flow.job_type, f"{flow.timed:,}"]
    for sign, spread in (("<=", flow.wait), (">=", flow.run)):
        cells += [_time(spread, p, sign if p in flow.blurred else "") for p in PERCENTILES]
    return cells


def _time(spread: Spread, percentile: str, sign: str = "") -> str:
    return f"{sign}{_span(getattr(spread, percentile))}"


def _span(seconds: float) -> str:
    """A duration, short enough for a column."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"


def _notes(report: Report, timed: Sequence[Flow]) -> Iterator[str]:
    """What the tables need to be read rightly, and the size of the table."""
    yield f"Over the last {age(report.window)}: jobs a minute, and the times of jobs that ended."
    if report.flows:
        yield from _cut(report.flows.types, report.flows.looked_at, report.window)
    counts = [c for _, d, _ in report.types() if d for c in (d.due, d.scheduled, d.processing)]
    if not all(count.exact for count in counts):
        yield f"+: at least; counting stops at {COUNT_UP_TO:,}."
    yield from _blurred([flow for flow in timed if flow.blurred])
    if report.bloat:
        yield _size(report.bloat.size)


def _blurred(flows: Sequence[Flow]) -> Iterator[str]:
    if flows:
        sums = "; ".join(
            f"{flow.job_type} {', '.join(f'{p} {_time(flow.total, p)}' for p in flow.blurred)}"
            for flow in flows[:_NAMED]
        )
        yield (
            "<= and >=: of jobs held for longer than a heartbeat only the sum of wait and run is "
            f"known: {sums}{_others(flows)}."
        )


def _cut(flows: Sequence[Flow], looked_at: int, window: float) -> Iterator[str]:
    short = [flow for flow in flows if min(flow.enqueued_over, flow.ended_over) < window * 0.99]
    if short:
        over = "; ".join(
            f"{flow.job_type} {_span(flow.enqueued_over)} in, {_span(flow.ended_over)} done"
            for flow in short[:_NAMED]
        )
        yield f"The {looked_at:,} jobs looked at cover less than that: {over}{_others(short)}."


def _others(flows: Sequence[Flow]) -> str:
    return "; and others" if len(flows) > _NAMED else ""


def _size(size: Size) -> str:
    vacuumed = max(filter(None, (size.last_vacuum, size.last_autovacuum)), default=None)
    when = f"{vacuumed:%Y-%m-%d %H:%M %Z}" if vacuumed else "never"
    return (
        f"ops.jobs: {_bytes(size.total_bytes)} (table {_bytes(size.table_bytes)}, indexes "
        f"{_bytes(size.index_bytes)}, toast {_bytes(size.toast_bytes)}); {size.live:,} rows live, "
        f"{size.dead:,} dead ({size.dead_share:.0%}); last vacuum: {when}."
    )


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.1f} TB"
