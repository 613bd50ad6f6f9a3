"""The watcher of the drop folder, on real files and a real queue."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from dragonfly.errors import ConfigurationError
from dragonfly.ops.dropfolder import AlreadyWatched, DropFolder
from dragonfly.workers.simplicity_ingest import worker as simplicity_ingest
from tests.ops.drops import Drop, export, job_files, sha256
from tests.support import drain


@pytest.fixture
def drop(tmp_path: Path, dsn: str) -> Drop:
    return Drop(tmp_path / "intake", dsn)


async def test_a_file_becomes_a_job_that_finds_it(drop: Drop, conn: asyncpg.Connection) -> None:
    """A complete file lies in done/ where its job names it, with its hash, size and a receipt."""
    drop.put("export.csv", export())

    tally = await drop.once()

    (done,) = drop.files("done")
    (named,) = await job_files(conn)
    (receipt,) = drop.receipts()
    expected = {
        "store": "drop",
        "path": done.relative_to(drop.root).as_posix(),
        "sha256": sha256(export()),
        "bytes": len(export()),
    }
    assert expected == named
    assert export() == done.read_bytes()
    assert (named["path"], named["sha256"]) == (receipt["path"], receipt["sha256"])
    assert await conn.fetchval("SELECT id FROM ops.jobs") == receipt["job_id"]
    assert ([], []) == (drop.files("inbox"), drop.files("working"))
    assert (1, 0, 0, 0) == (tally.accepted, tally.rejected, tally.waiting, tally.exit_code)


async def test_the_worker_loads_what_the_watcher_took(drop: Drop, conn: asyncpg.Connection) -> None:
    """From the inbox to a judgment: the ingest worker understands the job as it was made."""
    drop.put("export.csv", export())
    await drop.once()

    code, _ = await drain(drop.dsn, simplicity_ingest, intake_root=drop.root)

    result = json.loads(await conn.fetchval("SELECT result FROM ops.jobs WHERE parent_id IS NULL"))
    assert (0, "completed", 1) == (code, result["outcome"], result["rows"]["loaded"])


async def test_a_file_still_being_written_waits(drop: Drop, conn: asyncpg.Connection) -> None:
    """A file that changes between two looks stays in the inbox for the next run."""
    path = drop.put("export.csv", export())
    drop.put("whole.csv", export(2))
    drop.while_pausing = lambda: path.write_bytes(export() + b"more")

    tally = await drop.once()

    assert [path] == drop.files("inbox")
    assert [sha256(export(2))] == [named["sha256"] for named in await job_files(conn)]
    assert (1, 1, 0) == (tally.accepted, tally.waiting, tally.exit_code)


async def test_settling_takes_three_seconds(drop: Drop) -> None:
    """Looks in quick succession do not make a file older than it is."""
    drop.put("export.csv", export())
    watcher = drop.watcher()
    counts = []
    for second in (0.0, 1.0, 2.0, 3.0):
        drop.time = second
        await watcher.look()
        counts.append(watcher.tally.accepted)

    assert [0, 0, 0, 1] == counts


async def test_what_comes_during_a_single_run_waits(drop: Drop) -> None:
    """A single run is about what was there when it began."""
    drop.put("export.csv", export())
    drop.while_pausing = lambda: drop.put("later.csv", export(2))

    tally = await drop.once()

    assert ["later.csv"] == [path.name for path in drop.files("inbox")]
    assert (1, 1) == (tally.accepted, tally.waiting)


@pytest.mark.parametrize(
    "name",
    [".hidden", "~$export.xlsx", "a.tmp", "A.TMP", "b.partial", "Desktop.ini", "x.crdownload"],
)
async def test_unfinished_and_system_files_are_left(drop: Drop, name: str) -> None:
    """Names that programs use for half a file are ignored, in whatever case."""
    drop.put(name, export())

    tally = await drop.once()

    assert [name] == [path.name for path in drop.files("inbox")]
    assert (0, 0, 0) == (tally.accepted, tally.rejected, tally.exit_code)


async def test_empty_files_and_folders_are_left(drop: Drop) -> None:
    """A file of no bytes is a copy that has just begun; a folder is nobody's export."""
    drop.put("empty.csv", b"")
    (drop.folder.inbox / "folder").mkdir()

    tally = await drop.once()

    assert (0, 0, 0) == (tally.accepted, tally.rejected, tally.waiting)
    assert ["empty.csv"] == [path.name for path in drop.files("inbox")]


