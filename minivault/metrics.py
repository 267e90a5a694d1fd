"""Prometheus instruments, summed over the workers of one server.

Under gunicorn each worker keeps its numbers in files (prometheus_client's multiprocess mode, switched on by
`gunicorn.conf.py`) and any worker can report the sum; elsewhere they live in this object alone. Counters and histograms
grow where things happen. What is a state is measured by each worker every few seconds, so that whichever one is asked
knows of all; a worker that has died takes its states with it, and its counts stay.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from minivault.config import metrics_dir
from minivault.types import Timings, Usage

WAIT_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
SYNC_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
COUNT_BUCKETS = (1, 8, 32, 128, 512, 2048, 8192, 32768, 131072)
NS = 1e-9
CACHE_KINDS = {"all": "tokens", "used": "used_tokens", "reusable": "reusable_tokens"}
"""Labels, and what `ModelStatus.cache` calls them."""
GaugeMode = Literal["livesum", "liveall", "livemax", "livemin", "livemostrecent"]
STEP_KINDS = ("prompt", "cached", "completion")


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker's models are doing: sequences, tokens of the cache by kind, and counts since the worker began."""

    num_running: int = 0
    num_waiting: int = 0
    cache: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VaultState:
    """Where the vault stands. `gaps` counts since the worker began; `syncs_s` are commits since the last look."""

    num_records: int
    bytes_free: int
    is_writable: bool
    written_s: float
    signed_s: float
    num_open: int
    num_gaps: int
    syncs_s: Iterable[float] = ()


