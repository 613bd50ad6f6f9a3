"""``dragonfly enqueue`` as a process: one job, files of jobs, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from dragonfly.cli.enqueue import enqueue
from dragonfly.ops.job_files import MOST_LINE_BYTES
from dragonfly.queue.store import enqueue as enqueue_job
from tests.ops.test_commands import Answer, Shell, shell
from tests.queue.rows import another
from tests.roles import administering
from tests.support import until

WHEN = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
OPTIONS = {
    "priority": -7,
    "run_at": WHEN,
    "unique_key": "k",
    "concurrency_key": "c",
    "max_attempts": 3,
    "due_at": WHEN,
}
# takes what no worker of the trade takes, and is strict about it
WORKER = """
from pydantic import BaseModel
from dragonfly import Job, Worker

class Greeting(BaseModel):
    name: str

worker = Worker("greeter")

@worker.job("greet")
async def greet(job: Job[Greeting]) -> None: ...
"""

__all__ = ["shell"]  # a fixture


def write(shell: Shell, *lines: str | dict[str, Any], text: bytes = b"") -> str:
    """A file of these lines; its name."""
    rows = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path = shell.folder / "jobs.jsonl"
    path.write_bytes(text or "\n".join(rows).encode())
    return str(path)


async def jobs(conn: asyncpg.Connection, *columns: str) -> list[tuple[Any, ...]]:
    """These columns of all jobs in the order of their ids."""
    rows = await conn.fetch(f"SELECT {', '.join(columns)} FROM ops.jobs ORDER BY id")
    return [tuple(row) for row in rows]


def refusal(answer: Answer) -> list[str]:
    """The sentences of a command that enqueued nothing."""
    assert (2, "") == (answer.code, answer.out)
    return answer.err.splitlines()


def test_help_has_an_example() -> None:
    """Help shows an example that begins with dragonfly."""
    result = CliRunner().invoke(enqueue, ["--help"])

    assert (0, True) == (result.exit_code, "Example:  dragonfly enqueue" in result.output)


async def test_every_option(shell: Shell, conn: asyncpg.Connection) -> None:
    """Each option lands in its column, and the id is printed."""
    at = "2031-05-06T07:08:09+0000"
    answer = await shell.run(
        "enqueue", "greet", '{"name": "Zoë"}', "--run-at", at, "--due-at", at, "--priority", "-7",
        "--unique-key", "k", "--concurrency-key", "c", "--max-attempts", "3",
    )  # fmt: skip

    assert (0, "1\n", "") == (answer.code, answer.out, answer.err)
    assert [(1, '{"name": "Zoë"}', *OPTIONS.values())] == await jobs(
        conn, "id", "payload", *OPTIONS
    )


async def test_the_choice_for_a_taken_key(shell: Shell, conn: asyncpg.Connection) -> None:
    """A second job with the key is left out, replaces the first, or moves it."""
    keyed = ("--unique-key", "k", "--json")
    first = await shell.run("enqueue", "greet", '{"n": 1}', *keyed, "--run-at", f"{WHEN:%FT%T%z}")
    answers = [
        (await shell.run("enqueue", "greet", '{"n": 2}', *keyed, *choice)).json
        + await jobs(conn, "payload", "run_at > clock_timestamp()")
        for choice in ((), ("--on-conflict", "replace"), ("--on-conflict", "reschedule"))
    ]

    assert [1] == first.json
    assert [
        [1, ('{"n": 1}', True)], [1, ('{"n": 2}', True)], [1, ('{"n": 2}', False)]
    ] == answers  # fmt: skip


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["greet", "{"], "PAYLOAD_INVALID: not JSON: EOF while parsing an object at byte 1."),
        (["greet", "NaN"], "PAYLOAD_INVALID: not JSON: expected value at byte 1."),
        (["greet", '"\\u0000"'], "PAYLOAD_INVALID: the payload holds NaN, Infinity or"),
        (["simplicity_ingest", "{}"], "PAYLOAD_INVALID: the payload of simplicity_ingest does not"),
        (
            [""],
            "the database refused a job (job_type_has_1_to_200_letters); nothing was enqueued.",
        ),
        ([], "Name a JOB_TYPE, or a --file"),
        (["greet", "{}", "--file", "-"], "Give a PAYLOAD or a --file, not both."),
        (["greet", "--file", "-", "--unique-key", "k"], "would be one job"),
        (["--file", "nowhere.jsonl"], "nowhere.jsonl"),
        (["greet", "--on-conflict", "update"], "'skip', 'replace', 'reschedule'"),
    ],
)
async def test_what_is_refused(
    shell: Shell, conn: asyncpg.Connection, words: list[str], sentence: str
) -> None:
    """A command line or payload that cannot be a job ends with 2 and a sentence."""
    runner = CliRunner(env={"SUPABASE_DB_URL_DEV": shell.dsn})
    result = await asyncio.to_thread(runner.invoke, enqueue, words)

    assert (2, "") == (result.exit_code, result.stdout)
    assert sentence in " ".join(result.stderr.split())
    assert [] == await jobs(conn, "id")


async def test_a_worker_of_ones_own_checks_its_payloads(shell: Shell) -> None:
    """--workers names the workers whose handlers the payloads must fit."""
    (shell.folder / "greetings.py").write_text(WORKER)
    words = ("enqueue", "greet", "--workers", "greetings:worker")

    unfit = await shell.run(*words, '{"nam": "Ada"}')
    fit = await shell.run(*words, '{"name": "Ada"}')
    nobody = await shell.run("enqueue", "greet", "--workers", "greetings:nobody")

    assert [
        "dragonfly: PAYLOAD_INVALID: the payload of greet does not fit: name: Field required."
    ] == (refusal(unfit))
    assert (0, 78) == (fit.code, nobody.code)


async def test_a_file_of_jobs(shell: Shell, conn: asyncpg.Connection) -> None:
    """Each line is a job with options of its own; options of the command hold for the others."""
    times = {"run_at": "2031-05-06T07:08:09Z", "due_at": "2031-05-06T03:08:09-04:00"}
    file = write(
        shell,
        {"job_type": "greet", "payload": {"name": "Zoë"}, **OPTIONS, **times},
        {"job_type": "stamp"},
        {"job_type": "greet", "unique_key": "k", "on_conflict": "replace", "payload": [1]},
    )

    answer = await shell.run("enqueue", "--file", file, "--priority", "5", "--max-attempts", "2")

    first, second = await jobs(conn, "id", "job_type", "payload", *OPTIONS)
    assert (0, f"{first[0]}\n{second[0]}\n{first[0]}\n") == (answer.code, answer.out)
    assert ("greet", "[1]", 5, WHEN, "k", None, 2, None) == first[1:]
    assert ("stamp", "{}", 5) == second[1:4]


async def test_a_file_of_payloads(shell: Shell, conn: asyncpg.Connection) -> None:
    """With a JOB_TYPE each line is a payload; stdin is a file, and --json prints a list."""
    lines = b'{"n": 1}\n2\n"three"\n{"job_type": "x"}\n'

    answer = await shell.feed(
        lines, "enqueue", "greet", "--file", "-", "--json", "--concurrency-key", "c"
    )

    assert (0, [1, 2, 3, 4]) == (answer.code, answer.json)
    assert [("greet", text.decode(), "c") for text in lines.splitlines()] == await jobs(
        conn, "job_type", "payload", "concurrency_key"
    )


async def test_how_files_come(shell: Shell, conn: asyncpg.Connection) -> None:
    """A byte order mark, CRLF, blank lines and a missing last newline are no mistakes."""
    text = b'\xef\xbb\xbf{"n": 1}\r\n\r\n   \n{"n": 2}\r\n\n{"n": 3}'

    answer = await shell.run("enqueue", "greet", "--file", write(shell, text=text))
    empty = await shell.feed(b"\r\n", "enqueue", "greet", "--file", "-")

    assert (0, "1\n2\n3\n") == (answer.code, answer.out)
    assert (0, "", "") == (empty.code, empty.out, empty.err)
    assert [('{"n": 1}',), ('{"n": 2}',), ('{"n": 3}',)] == await jobs(conn, "payload")


async def test_bad_lines(shell: Shell, conn: asyncpg.Connection) -> None:
    """Each bad line is named with its number and why, without its values; nothing is enqueued."""
    file = write(
        shell,
        {"job_type": "greet"},
        "",
        '{"job_type": "greet"',
        '["hush"]',
        {"job_type": "greet", "prioriti": "hush", "colour": "hush"},
        {"payload": "hush"},
        {"job_type": "simplicity_ingest", "payload": {"file_path": ["hush"]}},
        {"job_type": "greet", "run_at": "2031-05-06T07:08:09"},
        {"job_type": "greet", "run_at": 1700000000, "priority": 40000},
        {"job_type": "greet", "payload": {"x": "\0hush"}},
        '{"job_type": "greet", "payload": NaN}',
        {"job_type": "greet", "unique_key": "hush\0"},
        '{"job_type": "greet", "payload": ' + 300 * "[" + 300 * "]" + "}",
        {"job_type": "greet", "on_conflict": "hush"},
    )

    answer = await shell.run("enqueue", "--file", file)

    *lines, last = refusal(answer)
    colour = (
        "unknown field 'colour' (known: job_type, payload, run_at, priority, unique_key, "
        "concurrency_key, max_attempts, due_at, correlation_id, parent_id, on_conflict)."
    )
    unfit = "the payload of simplicity_ingest does not fit"
    above = "priority: Input should be less than or equal to 32767."
    constants = "the payload holds NaN, Infinity or the character U+0000."
    assert [
        "line 3: not JSON: EOF while parsing an object at byte 20.",
        "line 4: not an object with a job_type.",
        f"line 5: unknown field 'prioriti' (did you mean priority?); {colour}",
        "line 6: no job_type.",
        f"line 7: {unfit}: file_path: Input should be a valid string.",
        "line 8: run_at: Input should have timezone info.",
        f"line 9: run_at: Input should be a valid datetime; {above}",
        f"line 10: {constants}",
        f"line 11: {constants}",
        "line 12: unique_key: must not hold the character U+0000.",
        "line 13: not JSON: recursion limit exceeded at byte 234.",
        "line 14: on_conflict: Input should be 'skip', 'replace' or 'reschedule'.",
    ] == lines
    assert "dragonfly: 12 bad lines; nothing was enqueued." == last
    assert "hush" not in answer.err
    assert [] == await jobs(conn, "id")


async def test_many_bad_lines(shell: Shell) -> None:
    """After twenty bad lines the rest is not read, and the last line says so."""
    *lines, last = refusal(await shell.feed(b"x\n" * 99, "enqueue", "greet", "--file", "-"))

    assert [f"line {n}: not JSON: expected value at byte 1." for n in range(1, 21)] == lines
    assert "dragonfly: 20 bad lines; the rest was not read; nothing was enqueued." == last


async def test_long_lines(shell: Shell, conn: asyncpg.Connection) -> None:
    """A line of megabytes is a job; one beyond the limit is refused, and the next is itself."""
    long = b'"' + b"x" * (MOST_LINE_BYTES - 2) + b'"\n'
    too_long = b'"' + b"x" * 2 * MOST_LINE_BYTES + b'"\n'

    taken = await shell.feed(long + b"1\n" + long, "enqueue", "greet", "--file", "-")
    refused = await shell.feed(too_long + b"1\nx\n", "enqueue", "greet", "--file", "-")

    assert (0, "1\n2\n3\n") == (taken.code, taken.out)
    assert [MOST_LINE_BYTES, 1, MOST_LINE_BYTES] == [
        length for (length,) in await jobs(conn, "length(payload::text)")
    ]
    assert ["line 1: longer than 16 MiB.", "line 3: not JSON: expected value at byte 1."] == (
        refusal(refused)[:2]
    )


async def test_a_file_in_utf16(shell: Shell) -> None:
    """What PowerShell's > writes is refused with what to do, once."""
    file = write(shell, text='{"n": 1}\n{"n": 2}\n'.encode("utf-16"))

    assert [
        "line 1: the file is UTF-16; save it as UTF-8.",
        "dragonfly: 1 bad line; nothing was enqueued.",
    ] == refusal(await shell.run("enqueue", "greet", "--file", file))


