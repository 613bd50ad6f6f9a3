"""Seeds that found something, each with what it found; the suite plays all of them.

A seed is a life only together with the draws of ``fate.py``: whoever changes these looks for seeds
that still find what stands here, by taking the mended line away again.
"""

from __future__ import annotations

KEPT: dict[int, str] = {
    311: "a claim that travelled while a circuit opened brought jobs of its type, and they started",
    172: "the same with a circuit that opens among the first jobs",
    21: "a job that needed no database made the pauses of an absent one start again at a second",
    240: "the same, in a database that is away again and again",
    2802: "a process that died while it stopped was buried alive: its end never came",
    2330: "a worker that was given up late, for what had begun before all was well, stayed away",
}