class Metrics:
    """The instruments and their sum."""

    def __init__(self) -> None:
        self.own = CollectorRegistry()
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()
        self._make_traffic()
        self._make_durations()
        self._make_states()
        self._make_vault()

    def _make_traffic(self) -> None:
        self.http_requests = self._counter("http_requests", "HTTP replies", "dialect", "route", "method", "status")
        self.interactions = self._counter("interactions", "Recorded interactions", "api", "status", "finish_reason")
        self.refused = self._counter("refused", "Requests that got an error instead of an answer", "code")
        self.rate_storage_failures = self._counter("rate_storage_failures", "Failures of the limits' storage")
        self.tokens = self._counter("tokens", "Tokens by kind", "kind")
        self.steps = self._counter("engine_steps", "Steps of the engine; each advances every running sequence")
        self.step_tokens = self._counter("engine_tokens", "Tokens that the engine has read and written", "kind")
        self.preemptions = self._counter("preemptions", "Answers that had to begin again because the cache was full")

    def _make_durations(self) -> None:
        self.latency = self._histogram("request_seconds", "Submission to last token", WAIT_BUCKETS_S)
        self.queue = self._histogram("queue_seconds", "Submission to a place among the running", WAIT_BUCKETS_S)
        self.prefill = self._histogram("prefill_seconds", "Reading the prompt", WAIT_BUCKETS_S)
        self.first_token = self._histogram("first_token_seconds", "Submission to first token", WAIT_BUCKETS_S)
        self.inter_token = self._histogram(
            "inter_token_seconds", "From one token of an answer to the next, as they are handed out", TOKEN_BUCKETS_S
        )
        self.prompt_size = self._histogram("prompt_tokens", "Tokens of a prompt", COUNT_BUCKETS)
        self.answer_size = self._histogram("answer_tokens", "Tokens of an answer", COUNT_BUCKETS)

    def _make_states(self) -> None:
        self.running = self._gauge("running", "Sequences decoding", "livesum")
        self.waiting = self._gauge("waiting", "Requests queued", "livesum")
        self.batch = self._gauge("batch_size", "Tokens written in a step, on average since the last look", "liveall")
        self.cache_tokens = self._gauge(
            "cache_tokens", "Tokens of the cache that there are, in use, and reusable among these", "livesum", "kind"
        )
        self.hit_ratio = self._gauge(
            "prefix_cache_hit_ratio", "Share of prompt tokens that were cached", "livemostrecent"
        )
        self.resident = self._gauge("resident_bytes", "Memory of each worker", "liveall")

    def _make_vault(self) -> None:
        self.records = self._gauge("vault_records", "Seq of the last record", "livemax")
        self.bytes_free = self._gauge("vault_free_bytes", "Room on the vault's disk", "livemostrecent")
        self.writable = self._gauge("vault_writable", "1 where every worker can record, else 0", "livemin")
        self.written = self._gauge("vault_head_timestamp_seconds", "When the log last grew", "livemax")
        self.signed = self._gauge("vault_checkpoint_timestamp_seconds", "When a head was last signed", "livemax")
        self.open = self._gauge("vault_open_entries", "Answers in the journal that are not recorded yet", "livesum")
        self.gaps = self._counter("vault_gaps", "Times that the vault could not be written and could again")
        self.sync = self._histogram("vault_sync_seconds", "Writing a group of records durably", SYNC_BUCKETS_S)

    def observe(self, api: str, status: str, finish_reason: str, usage: Usage, timings: Timings) -> None:
        """Count one recorded interaction."""
        self.interactions.labels(api, status, finish_reason).inc()
        self.tokens.labels("prompt").inc(usage.prompt_tokens)
        self.tokens.labels("cached").inc(usage.cached_tokens)
        self.tokens.labels("completion").inc(usage.completion_tokens)
        self.prompt_size.observe(usage.prompt_tokens)
        self.answer_size.observe(usage.completion_tokens)
        self.latency.observe(timings.total_ns * NS)
        self.queue.observe(timings.queued_ns * NS)
        if timings.first_token_ns:
            self.prefill.observe(timings.prefill_ns * NS)
            self.first_token.observe(timings.first_token_ns * NS)

    def measure(self, load: Load, vault: VaultState | None = None) -> None:
        """Take down this worker's state as it is now; None where nothing is known of the vault."""
        with self._lock:
            self._measure_load(load)
            if vault is None:
                self.writable.set(0)
            else:
                self._measure_vault(vault)
        self._measure_memory()

    def render(self) -> bytes:
        """The Prometheus text format, summed over all workers."""
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

    def _measure_load(self, load: Load) -> None:
        self.running.set(load.num_running)
        self.waiting.set(load.num_waiting)
        for kind, name in CACHE_KINDS.items():
            self.cache_tokens.labels(kind).set(load.cache.get(name, 0))
        num_steps = self._grown("steps", load.counts)
        self.steps.inc(num_steps)
        num_tokens = {kind: self._grown(f"{kind}_tokens", load.counts) for kind in STEP_KINDS}
        for kind, count in num_tokens.items():
            self.step_tokens.labels(kind).inc(count)
        self.preemptions.inc(self._grown("preemptions", load.counts))
        self.batch.set(num_tokens["completion"] / num_steps if num_steps else 0)

    def _measure_vault(self, vault: VaultState) -> None:
        self.records.set(vault.num_records)
        self.bytes_free.set(vault.bytes_free)
        self.writable.set(vault.is_writable)
        self.written.set(vault.written_s)
        self.signed.set(vault.signed_s)
        self.open.set(vault.num_open)
        self.gaps.inc(self._grown("gaps", {"gaps": vault.num_gaps}))
        for seconds in vault.syncs_s:
            self.sync.observe(seconds)

    def _grown(self, name: str, counts: Mapping[str, int]) -> int:
        """By how much a count has grown since the last look; one that fell began anew."""
        now, before = counts.get(name, 0), self._seen.get(name, 0)
        self._seen[name] = now
        return now - before if now >= before else now

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"minivault_{name}", meaning, labels, registry=self.own)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"minivault_{name}", meaning, buckets=buckets, registry=self.own)

    def _gauge(self, name: str, meaning: str, mode: GaugeMode, *labels: str) -> Gauge:
        return Gauge(f"minivault_{name}", meaning, labels, registry=self.own, multiprocess_mode=mode)

    def _measure_memory(self) -> None:
        """Keep the figure of before where no file descriptor is left to read a new one."""
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
