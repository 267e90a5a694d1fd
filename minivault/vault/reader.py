"""Reading the log in order, whole or as it grows, without ever holding more than a line.

A line that is no record is passed over here: saying so is the business of `verify`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from minivault.vault.directory import is_same_file
from minivault.vault.record import parse
from minivault.vault.segments import ACTIVE, Segment, last_record, sealed_segments, segments

Record = dict[str, Any]


def read_lines(directory: Path, *, from_seq: int = 1) -> Iterator[bytes]:
    """Every line of the segments that hold `from_seq` and later, in order."""
    files = segments(directory)
    for index, segment in enumerate(files):
        following = files[index + 1].first_seq if index + 1 < len(files) else None
        if following is None or following > from_seq:
            yield from _lines(segment)


def _lines(segment: Segment) -> Iterator[bytes]:
    try:
        yield from segment.lines()
    except FileNotFoundError:  # sealed or compressed since the directory was listed
        successor = _successor(segment)
        if successor is not None:
            yield from successor.lines()


def _successor(segment: Segment) -> Segment | None:
    sealed = sealed_segments(segment.path.parent)
    if segment.is_active:
        return sealed[-1] if sealed else None
    return next((other for other in sealed if other.first_seq == segment.first_seq), None)


def read_records(directory: Path, *, from_seq: int = 1) -> Iterator[Record]:
    """Every record from `from_seq` on, in order."""
    for line in read_lines(directory, from_seq=from_seq):
        fields = parse(line)
        if fields is not None and _seq(fields) >= from_seq:
            yield fields


def last_records(directory: Path, count: int) -> list[Record]:
    """The last `count` records of the log, in order; reads no older segment than that takes."""
    files = segments(directory)
    end = next((_seq(last) for segment in reversed(files) if (last := last_record(segment)) is not None), 0)
    return list(read_records(directory, from_seq=end - count + 1)) if count > 0 else []


def _seq(fields: Record) -> int:
    seq = fields.get("seq")
    return seq if isinstance(seq, int) else 0


def follow(
    directory: Path, *, after_seq: int, wait: Callable[[float], object] = time.sleep, poll_s: float = 0.2
) -> Iterator[Record]:
    """Every record after `after_seq` as it is written, for ever, across rotations."""
    seq, path = after_seq, directory / ACTIVE
    while True:
        with _active(path) as file:
            for fields in read_records(directory, from_seq=seq + 1):
                seq = _seq(fields)
                yield fields
            while file is not None and is_same_file(path, file.fileno()):
                for fields in _new_records(file):
                    if _seq(fields) > seq:
                        seq = _seq(fields)
                        yield fields
                wait(poll_s)
        wait(poll_s)


@contextmanager
def _active(path: Path) -> Iterator[IO[bytes] | None]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:  # between two segments
        yield None
        return
    with os.fdopen(fd, "rb") as file:
        yield file


def _new_records(file: IO[bytes]) -> Iterator[Record]:
    """What has been added to an open segment since the last call; an unfinished line waits."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        fields = parse(line)
        if fields is not None:
            yield fields
