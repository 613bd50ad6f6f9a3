"""Which statement of the queue is answered by what; an unknown one is an error."""

from __future__ import annotations

from collections.abc import Callable

from dragonfly.postgres import sessions
from dragonfly.queue import claiming, heartbeats, keyed, maintenance, sleepers
from dragonfly.queue import statements as sql
from tests.simulation.rows import Row
from tests.simulation.server import Server

INSERT_EFFECT = "INSERT INTO effects VALUES ($1, $2)"  # what handlers write

STATEMENTS: dict[str, Callable[..., list[Row]]] = {
    claiming.CLAIM_HEAD: Server.claim_head,
    claiming.CLAIM_HEAD_OF: Server.claim_head_of,
    claiming.CLAIM_BEHIND: Server.claim_behind,
    claiming.CLAIM: Server.claim,
    claiming.CLAIM_SUSPECT: Server.claim_suspect,
    claiming.UNCLAIM: Server.unclaim,
    keyed.KEYED_WAIT: Server.keyed_wait,
    keyed.LOCK_KEYS: Server.lock_keys,
    keyed.LOCK_SUSPECT_KEY: Server.lock_suspect_key,
    keyed.CLAIM_KEYED: Server.claim_keyed,
    sql.COMPLETE: Server.complete,
    sql.COMPLETE_BATCH: Server.complete_batch,
    sql.COMPLETE_ONE: Server.complete_one,
    sql.FINISH: Server.finish,
    sql.FENCE: Server.fence,
    sql.RENEW: Server.renew,
    sql.TOKENS: Server.tokens,
    sql.FINISHED_BY_US: Server.finished_by_us,
    sql.RESCUE: Server.rescue,
    heartbeats._BEAT: Server.beat,
    heartbeats._PRUNE: Server.nothing,
    maintenance._STEP: Server.nothing,
    maintenance._LITTER: Server.litter,
    maintenance._WAITED_FOR: Server.nothing,
    maintenance.VACUUM: Server.nothing,
    sleepers.FALL_ASLEEP: Server.fall_asleep,
    sleepers.WAKE_UP: Server.wake_up,
    sleepers.WRITERS: Server.writers,
    sessions.ASK: Server.ask,
    sessions.END: Server.end_sessions,
    INSERT_EFFECT: Server.effect,
    "SELECT": Server.nothing,
}
CLAIMS = frozenset(
    {
        *(claiming.CLAIM_HEAD, claiming.CLAIM_HEAD_OF, claiming.CLAIM_BEHIND, claiming.CLAIM),
        *(keyed.KEYED_WAIT, keyed.LOCK_KEYS),
    }
)
FINISHES = frozenset({sql.COMPLETE, sql.COMPLETE_BATCH, sql.FINISH})
