"""Seeds that found something, each with what it found; the suite plays all of them.

A seed is a life only together with the draws of ``fate.py``: whoever changes these looks for seeds
that still find what stands here, by laying the breakage of that name (``test_decisions.py``).
"""

from __future__ import annotations

KEPT: dict[int, str] = {
    3: "a probe whose statement was refused was followed by a claim in the pause it had begun",
    62: "the same when it met a lost connection",
    11534: "a worker that was started again while no end could be written showed that all was well",
    18140: "and it claimed jobs whose end could not be written",
}
