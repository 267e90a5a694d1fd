"""Prometheus instruments, summed over the workers of one server.

Under gunicorn each worker keeps its numbers in files (prometheus_client's multiprocess mode, switched on by
`gunicorn.conf.py`) and any worker can report the sum; elsewhere they live in this object alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from minivault.config import metrics_dir
from minivault.types import Timings, Usage

LATENCY_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
NS = 1e-9
CACHE_KINDS = {"all": "tokens", "used": "used_tokens", "reusable": "reusable_tokens"}
"""Labels, and what `ModelStatus.cache` calls them."""


class Metrics:
    """The instruments and their sum."""

    def __init__(self) -> None:
        registry = self.own = CollectorRegistry()
        self.interactions = Counter(
            "minivault_interactions", "Recorded interactions", ["api", "status", "finish_reason"], registry=registry
        )
        self.refused = Counter(
            "minivault_refused", "Requests that got an error instead of an answer", ["code"], registry=registry
        )
        self.rate_storage_failures = Counter(
            "minivault_rate_storage_failures", "Failures of the limits' storage", registry=registry
        )
        self.tokens = Counter("minivault_tokens", "Tokens by kind", ["kind"], registry=registry)
        self.latency = Histogram(
            "minivault_request_seconds", "Submission to last token", buckets=LATENCY_BUCKETS_S, registry=registry
        )
        self.first_token = Histogram(
            "minivault_first_token_seconds", "Submission to first token", buckets=LATENCY_BUCKETS_S, registry=registry
        )
        self.running = Gauge("minivault_running", "Sequences decoding", multiprocess_mode="livesum", registry=registry)
        self.hit_ratio = Gauge(
            "minivault_prefix_cache_hit_ratio",
            "Share of prompt tokens that were cached",
            multiprocess_mode="livemostrecent",
            registry=registry,
        )
        self.resident = Gauge(
            "minivault_resident_bytes", "Memory of each worker", multiprocess_mode="liveall", registry=registry
        )
        self.waiting = Gauge("minivault_waiting", "Requests queued", multiprocess_mode="livesum", registry=registry)
        self.cache_tokens = Gauge(
            "minivault_cache_tokens",
            "Tokens of the cache that there are, in use, and reusable among these",
            ["kind"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.preemptions = Gauge(
            "minivault_preemptions",
            "Answers that had to begin again because the cache was full, since the start",
            multiprocess_mode="livesum",
            registry=registry,
        )

    def observe(self, api: str, status: str, finish_reason: str, usage: Usage, timings: Timings) -> None:
        """Count one recorded interaction."""
        self.interactions.labels(api, status, finish_reason).inc()
        self.tokens.labels("prompt").inc(usage.prompt_tokens)
        self.tokens.labels("cached").inc(usage.cached_tokens)
        self.tokens.labels("completion").inc(usage.completion_tokens)
        self.latency.observe(timings.total_ns * NS)
        if timings.first_token_ns:
            self.first_token.observe(timings.first_token_ns * NS)
        self._measure_memory()

    def render(
        self, num_running: int, num_waiting: int, cache: Mapping[str, int] | None = None, num_preempted: int = 0
    ) -> bytes:
        """The Prometheus text format, with this worker's queue and cache as they are now."""
        self.running.set(num_running)
        self.waiting.set(num_waiting)
        self.preemptions.set(num_preempted)
        for kind, name in CACHE_KINDS.items():
            self.cache_tokens.labels(kind).set((cache or {}).get(name, 0))
        self._measure_memory()
        samples = self._samples()
        prompt = samples.get("minivault_tokens_total:prompt", 0.0)
        self.hit_ratio.set(samples.get("minivault_tokens_total:cached", 0.0) / prompt if prompt else 0.0)
        return generate_latest(self._registry())

    def totals(self) -> tuple[int, float, int]:
        """Recorded interactions, their mean latency in ms, and generated tokens, over all workers."""
        samples = self._samples()
        count = samples.get("minivault_request_seconds_count:", 0.0)
        seconds = samples.get("minivault_request_seconds_sum:", 0.0)
        tokens = samples.get("minivault_tokens_total:completion", 0.0)
        return int(count), (seconds / count * 1e3 if count else 0.0), int(tokens)

    def _measure_memory(self) -> None:
        """Keep the figure of before where no file descriptor is left to read a new one: no answer may fail by that."""
        with suppress(OSError):
            self.resident.set(psutil.Process().memory_info().rss)

    def _samples(self) -> dict[str, float]:
        """Every sample over all workers, by name and token kind."""
        samples: dict[str, float] = {}
        for family in self._registry().collect():
            for sample in family.samples:
                kind = sample.labels.get("kind", "")
                key = f"{sample.name}:{kind}"
                samples[key] = samples.get(key, 0.0) + sample.value
        return samples

    def _registry(self) -> CollectorRegistry:
        directory = metrics_dir()
        if directory is None:
            return self.own
        summed = CollectorRegistry()
        MultiProcessCollector(summed, path=directory)  # type: ignore[no-untyped-call]
        return summed