async def test_what_the_server_refuses(shell: Shell, conn: asyncpg.Connection) -> None:
    """What only the server can refuse undoes the lines before it, too, however many statements."""
    await conn.execute("ALTER TABLE ops.jobs ADD CONSTRAINT theirs CHECK (priority < 9)")
    lines = [{"job_type": "greet", "priority": 9 * (n == 2400)} for n in range(2500)]

    answer = await shell.run("enqueue", "--file", write(shell, *lines))

    assert "dragonfly: the database refused a job (theirs); nothing was enqueued." in refusal(
        answer
    )
    assert [] == await jobs(conn, "id")


async def test_keys_taken_crosswise(shell: Shell, conn: asyncpg.Connection) -> None:
    """A file that deadlocks with another enqueuer of its keys is undone, with what to do."""
    lines = [{"job_type": "greet", "unique_key": key} for key in "ab"]
    # so that it is the file's transaction that the server ends
    async with (
        administering(shell.dsn) as patient,
        another(shell.dsn) as watcher,
        patient.transaction(),
    ):
        await patient.execute("SET LOCAL deadlock_timeout = '1 min'")
        await enqueue_job(patient, "greet", {}, unique_key="b")
        loading = asyncio.create_task(shell.run("enqueue", "--file", write(shell, *lines)))
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        await until(watcher, f"{waiting} AND datname = current_database()", expected=1)
        await enqueue_job(patient, "greet", {}, unique_key="a")
        answer = await loading

    assert (1, "") == (answer.code, answer.out)
    assert answer.err.endswith("in another order. Nothing was enqueued; try again.\n")
    assert [("b",), ("a",)] == await jobs(conn, "unique_key")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process")
