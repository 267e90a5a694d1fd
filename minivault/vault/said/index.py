"""Which records may hold a text: beside each file of the log a file of hashes, made again from the log at will.

A start reads nothing, and a search reads what has been added since the last one. What a redaction or a prune takes from
a segment goes with one file: it is removed before the segment is changed, and made again from what is left. As every
index of the log it is a hint: what it names is read and checked in its place before it is shown.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from minivault.vault.disk import DIRECTORY_MODE, Disk, open_plain
from minivault.vault.rewrite import maintenance
from minivault.vault.said.kept import PLACE_BITS, Header, Taking, kept
from minivault.vault.segments import ACTIVE, MAX_LINE, Segment, end_of, segments

FOLDER = "said"
Watch = Callable[[int], None]


def update(directory: Path, disk: Disk | None = None, watch: Watch | None = None) -> list[Header]:
    """Take in every segment that is new or was rewritten, and what the active one has grown by; returns what is kept of
    each, in order. Nobody redacts meanwhile. `watch` is told the seq that has been reached. Raises OSError, VaultError.
    """
    disk = disk or Disk()
    folder = directory / FOLDER
    with suppress(FileExistsError):
        folder.mkdir(mode=DIRECTORY_MODE)
    here = segments(directory)
    for stranger in {path.name for path in folder.iterdir()} - {segment.name for segment in here}:
        with maintenance(directory, disk), suppress(FileNotFoundError):
            disk.unlink(folder / stranger)
    headers = []
    for segment in here:
        header = _current(segment) or _taken(segment, disk)
        if header is not None:
            headers.append(header)
            (watch or _nobody)(header.last_seq)
    return headers


def forget(directory: Path, names: Iterable[str], disk: Disk) -> None:
    """Remove what is kept of segments, by name, before they are changed; the maintenance lock is held. Raises OSError.

    What is kept of the active one goes too: any of these may have been it."""
    folder = directory / FOLDER
    if not folder.is_dir():
        return
    for name in (*names, ACTIVE):
        for path in (folder / name, folder / f"{name}.tmp"):
            with suppress(FileNotFoundError):
                disk.unlink(path)
    disk.fsync_directory(folder)


def hits(directory: Path, hashes: Collection[int]) -> Counter[int] | None:
    """How many of the hashes each record has, by seq, as of the last update; None where a segment was changed since."""
    found: Counter[int] = Counter()
    for segment in segments(directory):
        with kept(_path(segment)) as here:
            if here is None:
                return None
            header, numbers = here
            for one in hashes:
                at = bisect_left(numbers, one << PLACE_BITS)
                while at < len(numbers) and numbers[at] >> PLACE_BITS == one:
                    found[header.base + (numbers[at] & (1 << PLACE_BITS) - 1)] += 1
                    at += 1
    return found


def _nobody(_seq: int) -> None:
    pass


def _path(segment: Segment) -> Path:
    return segment.path.parent / FOLDER / segment.name


def _current(segment: Segment) -> Header | None:
    """What is kept of a segment, if it is up to date."""
    with kept(_path(segment)) as here, suppress(FileNotFoundError):
        if here is not None and (here[0].end, here[0].size) == _identity(segment.path):
            return here[0]
    return None


def _taken(segment: Segment, disk: Disk) -> Header | None:
    """Take a segment in: of the active one what it has grown by, unless it is another file than before. None where it
    was sealed, compressed or pruned meanwhile."""
    with maintenance(segment.path.parent, disk), suppress(FileNotFoundError), kept(_path(segment)) as here:
        if not segment.is_active:
            identity = _identity(segment.path)
            taking = Taking(Header(base=segment.first_seq or 0))
            taking.take(segment.lines())
            header, data = taking.file(*identity, ())
        else:
            header, data = _grown(segment.path, here)
        disk.replace(_path(segment), data)
        return header
    return None


def _grown(path: Path, here: tuple[Header, Collection[int]] | None) -> tuple[Header, bytes]:
    with os.fdopen(open_plain(path), "rb") as file:
        is_same = here is not None and end_of(file.fileno(), here[0].size) == here[0].end
        header, numbers = here if here is not None and is_same else (Header(), ())
        file.seek(header.size)
        taking = Taking(header)
        taking.take(iter(lambda: file.readline(MAX_LINE), b""))
        size = header.size + taking.num_bytes
        return taking.file(end_of(file.fileno(), size), size, list(numbers))


def _identity(path: Path) -> tuple[int, int]:
    """What a file ends with, and its size."""
    with os.fdopen(open_plain(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return end_of(file.fileno(), size), size
