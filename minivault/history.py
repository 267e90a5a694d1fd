"""How busy a server was in the last hour, for people who look: kept in one SQLite file that all its workers write,
so that it is one picture whoever answers, and survives a reload of the page and a restart of the server.

Each worker writes what happened in it since its last sample. It is a picture and never evidence: nothing is synced, and
what cannot be written is left out.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # to be imported only once gunicorn has said where its workers keep their numbers
    from prometheus_client import CollectorRegistry

KEPT_S = 3600
FILE = "history.sqlite3"
_SCHEMA = "CREATE TABLE IF NOT EXISTS sample (time_s REAL, worker INTEGER, data TEXT)"
_COUNTS = {
    "minivault_interactions_total": "requests",
    "minivault_refused_total": "refused",
    "minivault_tokens_total:prompt": "prompt_tokens",
    "minivault_tokens_total:cached": "cached_tokens",
    "minivault_tokens_total:completion": "completion_tokens",
}
_HISTOGRAMS = {"minivault_request_seconds_bucket": "total", "minivault_first_token_seconds_bucket": "first_token"}
QUANTILES = (0.5, 0.95)

Totals = Mapping[str, float]
"""Counters and the buckets of histograms (`total<=0.5`) since the process began."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One worker's part of a moment: what it counted since its last sample, and how it is now."""

    time_s: float
    worker: int
    counts: dict[str, float] = field(default_factory=dict)
    running: int = 0
    waiting: int = 0
    resident_bytes: int = 0
    cache_used: int = 0
    cache_all: int = 0


def totals(registry: CollectorRegistry) -> dict[str, float]:
    """What a process has counted until now, by our names."""
    found: defaultdict[str, float] = defaultdict(float)
    for family in registry.collect():
        for sample in family.samples:
            kind = sample.labels.get("kind")
            if name := _COUNTS.get(f"{sample.name}:{kind}" if kind else sample.name):
                found[name] += sample.value
            if name := _HISTOGRAMS.get(sample.name):
                found[f"{name}<={sample.labels['le']}"] += sample.value
    return dict(found)


def since(before: Totals, now: Totals) -> dict[str, float]:
    """What was counted between two totals."""
    return {name: grown for name, value in now.items() if (grown := value - before.get(name, 0.0)) > 0}


class History:
    """The file in `directory`; any number of processes may use it at once."""

    def __init__(self, directory: Path, *, clock: Callable[[], float]) -> None:
        self._path = directory / FILE
        self._clock = clock

    def add(self, sample: Sample) -> None:
        """Keep a sample and forget those older than `KEPT_S`. Raises OSError, sqlite3.Error."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(self._opened()) as database, database:
            data = json.dumps(asdict(sample))
            database.execute("INSERT INTO sample VALUES (?, ?, ?)", (sample.time_s, sample.worker, data))
            now = self._clock()
            database.execute("DELETE FROM sample WHERE time_s < ? OR time_s > ?", (now - KEPT_S, now + KEPT_S))

    def points(self, step_s: float) -> list[dict[str, Any]]:
        """What was kept, summed over the workers, a point for each `step_s` in which there is something. Where the
        file cannot be read there is nothing."""
        rows: list[tuple[str]] = []
        with suppress(OSError, sqlite3.Error):
            if self._path.exists():
                with closing(self._opened()) as database:
                    query = "SELECT data FROM sample WHERE time_s >= ? ORDER BY time_s"
                    rows = database.execute(query, (self._clock() - KEPT_S,)).fetchall()
        steps: dict[int, list[Sample]] = {}
        for (data,) in rows:
            sample = Sample(**json.loads(data))
            steps.setdefault(int(sample.time_s // step_s), []).append(sample)
        return [_point(samples, number * step_s, step_s) for number, samples in sorted(steps.items())]

    def _opened(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(self._path, timeout=2.0)
        database.execute("PRAGMA synchronous = OFF")
        database.execute(_SCHEMA)
        return database


def _point(samples: Sequence[Sample], time_s: float, step_s: float) -> dict[str, Any]:
    counts: defaultdict[str, float] = defaultdict(float)
    for sample in samples:
        for name, number in sample.counts.items():
            counts[name] += number
    last = {sample.worker: sample for sample in samples}.values()
    prompt, cache = counts["prompt_tokens"], sum(sample.cache_all for sample in last)
    return {
        "time_s": time_s,
        "workers": len(last),
        "requests_per_s": counts["requests"] / step_s,
        "refused_per_s": counts["refused"] / step_s,
        "tokens_per_s": counts["completion_tokens"] / step_s,
        "running": _most(samples, "running"),
        "waiting": _most(samples, "waiting"),
        "resident_bytes": sum(sample.resident_bytes for sample in last),
        "cache_hit_ratio": counts["cached_tokens"] / prompt if prompt else None,
        "cache_used_ratio": sum(sample.cache_used for sample in last) / cache if cache else None,
        **{
            f"{name}_p{round(100 * q)}_s": quantile(counts, name, q) for name in _HISTOGRAMS.values() for q in QUANTILES
        },
    }


def _most(samples: Iterable[Sample], name: str) -> int:
    """The most that each worker had, summed."""
    most = Counter[int]()
    for sample in samples:
        most[sample.worker] = max(most[sample.worker], getattr(sample, name))
    return most.total()


def quantile(counts: Mapping[str, float], name: str, share: float) -> float | None:
    """Seconds within which this share ended, on a straight line within a bucket; None where nothing was counted. What
    lies beyond the last bound is told as that bound."""
    found = ((key.partition("<="), number) for key, number in counts.items())
    bounds = sorted((float(bound), number) for (what, _, bound), number in found if what == name)
    wanted = share * bounds[-1][1] if bounds else 0
    low, below = 0.0, 0.0
    for bound, number in bounds:
        if number >= wanted > 0:
            return low if bound == float("inf") else low + (bound - low) * (wanted - below) / (number - below or 1)
        low, below = bound, number
    return None
