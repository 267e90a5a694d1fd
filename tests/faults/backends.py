"""Models that are hard to load, for `MINIVAULT_BACKEND=tests.faults.backends:...`."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from minivault.config import Settings
from minivault.service import Loaded
from tests.scripted import backend


def _count_load(settings: Settings) -> int:
    """How many times a model was loaded under this home, this time included."""
    marks = Path(settings.home) / "loads"
    marks.mkdir(parents=True, exist_ok=True)
    (marks / str(os.getpid())).touch()
    return len(list(marks.iterdir()))


def killed(settings: Settings) -> Loaded:
    """The kernel kills the process for lack of memory while it loads."""
    _count_load(settings)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")


def works_twice(settings: Settings) -> Loaded:
    """Loads in the first two workers and fails in their replacements."""
    if _count_load(settings) > 2:
        raise MemoryError("no room for the weights")
    return backend(settings)


def waits_for_leave(settings: Settings) -> Loaded:
    """The first worker loads at once; any other waits until the file `leave` exists."""
    home = Path(settings.home)
    home.mkdir(parents=True, exist_ok=True)
    try:
        with (home / "first").open("x") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        while not (home / "leave").exists():
            time.sleep(0.02)
    return backend(settings)


def calls_home(settings: Settings) -> Loaded:
    """Opens a connection to an address that is reserved for documentation, where nobody is."""
    socket.create_connection(("192.0.2.1", 80), timeout=1)
    return backend(settings)