async def test_a_large_file(shell: Shell, conn: asyncpg.Connection) -> None:
    """A large file becomes jobs in its order, in memory that does not grow with it."""
    small = write(shell, '{"job_type": "greet"}')
    # of its own life: what getrusage() tells begins with the memory of who started it
    script = (
        "import pathlib, re, sys; from dragonfly.cli.main import main\n"
        "try: main()\n"
        "finally: print(re.search(r'VmHWM:\\s+(\\d+)',"
        " pathlib.Path('/proc/self/status').read_text())[1], file=sys.stderr)"
    )
    peaks = []
    for lines in (1, 20_000):
        payload = {"text": "x" * 1500}
        small = write(
            shell, *({"job_type": "greet", "payload": payload | {"n": n}} for n in range(lines))
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, "enqueue", "--file", small, env=shell.environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        peaks.append(int(err) // 1024)
        ids = [int(line) for line in out.split()]

    assert list(range(2, 20_002)) == ids
    assert [(n,) for n in (0, *range(20_000))] == await jobs(conn, "(payload->>'n')::int")
    # the file has 30 MiB
    assert peaks[1] < peaks[0] + 25


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
async def test_a_bar_on_a_terminal_only(shell: Shell) -> None:
    """On a terminal a bar shows the progress and goes; elsewhere stderr stays empty."""
    import pty

    file = write(shell, *({"job_type": "greet"} for _ in range(5000)))
    quiet = await shell.run("enqueue", "--file", file)
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dragonfly", "enqueue", "--file", file,
        env=shell.environment | {"TERM": "xterm", "COLUMNS": "80"},
        stdout=asyncio.subprocess.PIPE, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = asyncio.to_thread(_read_to_end, ours)
    text, (out, _) = await asyncio.gather(shown, process.communicate())

    assert (0, 5000, "") == (quiet.code, len(quiet.out.splitlines()), quiet.err)
    assert (0, 5000) == (process.returncode, len(out.splitlines()))
    assert all(word in text for word in (b"reading", b"enqueueing", b"100%"))


def _read_to_end(terminal: int) -> bytes:
    text = b""
    try:
        while part := os.read(terminal, 65536):
            text += part
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(terminal)
    return text
