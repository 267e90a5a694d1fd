"""The folder that files and batches lie in: small JSON files written whole and durably, beside the larger ones.

What belongs to one thing has its id as the name's beginning. Ids sort by time and cannot be guessed.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minivault.errors import Unavailable
from minivault.vault.disk import DIRECTORY_MODE, Disk

ID = re.compile(r"(?:file-|batch_)[0-9a-f]{32}")


class StorageUnavailable(Unavailable):
    """Nothing is kept and nothing was done."""

    code = "storage_unavailable"


@contextmanager
def stored_or_refused() -> Iterator[None]:
    """Turns a disk that fails into a refusal."""
    try:
        yield
    except OSError as error:
        message = f"files of batches cannot be written: {error.strerror or type(error).__name__}"
        raise StorageUnavailable(message, retry_after_s=5) from None


class Folder:
    """One directory. `clock` gives nanoseconds since 1970. Everything that writes may raise OSError."""

    def __init__(self, path: Path, *, disk: Disk | None = None, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self.disk = disk or Disk()
        self._clock = clock

    @property
    def now_s(self) -> int:
        """Seconds since 1970."""
        return self._clock() // 10**9

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{self._clock():016x}{secrets.token_hex(8)}"

    def ensure(self) -> None:
        """Make the directory, for its owner alone."""
        self.path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)

    def place(self, id_: str, suffix: str = "") -> Path:
        """Where a part of a thing lies. Raises ValueError for what is no id: it may come from a client."""
        if not ID.fullmatch(id_):
            raise ValueError(f"{id_!r} is not an id")
        return self.path / f"{id_}{suffix}"

    def ids(self, prefix: str, suffix: str) -> list[str]:
        """The ids of all things of a kind that have this part, oldest first."""
        found = (path.name.removesuffix(suffix) for path in self.path.glob(f"{prefix}*{suffix}"))
        return sorted(name for name in found if ID.fullmatch(name))

    def write(self, id_: str, value: dict[str, Any]) -> None:
        """Put what is known of a thing in the place of what was known before."""
        try:
            self.disk.replace(self.place(id_, ".json"), json.dumps(value).encode())
        except OSError:
            self.place(id_, ".json.tmp").unlink(missing_ok=True)
            raise

    def read(self, id_: str) -> dict[str, Any] | None:
        """What is known of a thing; None where there is none."""
        if not ID.fullmatch(id_):
            return None
        try:
            value: dict[str, Any] = json.loads(self.place(id_, ".json").read_bytes())
        except FileNotFoundError:
            return None
        return value
