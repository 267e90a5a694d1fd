"""The embedded counters: exact between processes and threads, and never in the way when their file is lost."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter

from minivault.access.storage import MEMORY, SqliteStorage, embedded_uri


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(tmp_path: Path, clock: Clock) -> Iterator[SqliteStorage]:
    storage = SqliteStorage(embedded_uri(tmp_path), clock=clock)
    yield storage
    storage.close()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_its_files_are_the_owners_alone_whatever_the_umask(tmp_path: Path, clock: Clock, umask: int) -> None:
    (tmp_path / "run").mkdir()
    older = os.umask(umask)
    try:
        for _ in range(2):  # made anew, and found with the mode that an older version gave it
            storage = SqliteStorage(embedded_uri(tmp_path / "run"), clock=clock)
            storage.incr("a", 60)
            modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "run").iterdir()}
            storage.close()
            assert modes == dict.fromkeys([f"limits.sqlite3{tail}" for tail in ("", "-wal", "-shm", ".lock")], "0o600")
            (tmp_path / "run" / "limits.sqlite3").chmod(0o644)
    finally:
        os.umask(older)


def test_what_is_taken_back_is_taken_from_the_window_it_was_counted_in(storage: SqliteStorage, clock: Clock) -> None:
    storage.incr("a", 60, 3)
    ends_at = storage.get_expiry("a")
    storage.decr("a", 2, ends_at)
    assert storage.get("a") == 1
    storage.decr("a", 2, ends_at)
    assert storage.get("a") == 0, "never below nothing"
    clock.now += 61
    storage.incr("a", 60, 3)
    storage.decr("a", 1, ends_at)
    assert storage.get("a") == 3


def test_limits_finds_it_by_its_scheme() -> None:
    assert isinstance(storage_from_string(MEMORY), SqliteStorage)


def test_counts_grow_within_a_window_and_begin_again_after_it(storage: SqliteStorage, clock: Clock) -> None:
    assert [storage.incr("a", 60), storage.incr("a", 60, 5), storage.incr("b", 60)] == [1, 6, 1]
    assert storage.get_expiry("a") == clock.now + 60
    clock.now += 59.9
    assert storage.incr("a", 60) == 7
    clock.now += 0.1
    assert storage.get("a") == 0
    assert storage.incr("a", 60) == 1


def test_a_clock_that_steps_back_does_not_lengthen_a_window(storage: SqliteStorage, clock: Clock) -> None:
    storage.incr("a", 60, 100)
    clock.now -= 3600
    assert storage.incr("a", 60) == 1
    assert storage.get_expiry("a") == clock.now + 60


def test_a_caller_that_read_the_clock_a_moment_earlier_does_not_begin_the_window_again(
    storage: SqliteStorage, clock: Clock
) -> None:
    storage.incr("a", 60)
    clock.now -= 0.5
    assert storage.incr("a", 60) == 2


def test_expired_counts_are_removed(storage: SqliteStorage, clock: Clock, tmp_path: Path) -> None:
    for number in range(50):
        storage.incr(f"client {number}", 10)
    clock.now += 61
    storage.incr("new", 10)
    storage.close()
    with sqlite3.connect(tmp_path / "limits.sqlite3") as connection:
        assert connection.execute("SELECT key FROM counters").fetchall() == [("new",)]
    connection.close()


def test_counts_can_be_forgotten(storage: SqliteStorage) -> None:
    storage.incr("a", 60)
    storage.incr("b", 60)
    storage.clear("a")
    assert (storage.get("a"), storage.get("b")) == (0, 1)
    assert storage.reset() == 1
    assert storage.get("b") == 0


def test_threads_share_one_exact_count(storage: SqliteStorage) -> None:
    limiter = FixedWindowRateLimiter(storage)
    admitted: list[bool] = []

    def hit_often() -> None:
        admitted.extend(limiter.hit(parse("150/hour"), "who") for _ in range(50))

    threads = [threading.Thread(target=hit_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 400
    assert sum(admitted) == 150


def _hit_often(uri: str, results: multiprocessing.Queue[int]) -> None:
    limiter = FixedWindowRateLimiter(SqliteStorage(uri, timeout_s=30))
    results.put(sum(limiter.hit(parse("600/hour"), "who") for _ in range(500)))
    limiter.storage.close()  # type: ignore[attr-defined]


def test_processes_share_one_exact_count(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_hit_often, args=(embedded_uri(tmp_path), results)) for _ in range(4)]
    for process in processes:
        process.start()
    admitted = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert sum(admitted) == 600


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_opens_its_own_connection(storage: SqliteStorage) -> None:
    storage.incr("a", 60)
    child = os.fork()
    if child == 0:
        os._exit(storage.incr("a", 60))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 2
    assert storage.incr("a", 60) == 3


def test_a_removed_file_is_begun_anew_by_everyone_together(tmp_path: Path, clock: Clock) -> None:
    one, other = (SqliteStorage(embedded_uri(tmp_path), clock=clock) for _ in range(2))
    one.incr("a", 60, 10)
    other.incr("a", 60, 10)
    for file in tmp_path.glob("limits.sqlite3*"):
        file.unlink()
    assert [one.incr("a", 60), other.incr("a", 60), one.incr("a", 60)] == [1, 2, 3]
    one.close()
    other.close()


@pytest.mark.parametrize("is_open", [False, True])
def test_a_damaged_file_is_set_aside_and_begun_anew(storage: SqliteStorage, tmp_path: Path, is_open: bool) -> None:
    storage.incr("a", 60, 10)
    if not is_open:
        storage.close()
    file = tmp_path / "limits.sqlite3"
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    file.write_bytes(b"not a database at all" * 1000)
    assert storage.incr("a", 60) in (1, 11)
    storage.close()
    assert storage.incr("a", 60) in (2, 12)


def test_a_locked_file_is_an_error_after_a_short_wait(tmp_path: Path) -> None:
    storage = SqliteStorage(embedded_uri(tmp_path), timeout_s=0.05)
    storage.incr("a", 60)
    holder = sqlite3.connect(tmp_path / "limits.sqlite3", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError):
        storage.incr("a", 60)
    holder.execute("ROLLBACK")
    holder.close()
    assert storage.incr("a", 60) == 2
    storage.close()
