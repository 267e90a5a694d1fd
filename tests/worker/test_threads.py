"""Threads start with the worker or not at all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from minivault.config import Settings
from minivault.worker.backoff import LoadBackoff
from minivault.worker.threads import start_all, thread_limit
from tests.live import GUARD_S


def test_every_thread_of_a_pool_is_started_however_quick_the_work() -> None:
    with ThreadPoolExecutor(20, thread_name_prefix="started") as pool:
        start_all(pool, 20)
        assert sum(thread.name.startswith("started") for thread in threading.enumerate()) == 20
        assert list(pool.map(abs, range(100))) == list(range(100))


def test_threads_that_could_be_started_are_free_again_when_one_could_not(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def start_some(thread: threading.Thread) -> None:
        if thread.name == "few_3":
            raise RuntimeError("can't start new thread")
        start(thread)

    with ThreadPoolExecutor(8, thread_name_prefix="few") as pool:
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="new thread"):
            patch.setattr(threading.Thread, "start", start_some)
            start_all(pool, 8)
        assert pool.submit(abs, -1).result(GUARD_S) == 1


def test_other_errors_pass_the_thread_limit_unchanged(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="something else"),
        thread_limit(Settings(), LoadBackoff(tmp_path), is_first=True),
    ):
        raise RuntimeError("something else")
