"""Gives each rival a home of its own outside the repository's packages, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import NODE, Home, Peer

ROOT = Path(__file__).parents[1]
DRIVERS = Path(__file__).parent / "drivers"
INSTALL_SECONDS = 600


class NotInstalled(Exception):
    """A rival could not be installed here; the message says why."""


def install(peer: Peer, cache: Path) -> None:
    """Install the pinned packages of ``peer`` into ``cache``, unless they are there."""
    folder = _folder(peer, cache)
    pins = "\n".join(_pins(peer))
    kept = folder / "installed.txt"
    if peer.home is Home.OURS or (kept.exists() and kept.read_text("utf-8") == pins):
        return
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for command in _commands(peer, folder):
        _run(peer, command, folder)
    kept.write_text(pins, "utf-8")


def command(peer: Peer, cache: Path) -> tuple[list[str], dict[str, str]]:
    """The command that starts a driver from the project's root, and its environment."""
    folder = _folder(peer, cache)
    if peer.home is Home.NODE:
        packages = folder / "node_modules"
        node = packages / "node" / "bin" / ("node.exe" if os.name == "nt" else "node")
        environment = {**os.environ, "BENCH_PACKAGES": str(folder)}
        return [str(node), str(DRIVERS / peer.driver)], environment
    python = sys.executable if peer.home is Home.OURS else str(_python(folder))
    return [python, "-m", f"benchmarks.drivers.{peer.driver}"], dict(os.environ)


def _folder(peer: Peer, cache: Path) -> Path:
    return cache.resolve() / peer.name


def _pins(peer: Peer) -> tuple[str, ...]:
    return (*peer.packages, NODE) if peer.home is Home.NODE else peer.packages


def _commands(peer: Peer, folder: Path) -> list[list[str]]:
    if peer.home is Home.NODE:
        npm = shutil.which("npm")
        if npm is None:
            raise NotInstalled(f"{peer.name} needs npm, which is not on the PATH")
        options = ["--prefix", str(folder), "--no-audit", "--no-fund"]
        return [[npm, "install", *options, *_pins(peer)]]
    quiet = ["--quiet", "--disable-pip-version-check"]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [str(_python(folder)), "-m", "pip", "install", *quiet, *_pins(peer)],
    ]


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(peer: Peer, command: list[str], folder: Path) -> None:
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["no message"]
        raise NotInstalled(f"{peer.name} could not be installed: {last[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"{peer.name} took too long to install") from error
