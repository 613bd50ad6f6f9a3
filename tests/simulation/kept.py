"""Seeds that found something, each with what it found; the suite plays all of them.

A seed is a life only together with the draws of ``fate.py``: whoever changes these looks for seeds
that still find what stands here, by taking the mended line away again.
"""

from __future__ import annotations

KEPT: dict[int, str] = {
    219: "a claim that travelled while a circuit opened brought jobs of its type, and they started",
    128: "the same with a circuit that opens among the first jobs",
    90: "a job that needed no database made the pauses of an absent one start again at a second",
    135: "the same, in a database that is away again and again",
    44187: "a process that died while it stopped was buried alive: its end never came",
    43625: "a worker that was given up late, for what had begun before all was well, stayed away",
}
