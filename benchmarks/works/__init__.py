"""The works: each takes one contestant through one round and keeps its figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from benchmarks.bench import Bench
from benchmarks.peers import Peer
from benchmarks.works.arriving import w4_pickup, w4_scheduled, w4_unheard
from benchmarks.works.backlogs import w6_backlog
from benchmarks.works.draining import w2_drain, w2_transactions, w2_untouched, w3_two
from benchmarks.works.enqueueing import w1_crowd, w1_enqueue
from benchmarks.works.idling import w5_idle
from benchmarks.works.soaking import soak
from benchmarks.works.starting import w8_start

Work = Callable[[Bench, Peer], Awaitable[None]]
WORKS: dict[str, Work] = {
    "W1": w1_enqueue,
    "W1C": w1_crowd,
    "W2": w2_drain,
    "W2D": w2_untouched,
    "W2T": w2_transactions,
    "W3": w3_two,
    "W4": w4_pickup,
    "W4S": w4_scheduled,
    "W4U": w4_unheard,
    "W5": w5_idle,
    "W6": w6_backlog,
    "W8": w8_start,
    "SOAK": soak,
}
# idling costs next to nothing, so all contestants idle at the same time
TOGETHER = (w5_idle,)
EXTRA = ("SOAK",)