async def test_one_bad_file_holds_up_no_other(drop: Drop, conn: asyncpg.Connection) -> None:
    """A refused file goes to rejected/ with three lines of explanation; the others are taken."""
    drop.put("a.csv", b"%PDF-1.7 this is no export")
    drop.put("b.csv", export())

    tally = await drop.once()

    (rejected,) = drop.files("rejected")
    why = rejected.with_name(f"{rejected.name}.why.txt").read_text().splitlines()
    assert 1 == len(await job_files(conn))
    assert (1, 1, 1) == (tally.accepted, tally.rejected, tally.exit_code)
    assert ["What", "Why", "What to do"] == [line.partition(":")[0] for line in why]
    assert "What: 'a.csv' was not accepted (FILE_TYPE)." == why[0]
    assert "PDF" in why[1]
    assert "What to do: Open it in Excel and save it as CSV UTF-8 (comma delimited)." == why[2]


async def test_links_are_refused(drop: Drop, tmp_path: Path, conn: asyncpg.Connection) -> None:
    """A link is rejected as it is; what it points to is neither read nor moved."""
    secret = tmp_path / "outside.csv"
    secret.write_bytes(export())
    (drop.folder.inbox / "link.csv").symlink_to(secret)

    tally = await drop.once()

    (rejected,) = drop.files("rejected")
    assert (1, 0) == (tally.rejected, len(await job_files(conn)))
    assert rejected.is_symlink()
    assert export() == secret.read_bytes()


async def test_same_content_under_two_names_is_one_job(
    drop: Drop, conn: asyncpg.Connection
) -> None:
    """Both files are kept with a receipt, and both receipts name the one job."""
    drop.put("a.csv", export())
    drop.put("b.csv", export())

    tally = await drop.once()

    jobs = await conn.fetch("SELECT id FROM ops.jobs")
    assert [jobs[0]["id"]] * 2 == [receipt["job_id"] for receipt in drop.receipts()]
    assert (2, 1) == (tally.accepted, len(jobs))
    assert 2 == len(drop.files("done"))


async def test_content_loaded_before_is_named(drop: Drop, conn: asyncpg.Connection) -> None:
    """The receipt of a file whose content was loaded before names that batch."""
    drop.put("a.csv", export())
    await drop.once()
    await drain(drop.dsn, simplicity_ingest, intake_root=drop.root)
    drop.put("again.csv", export())

    await drop.once()

    batch = await conn.fetchval("SELECT batch_id FROM civil.intake_batches")
    (again,) = [r for r in drop.receipts() if r["path"].endswith("__again.csv")]
    assert str(batch) == again["same_content_loaded_as_batch"]


async def test_same_name_with_new_content_is_kept_apart(drop: Drop) -> None:
    """Two files of one name lie beside each other."""
    for number in (1, 2):
        drop.put("export.csv", export(number))
        await drop.once()

    assert {export(1), export(2)} == {path.read_bytes() for path in drop.files("done")}


@pytest.mark.parametrize("name", ["100%.csv", 'a"b:c*.csv', "Zoë Straße.csv", "x" * 240 + ".csv"])
async def test_any_name_reaches_the_job(drop: Drop, conn: asyncpg.Connection, name: str) -> None:
    """Whatever its owner called the file, the job's path is one that the worker accepts."""
    drop.put(name, export())

    await drop.once()
    code, _ = await drain(drop.dsn, simplicity_ingest, intake_root=drop.root)

    (named,) = await job_files(conn)
    assert (0, True) == (code, (drop.root / named["path"]).is_file())
    assert all(line.isascii() for line in drop.said)


async def test_away_database_moves_nothing(drop: Drop) -> None:
    """While the database cannot be reached, the inbox stays as it is and the run ends with 2."""
    path = drop.put("export.csv", export())
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        drop.connect = lambda: asyncpg.connect(host="127.0.0.1", port=port, user="x", database="x")

        tally = await drop.once()

    assert [path] == drop.files("inbox")
    assert (2, 1, 0) == (tally.exit_code, tally.waiting, tally.accepted)


async def test_the_next_look_finds_the_database_back(drop: Drop, conn: asyncpg.Connection) -> None:
    """A connection lost between two files costs neither of them."""
    drop.put("a.csv", export(1))
    drop.put("b.csv", export(2))
    watcher = drop.watcher()
    connections = 0

    async def connect() -> asyncpg.Connection:
        nonlocal connections
        connections += 1
        opened = await asyncpg.connect(drop.dsn)
        if connections == 1:
            await conn.execute("SELECT pg_terminate_backend($1)", opened.get_server_pid())
        return opened

    drop.connect = connect
    watcher = drop.watcher()
    await watcher.once()
    during = (watcher.tally.away, watcher.tally.waiting)
    await watcher.look()

    assert (True, 2) == during
    assert (False, 0, 2) == (watcher.tally.away, watcher.tally.waiting, watcher.tally.accepted)
    assert {sha256(export(n)) for n in (1, 2)} == {f["sha256"] for f in await job_files(conn)}


