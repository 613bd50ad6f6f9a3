"""The three workers of the trade, by name; their modules are loaded only when they are run."""

from __future__ import annotations

TRADE_WORKERS = {
    "simplicity-ingest": "dragonfly.workers.simplicity_ingest:worker",
    "ingest-processor": "dragonfly.workers.ingest_processor:worker",
    "enforcement-engine": "dragonfly.workers.enforcement_engine:worker",
}
