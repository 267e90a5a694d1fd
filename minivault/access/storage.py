"""Counters that every worker of one machine shares, in one SQLite file: the embedded storage of `limits`.

`limits` brings storages for servers (redis, memcached) and a dictionary per process, which admits a limit times the
number of workers. This one is exact between processes and threads: each count is one upsert. It is a cache, not a
record: nothing is synced, a power cut forgets it, and a damaged file is set aside and begun anew.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from limits.storage import Storage

_SCHEMA = "CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, count INTEGER, expires_at REAL) WITHOUT ROWID"
_MAX_SKEW_S = 5
# A window that ends further away than its own length was begun before the clock stepped back: begin it again. Callers
# read the clock before they wait for the file, so one may come a little after another that read it later.
_IS_STALE = f"expires_at <= :now OR expires_at > :now + :expiry + {_MAX_SKEW_S}"
_INCREMENT = f"""
INSERT INTO counters (key, count, expires_at) VALUES (:key, :amount, :now + :expiry)
ON CONFLICT (key) DO UPDATE SET
  count = CASE WHEN {_IS_STALE} THEN :amount ELSE count + :amount END,
  expires_at = CASE WHEN {_IS_STALE} THEN :now + :expiry ELSE expires_at END
RETURNING count
"""
_DECREMENT = "UPDATE counters SET count = max(0, count - ?) WHERE key = ? AND expires_at = ?"
_SELECT = "SELECT count, expires_at FROM counters WHERE key = ? AND expires_at > ?"
_CLEANUP_EVERY_S = 60.0
MEMORY = "minivault://:memory:"
# Connections of a parent process, found after a fork: SQLite forbids using or closing them here.
_INHERITED: list[sqlite3.Connection] = []


def embedded_uri(directory: Path) -> str:
    """The address of the shared counters in `directory`."""
    return f"minivault://{directory / 'limits.sqlite3'}"


class SqliteStorage(Storage):
    """Fixed-window counters in the file that `uri` (`minivault:///path`) names, opened at first use in each process.

    `clock` gives Unix seconds. Every error is a `sqlite3.Error` or an `OSError`.
    """

    STORAGE_SCHEME = ["minivault"]  # noqa: RUF012

    def __init__(self, uri: str, *, clock: Callable[[], float] = time.time, timeout_s: float = 1.0) -> None:
        super().__init__(uri)
        self._path = ":memory:" if uri == MEMORY else unquote(urlsplit(uri).path)
        self._clock = clock
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._owner: tuple[int, int] = (0, 0)
        self._next_cleanup = 0.0

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        return (sqlite3.Error, OSError)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add `amount` to the count of `key`, whose window lasts `expiry` seconds, and return the new count."""
        now = self._clock()
        if not now < self._next_cleanup <= now + _CLEANUP_EVERY_S:
            self._next_cleanup = now + _CLEANUP_EVERY_S
            self._execute("DELETE FROM counters WHERE expires_at <= ?", (now,))
        rows = self._execute(_INCREMENT, {"key": key, "amount": amount, "now": now, "expiry": expiry})
        return int(rows[0][0])

    def decr(self, key: str, amount: int, ends_at: float) -> None:
        """Take `amount` back from the window of `key` that ends at `ends_at`, where that is still the current one."""
        self._execute(_DECREMENT, (amount, key, ends_at))

    def get(self, key: str) -> int:
        """The count of `key` in its current window."""
        rows = self._execute(_SELECT, (key, self._clock()))
        return int(rows[0][0]) if rows else 0

    def get_expiry(self, key: str) -> float:
        """Unix seconds at which the window of `key` ends; now, when it has none."""
        rows = self._execute(_SELECT, (key, self._clock()))
        return float(rows[0][1]) if rows else self._clock()

    def check(self) -> bool:
        """True when the file can be read."""
        self.get("")
        return True

    def reset(self) -> int:
        """Forget every count and return how many there were."""
        return len(self._execute("DELETE FROM counters RETURNING key", ()))

    def clear(self, key: str) -> None:
        """Forget the count of `key`."""
        self._execute("DELETE FROM counters WHERE key = ?", (key,))

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            self._disconnect()

    def _execute(self, statement: str, values: Mapping[str, Any] | tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Every row of a statement. One thread at a time; those behind a thread that waits in vain give up with it."""
        if not self._lock.acquire(timeout=self._timeout_s):
            raise sqlite3.OperationalError("database is locked")
        try:
            if self._connection is None or (os.getpid(), self._inode()) != self._owner:
                self._connect()
            # fetchall, not fetchone: a statement holds its lock until it has been run to its end.
            return self._connection.execute(statement, values).fetchall()  # type: ignore[union-attr]
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._disconnect()
            with self._exclusive():
                _set_aside(self._path)
            return self._connect().execute(statement, values).fetchall()
        finally:
            self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        """Connect to the file that has the path now, as this process: not a parent's, not a removed file's."""
        self._disconnect()
        with self._exclusive():
            self._connection = self._open()
        self._owner = (os.getpid(), self._inode())
        return self._connection

    def _inode(self) -> int:
        try:
            return 0 if self._path == ":memory:" else os.stat(self._path).st_ino  # noqa: PTH116 - on every request
        except FileNotFoundError:
            return -1

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One process at a time: two that recreate a lost file at once would each delete the other's journal."""
        if self._path == ":memory:":
            yield
            return
        Path(self._path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _open(self) -> sqlite3.Connection:
        if self._inode() == -1:
            _set_aside(self._path)
        if self._path != ":memory:":  # SQLite's own files take their mode from this one
            _make_private(self._path)
        connection = sqlite3.connect(self._path, timeout=self._timeout_s, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            if self._owner[0] == os.getpid():
                self._connection.close()
            else:
                _INHERITED.append(self._connection)
        self._connection = None


def _make_private(path: str) -> None:
    """Make the file where it is missing, for its owner alone whatever the umask is; one that is there is not opened,
    since closing it would drop the locks that other connections of this process hold."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(path + suffix).chmod(0o600)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """True for "not a database" and "malformed"; every other error is a subclass."""
    return type(error) is sqlite3.DatabaseError


def _set_aside(path: str) -> None:
    """Keep the damaged file for a look, and drop its journal, which would be replayed into the next one."""
    if Path(path).exists():
        Path(path).replace(f"{path}.damaged")
    for suffix in ("-wal", "-shm"):
        Path(path + suffix).unlink(missing_ok=True)
