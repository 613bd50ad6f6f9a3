"""Sets up loguru, and is the only place that words a log line.

Text for a person on a terminal; elsewhere one JSON object a line with ``level`` and ``message``,
on stdout, as Railway reads them.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loguru import logger

from dragonfly import events as e
from dragonfly.redaction import describe_exception, printable, redact

if TYPE_CHECKING:
    from loguru import Message, Record

_LONGEST_FORWARDED = 2000
_TEXT = "<dim>{time:HH:mm:ss}</dim> <level>{level: <8}</level> {message}"


def set_up(log_format: str, level: str) -> None:
    """Send log lines to stdout as text, json, or (auto) by whether it is a terminal.

    What libraries and Python itself have to say becomes such a line too, without values.
    """
    as_text = log_format == "text" or (log_format == "auto" and sys.stdout.isatty())
    logger.remove()
    logger.configure(patcher=_make_one_line)
    if as_text:
        # diagnose prints the values of local variables: never
        logger.add(sys.stdout, format=_TEXT, level=level, diagnose=False, backtrace=False)
    else:
        logger.add(_write_json, level=level, diagnose=False, backtrace=False, format="{message}")
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)
    threading.excepthook = _tell_of_thread
    sys.unraisablehook = _tell_of_unraisable


def _make_one_line(record: Record) -> None:
    """A message cannot pass for two, nor steer the terminal it is read on."""
    record["message"] = printable(record["message"])


def _write_json(message: Message) -> None:
    record = message.record
    line: dict[str, Any] = {
        "time": record["time"].isoformat(),
        "level": record["level"].name.lower(),
        "message": record["message"],
    }
    line.update(record["extra"])
    if record["exception"] is not None and record["exception"].type is not None:
        line["exception"] = record["exception"].type.__name__
    print(json.dumps(line, default=str), flush=True)  # noqa: T201 - this is the log


class _Forward(logging.Handler):
    """Lets libraries that use ``logging`` speak through the same lines."""

    def emit(self, record: logging.LogRecord) -> None:
        said = redact(record.getMessage(), _LONGEST_FORWARDED)
        logger.log(record.levelname, "{}: {}", record.name, said)


def _tell_of_thread(args: threading.ExceptHookArgs) -> None:
    """Python would print the traceback, and with it the message."""
    name = args.thread.name if args.thread else "a thread"
    error = args.exc_value
    logger.error("{} ended: {}", name, describe_exception(error) if error else args.exc_type)


def _tell_of_unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        logger.error("an error that nobody could catch: {}", describe_exception(args.exc_value))


def log_events(events: e.Events) -> None:
    """Word every event; those that only DEBUG shows are not even listened to otherwise."""
    for kind, word in _WORDS.items():
        level, _ = word
        if level == "DEBUG" and not _shows_debug():
            continue
        events.on(kind, _speak)
    events.on(e.JobFinished, _speak_of_job)


def _shows_debug() -> bool:
    return bool(logger._core.min_level <= logger.level("DEBUG").no)  # type: ignore[attr-defined]  # noqa: SLF001


def _speak(event: e.Event) -> None:
    level, word = _WORDS[type(event)]
    logger.bind(event=type(event).__name__).log(level, "{}", word(event))


def _speak_of_job(event: e.JobFinished) -> None:
    what = f"{event.worker}: job {event.job_id} ({event.job_type})"
    match event.outcome:
        case "completed":
            level, end = "DEBUG", f"completed in {_seconds(event.seconds)}"
            if event.error:
                level, end = "WARNING", f"{end}, but its handler failed afterwards: {event.error}"
        case "failed":
            level, end = "ERROR", f"failed: {event.error}"
        case "retried":
            level, end = (
                "WARNING",
                f"attempt {event.attempt} failed, will be retried: {event.error}",
            )
        case "released":
            level, end = "INFO", f"given back{f': {event.error}' if event.error else ''}"
        case _:
            level, end = "INFO", event.outcome
    logger.bind(event="JobFinished", job_id=event.job_id, job_type=event.job_type).log(
        level, "{} {}", what, end
    )


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _started(event: e.ProcessStarted) -> str:
    return (
        f"Dragonfly {event.version} ({event.mode}) on {event.database}; "
        f"workers: {', '.join(event.workers)}; process {event.process_id}. "
        "Heartbeats: ops.worker_heartbeats; logs: this stream."
    )


def _circuit(event: e.CircuitOpened) -> str:
    what = f"{event.job_type} jobs" if event.job_type else "claiming"
    return (
        f"{event.worker}: {what} stopped, because the configuration is wrong: {event.reason}. "
        f"Next try in {_seconds(event.seconds)}."
    )


def _missed(event: e.ScheduleMissed) -> str:
    what = (
        f"schedule {event.schedule}: its ticks since {event.since:%Y-%m-%d %H:%M:%S%z} were missed"
    )
    if not event.caught_up:
        return f"{what} and are left out"
    more = "; there were more, the oldest are left out" if event.cut else ""
    return f"{what}; {_plural(event.caught_up, 'tick')} caught up{more}"


def _stalled(event: e.LoopStalled) -> str:
    who = f"job {event.job_id} ({event.job_type})" if event.job_id else "no handler's own task"
    return (
        f"the event loop has not turned for {_seconds(event.seconds)}, blocked by {who}: "
        f"{' < '.join(reversed(event.frames))}. Held jobs keep their locks up to "
        f"{_seconds(event.bound)}, then the process is ended. What blocks belongs into a plain "
        "def handler or a thread"
    )


_WORDS: dict[type[e.Event], tuple[str, Callable[[Any], str]]] = {
    e.ProcessStarted: ("INFO", _started),
    e.ProcessStopping: (
        "INFO",
        lambda v: (
            f"{v.signal}: stopping; {_plural(v.running_jobs, 'running job')} may finish within "
            f"{_seconds(v.grace_seconds)} (a second signal cancels at once)"
        ),
    ),
    e.ProcessStopped: (
        "INFO",
        lambda v: f"stopped after {_seconds(v.seconds)} with exit code {v.exit_code}",
    ),
    e.WorkerStarted: (
        "INFO",
        lambda v: (
            f"{v.worker}: started as {v.worker_id} with {_plural(v.slots, 'slot')} "
            f"for {', '.join(v.job_types)}"
        ),
    ),
    e.WorkerStopped: ("INFO", lambda v: f"{v.worker}: stopped"),
    e.WorkerFell: ("ERROR", lambda v: f"{v.worker}: fell: {v.reason}"),
    e.WorkerPaused: (
        "WARNING",
        lambda v: (
            f"{v.worker}: failure {v.failures} in a row, pausing {_seconds(v.seconds)}: {v.reason}"
        ),
    ),
    e.WorkerRecovered: ("INFO", lambda v: f"{v.worker}: recovered"),
    e.CrashLoopDetected: (
        "CRITICAL",
        lambda v: (
            f"Crash loop detected: {v.worker} failed {v.failures} times in a row; "
            f"the last time: {v.reason}"
        ),
    ),
    e.WorkerRestarting: (
        "WARNING",
        lambda v: (
            f"{v.worker}: restarting in {_seconds(v.seconds)} "
            f"(restart {v.restarts} of {v.allowed} within an hour)"
        ),
    ),
    e.WorkerGivenUp: (
        "CRITICAL",
        lambda v: f"{v.worker}: stays in error, its restarts are used up: {v.reason}",
    ),
    e.CircuitOpened: ("ERROR", _circuit),
    e.CircuitClosed: (
        "INFO",
        lambda v: f"{v.worker}: {f'{v.job_type} jobs' if v.job_type else 'claiming'} go on",
    ),
    e.JobsClaimed: (
        "DEBUG",
        lambda v: f"{v.worker}: claimed {_plural(len(v.job_ids), 'job')}",
    ),
    e.JobStarted: (
        "DEBUG",
        lambda v: f"{v.worker}: job {v.job_id} ({v.job_type}) attempt {v.attempt} started",
    ),
    e.JobLockLost: (
        "WARNING",
        lambda v: (
            f"{v.worker}: job {v.job_id} ({v.job_type}) was taken away or cancelled; "
            "nothing more is written for it"
        ),
    ),
    e.JobAbandoned: (
        "ERROR",
        lambda v: (
            f"{v.worker}: job {v.job_id} ({v.job_type}) does not stop; "
            "its lock is left to run out, then another worker takes it"
        ),
    ),
    e.SolitudeSought: (
        "INFO",
        lambda v: (
            f"{v.worker}: a job whose next crash would fail it waits to run alone; this process "
            f"claims nothing until what it runs has ended, for at most {v.seconds:.0f} s"
        ),
    ),
    e.SolitudePutOff: (
        "INFO",
        lambda v: (
            f"{v.worker}: what runs did not end within {v.seconds:.0f} s; this process claims "
            f"again, and tries to run that job alone in {v.pause:.0f} s"
        ),
    ),
    e.JobAlone: (
        "INFO",
        lambda v: (
            f"{v.worker}: job {v.job_id} ({v.job_type}) runs alone in this process until its end: "
            "one more crash fails it"
        ),
    ),
    e.JobsRescued: (
        "WARNING",
        lambda v: (
            f"rescued {_plural(len(v.returned) + len(v.failed), 'job')} whose worker died"
            + (
                f"; failed for crashing too often: {', '.join(map(str, v.failed))}"
                if v.failed
                else ""
            )
        ),
    ),
    e.JobsForgotten: (
        "INFO",
        lambda v: f"forgot {_plural(v.count, 'job')} that ended long ago",
    ),
    e.JobsVacuumed: (
        "DEBUG",
        lambda v: f"vacuumed ops.jobs of {v.dead:,} dead rows in {_seconds(v.seconds)}",
    ),
    e.VacuumForbidden: (
        "WARNING",
        lambda _: (
            "this role may not vacuum ops.jobs, whose dead rows are many: autovacuum alone cleans "
            "up, which is slower; make the role its owner, or GRANT MAINTAIN (PostgreSQL 17)"
        ),
    ),
    e.SchedulesDeclared: (
        "INFO",
        lambda v: f"declared {_plural(len(v.names), 'schedule')}: {', '.join(v.names)}",
    ),
    e.ScheduleTicked: (
        "DEBUG",
        lambda v: f"schedule {v.schedule}: its tick of {v.tick:%H:%M:%S%z} is job {v.job_id}",
    ),
    e.ScheduleMissed: ("WARNING", _missed),
    e.ScheduleSkipped: (
        "INFO",
        lambda v: (
            f"schedule {v.schedule}: a tick is skipped, because job {v.job_id} of the tick before "
            "has not ended"
        ),
    ),
    e.ScheduleSuperseded: (
        "INFO",
        lambda v: (
            f"schedule {v.schedule}: a process that started later declares it differently; "
            "what that one says is in force"
        ),
    ),
    e.ScheduleTroubled: (
        "ERROR",
        lambda v: (
            f"{f'schedule {v.schedule}' if v.schedule else 'schedules'}: cannot tick: "
            f"{v.reason}; next try in {_seconds(v.seconds)}"
        ),
    ),
    e.ListenerConnected: (
        "INFO",
        lambda v: "listening for new jobs again" if v.reconnected else "listening for new jobs",
    ),
    e.ListenerLost: (
        "WARNING",
        lambda v: (
            f"lost the listening connection ({v.reason}); trying again in {_seconds(v.seconds)}"
        ),
    ),
    e.ListenerUnavailable: (
        "WARNING",
        lambda v: (
            "the database address is a transaction pooler, which cannot LISTEN: polling every "
            f"{_seconds(v.poll_seconds)} instead; set DRAGONFLY_LISTEN_URL to a direct address"
        ),
    ),
    e.DatabaseAway: (
        "WARNING",
        lambda v: (
            f"{v.worker}: the database is away ({v.reason}); next try in {_seconds(v.seconds)}"
        ),
    ),
    e.DatabaseBack: (
        "INFO",
        lambda v: f"{v.worker}: the database is back after {_seconds(v.seconds)}",
    ),
    e.ConnectionsSilent: (
        "WARNING",
        lambda v: f"the network fell silent on {_plural(v.number, 'connection')}, now replaced",
    ),
    e.LoopStalled: ("ERROR", _stalled),
    e.LoopTurned: (
        "WARNING",
        lambda v: f"the event loop turns again after {_seconds(v.seconds)}",
    ),
    e.ProcessHopeless: (
        "CRITICAL",
        lambda v: (
            f"the event loop was blocked for {_seconds(v.seconds)} by {v.culprit}; "
            f"the process ends itself with exit code {v.exit_code}"
        ),
    ),
    e.WebUnavailable: (
        "WARNING",
        lambda v: (
            f"no health page: port {v.port} is not to be had ({v.reason}); set PORT to another"
        ),
    ),
    e.WebListening: (
        "INFO",
        lambda v: f"health pages on http://{v.host}:{v.port}/health/ready",
    ),
}
