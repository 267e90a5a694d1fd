"""Bytes that a command gives out: to a new file or to stdout, whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from minivault.errors import ConfigError

if TYPE_CHECKING:
    from minivault.cli.show.progress import Counting


def write_out(parts: Iterable[bytes], output: Path | None, progress: Counting | None = None) -> int:
    """Write parts to a new file or to stdout; returns how many. A file that cannot be written whole is removed."""
    counted = parts if progress is None else _counted(parts, progress)
    if output is None:
        count = _write_parts(counted, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return count
    with new_file(output) as file:
        return _write_parts(counted, file)


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that was not there, for its owner alone; removed again where it is not written whole."""
    try:
        file = path.open("xb")
    except FileExistsError:
        raise ConfigError(f"{path} is there already; nothing is overwritten", field="output") from None
    with file:
        try:
            path.chmod(0o600)
            yield file
        except BaseException:
            path.unlink()
            raise


def _counted(parts: Iterable[bytes], progress: Counting) -> Iterator[bytes]:
    for count, part in enumerate(parts, 1):
        yield part
        progress(count)


def _write_parts(parts: Iterable[bytes], file: IO[bytes]) -> int:
    count = 0
    for part in parts:
        file.write(part)
        count += 1
    return count
