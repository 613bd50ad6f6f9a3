"""Seeds that found something, each with what it found; the suite plays all of them.

A seed is a life only together with the draws of ``fate.py``: whoever changes these looks for seeds
that still find what stands here, by laying the breakage of that name (``test_decisions.py``).
"""

from __future__ import annotations

KEPT: dict[int, str] = {}
