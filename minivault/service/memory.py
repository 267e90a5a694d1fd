"""How much memory this process and those it forks may still take, by the system, its control groups and its limits."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil


@cache
def free_bytes() -> int:
    """Measured once, so that workers say the same as the process that was forked into them."""
    return free_now()


def free_now() -> int:
    """At this moment."""
    found = [
        int(psutil.virtual_memory().available),
        *_left_in_groups(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")),
    ]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        found.append(limit - int(psutil.Process().memory_info().vms))
    return max(0, min(found))


def _left_in_groups(listed: Path, mounted: Path) -> Iterator[int]:
    """What each control group of `listed` (`/proc/self/cgroup`), and each above it, has left, files' pages that can be
    dropped included. A container sees its own group as the root of what is `mounted`, whatever it is listed as."""
    try:
        lines = listed.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            names, root = ("memory.max", "memory.current", "inactive_file"), mounted
        elif "memory" in controllers.split(","):
            names, root = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), mounted / "memory"
        else:
            continue
        group = root / path.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root) and (left := _left(folder, *names)) is not None:
                yield left


def _left(folder: Path, limit: str, used: str, droppable: str) -> int | None:
    """None where nothing is limited."""
    try:
        most = int((folder / limit).read_text())
        taken = int((folder / used).read_text())
        counted = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such file, or `max`
        return None
    return most - taken + int(counted.get(droppable, 0))
