"""Figures as they come in, their medians, and the tables that show them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers import DRAGONFLY

_RATIO = "Dragonfly is better by"


@dataclass(frozen=True, slots=True)
class Metric:
    """What a column of figures is: its title with the unit, its form, which end is better."""

    title: str
    form: str
    more_is_better: bool = False


@dataclass(slots=True)
class Figures:
    """Every figure measured, by metric and contestant, in the order of arrival."""

    values: dict[Metric, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, metric: Metric, name: str, value: float) -> None:
        """Keep one figure of one round."""
        self.values.setdefault(metric, {}).setdefault(name, []).append(value)

    def lines(self) -> Iterator[str]:
        """One table a metric, the best first."""
        wide = max((len(metric.title) for metric in self.values), default=0) + 1
        for metric, rows in self.values.items():
            yield ""
            yield f"{metric.title:<{wide}} {'median':>9}   {'min .. max':<20} {_RATIO}"
            ranked = sorted(rows.items(), key=lambda row: statistics.median(row[1]))
            for name, values in reversed(ranked) if metric.more_is_better else ranked:
                form = metric.form.format
                span = f"{form(min(values))} .. {form(max(values))}"
                median = form(statistics.median(values))
                ratio = _better_by(metric, rows, name)
                yield f"  {name:<{wide - 2}} {median:>9}   {span:<20} {ratio}"

    def as_json(self) -> list[dict[str, Any]]:
        """Plain values for ``--json``."""
        return [
            {
                "metric": metric.title,
                "more_is_better": metric.more_is_better,
                "contestant": name,
                "median": statistics.median(values),
                "values": values,
            }
            for metric, rows in self.values.items()
            for name, values in rows.items()
        ]


def _better_by(metric: Metric, rows: dict[str, list[float]], name: str) -> str:
    ours = statistics.median(rows.get(DRAGONFLY, [0.0]))
    theirs = statistics.median(rows[name])
    if name == DRAGONFLY or not ours or not theirs:
        return ""
    return f"{ours / theirs if metric.more_is_better else theirs / ours:.2f} ×"