async def test_a_file_that_cannot_be_moved_makes_no_job(
    drop: Drop, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job is seen only when its file has moved; until then the file waits, and is told once."""

    def held_open(*_: object) -> None:
        raise PermissionError(13, "in use")

    drop.put("export.csv", export())
    watcher = drop.watcher()
    with monkeypatch.context() as patch:
        patch.setattr(DropFolder, "move_to_done", held_open)
        await watcher.once()
        await watcher.look()
    during = (watcher.tally.waiting, await job_files(conn), len(drop.said))

    await watcher.look()

    assert (1, [], 1) == during
    assert (1, 1) == (watcher.tally.accepted, len(await job_files(conn)))


async def test_goes_on_until_it_is_stopped(drop: Drop) -> None:
    """The endless watcher takes a file at the look at which it has settled."""
    drop.put("export.csv", export())
    watcher = drop.watcher()

    tally = await watcher.forever(1.0, lambda: drop.time > 10)

    assert (1, 0) == (tally.accepted, tally.exit_code)
    assert 10 < drop.time < 13


async def test_only_one_watcher_at_a_time(drop: Drop) -> None:
    """The second watcher of a folder is told so; the end of the first lets it in."""
    other = DropFolder(drop.root)
    with drop.folder.held(), pytest.raises(AlreadyWatched), other.held():
        pass
    with other.held():
        pass


async def test_a_killed_watcher_leaves_no_lock(drop: Drop) -> None:
    """The lock is the system's: it ends with the process, however that ends."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from dragonfly.ops.dropfolder import DropFolder\n"
        "with DropFolder(Path(sys.argv[1])).held():\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(drop.root), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    with pytest.raises(AlreadyWatched), drop.folder.held():
        pass

    process.kill()
    await process.wait()

    with drop.folder.held():
        pass


async def test_a_folder_elsewhere_is_refused(tmp_path: Path) -> None:
    """A linked sub-folder would make a move two steps, or lead out: it is a configuration error."""
    root = tmp_path / "intake"
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / "done").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigurationError, match="done in the drop folder"):
        DropFolder(root).prepare()


def _dying(drop: Drop, tick: int) -> int:
    """Run a watcher that kills itself at its n-th step; its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.ops.dying_watcher", str(drop.root), drop.dsn, str(tick)],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    if done.returncode > 0:
        raise AssertionError(done.stderr)
    return done.returncode


@pytest.mark.timeout(300)
async def test_nothing_is_lost_wherever_it_dies(tmp_path: Path, dsn: str) -> None:
    """Killed at any step, a watcher leaves each file for the next one: one job, where it lies."""
    conn = await asyncpg.connect(dsn)
    tick, killed = 0, True
    while killed:
        tick += 1
        drop = Drop(tmp_path / str(tick), dsn)
        good, bad = export(tick), f"%PDF-{tick}".encode()
        drop.put("good.csv", good)
        drop.put("bad.csv", bad)

        killed = await asyncio.to_thread(_dying, drop, tick) != 0
        await drop.once()

        (done,) = drop.files("done")
        (rejected,) = drop.files("rejected")
        (receipt,) = drop.receipts()
        jobs = await conn.fetch(
            "SELECT id, payload -> 'file' ->> 'path' AS path FROM ops.jobs "
            "WHERE payload -> 'file' ->> 'sha256' = $1",
            sha256(good),
        )
        where = done.relative_to(drop.root).as_posix()
        assert [(receipt["job_id"], where)] == [tuple(job) for job in jobs], f"step {tick}"
        assert (good, bad) == (done.read_bytes(), rejected.read_bytes())
        assert rejected.with_name(f"{rejected.name}.why.txt").is_file()
        assert ([], []) == (drop.files("inbox"), drop.files("working"))
    await conn.close()

    assert tick > 12, "the dying watcher has hardly died"


async def test_a_file_whose_job_has_run_is_not_enqueued_again(
    drop: Drop, conn: asyncpg.Connection
) -> None:
    """Without its receipt, a file that a job has begun with only gets the receipt back."""
    drop.put("export.csv", export())
    await drop.once()
    await drain(drop.dsn, simplicity_ingest, intake_root=drop.root)
    for receipt in (drop.root / "done").rglob("*.receipt.json"):
        receipt.unlink()

    await drop.once()

    batch = await conn.fetchval("SELECT batch_id FROM civil.intake_batches")
    (receipt_again,) = drop.receipts()
    assert (None, str(batch)) == (
        receipt_again["job_id"],
        receipt_again["same_content_loaded_as_batch"],
    )
    assert 1 == await conn.fetchval(
        "SELECT count(*) FROM ops.jobs WHERE job_type = 'simplicity_ingest'"
    )
