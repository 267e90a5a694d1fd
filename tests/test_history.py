"""The picture of the last hour: one for all workers, forgetful, and never in the way."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from minivault.history import KEPT_S, History, Sample, quantile, since, totals
from minivault.metrics import Metrics
from minivault.types import Timings, Usage


class Clock:
    now = 10_000.0

    def __call__(self) -> float:
        return self.now


def observed(metrics: Metrics, seconds: float) -> None:
    timings = Timings(first_token_ns=int(seconds * 1e9), total_ns=int(seconds * 2e9))
    metrics.observe("generate", "completed", "stop", Usage(prompt_tokens=10, completion_tokens=5), timings)


def test_what_several_workers_did_in_a_step_is_summed(tmp_path: Path) -> None:
    history = History(tmp_path / "run", clock=Clock())
    for worker in (1, 2):
        for time_s in (9_991.0, 9_996.0):
            counts = {"requests": 1.0, "completion_tokens": 50.0, "prompt_tokens": 4.0, "cached_tokens": 1.0}
            history.add(Sample(time_s, worker, counts, running=worker, waiting=1, resident_bytes=100))
    [point] = history.points(20)
    assert (point["requests_per_s"], point["tokens_per_s"], point["cache_hit_ratio"]) == (0.2, 10.0, 0.25)
    assert (point["workers"], point["running"], point["waiting"], point["resident_bytes"]) == (2, 3, 2, 200)


def test_after_an_hour_it_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    history = History(tmp_path, clock=clock)
    history.add(Sample(clock.now, 1))
    clock.now += KEPT_S + 1
    assert history.points(20) == []
    history.add(Sample(clock.now, 1))
    with sqlite3.connect(tmp_path / "history.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM sample").fetchone() == (1,)


def test_where_there_is_no_file_or_a_broken_one_there_is_nothing_to_show(tmp_path: Path) -> None:
    history = History(tmp_path, clock=Clock())
    assert history.points(20) == []
    (tmp_path / "history.sqlite3").write_bytes(b"no database" * 100)
    assert history.points(20) == []


def test_counts_are_read_from_the_instruments_and_only_what_is_new_of_them() -> None:
    metrics = Metrics()
    observed(metrics, 0.2)
    before = totals(metrics.own)
    observed(metrics, 0.2)
    metrics.refused.labels("overloaded").inc()
    new = since(before, totals(metrics.own))
    assert (new["requests"], new["refused"], new["prompt_tokens"], new["completion_tokens"]) == (1, 1, 10, 5)
    assert since(before, before) == {}
    assert totals(CollectorRegistry()) == {}


@pytest.mark.parametrize(("seconds", "low", "high"), [(0.2, 0.1, 0.25), (4, 2.5, 5)])
def test_a_percentile_lies_in_the_bucket_that_holds_it(seconds: float, low: float, high: float) -> None:
    metrics = Metrics()
    for _ in range(10):
        observed(metrics, seconds)
    found = quantile(totals(metrics.own), "first_token", 0.5)
    assert found is not None
    assert low < found <= high
    assert quantile({}, "first_token", 0.5) is None
