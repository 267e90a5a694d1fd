"""Which settings the vault was last served with, so that a start can record what differs.

They stand in `settings.json` beside the log, for the next start alone: evidence is the `admin` record that is made of
the difference.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from minivault.config import RULES, Settings, shown, variable
from minivault.vault.disk import Disk

SEEN = "settings.json"
MAX_BYTES = 1 << 20
Changes = dict[str, dict[str, str | None]]


def shown_settings(settings: Settings) -> dict[str, str]:
    """Every setting that is no secret, by its variable."""
    return {variable(name): shown(name, getattr(settings, name)) for name, rule in RULES.items() if not rule.is_secret}


def note_settings(
    directory: Path, now: Mapping[str, str], presets: Mapping[str, str], record: Callable[[Changes], object]
) -> None:
    """Have `record` told, by setting, what it was and is, where anything differs from the last time, or from the
    presets where there was none. Of processes that start together one is first. Raises what `record` raises, OSError.
    """
    disk = Disk()
    fd = disk.open(directory / SEEN)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        before = _read(fd) or presets
        pairs = ((name, before.get(name, presets.get(name)), now.get(name)) for name in sorted(now.keys() | before))
        changes: Changes = {name: {"from": was, "to": is_} for name, was, is_ in pairs if was != is_}
        if changes:
            record(changes)
        if before != now:
            disk.ftruncate(fd, 0)
            disk.write_all(fd, json.dumps(dict(now), indent=1).encode("ascii") + b"\n")
    finally:
        os.close(fd)


def _read(fd: int) -> dict[str, str]:
    """What was written last; nothing where that cannot be read."""
    try:
        found: Any = json.loads(os.pread(fd, MAX_BYTES, 0))
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
