"""For the tests of those who write workers: run one handler, drain a queue, look at what was added.

Everything here works on a real PostgreSQL, which ``postgres_server()`` brings along; nothing is
imitated, and no signal handler or log is touched.
"""

from dragonfly.testing.databases import PostgresServer, postgres_server
from dragonfly.testing.draining import Drained, DrainedJob, drain, make_due
from dragonfly.testing.enqueued import EnqueuedJob, assert_enqueued
from dragonfly.testing.performing import Performed, perform

__all__ = [
    "Drained",
    "DrainedJob",
    "EnqueuedJob",
    "Performed",
    "PostgresServer",
    "assert_enqueued",
    "drain",
    "make_due",
    "perform",
    "postgres_server",
]
