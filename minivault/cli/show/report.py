"""What a benchmark shows: a line on stderr while it runs, and what it found, as one object or as text."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from minivault.cli.client.load import Sample, Tally
from minivault.errors import MiniVaultError, Overloaded

PERCENTILES = (50, 95, 99)


@contextmanager
def watching(tally: Tally) -> Iterator[None]:
    """Show how `tally` grows until the block ends."""
    columns = (BarColumn(), MofNCompleteColumn(), _Rates(tally), TextColumn("·"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8) as progress:
        progress.add_task("", total=tally.num_requests)
        yield


class _Rates(ProgressColumn):
    """Reads the tally at each refresh, so the load itself never waits for the display."""

    max_refresh = None

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally
        self._began_s = time.monotonic()

    def render(self, task: Task) -> Text:
        tally = self._tally
        task.completed = len(tally.samples)
        rate = tally.num_pieces / max(time.monotonic() - self._began_s, 1e-3)
        text = Text(f"{tally.num_running} running · {rate:.0f} tokens/s")
        if tally.num_refusals:
            text.append(f" · {tally.num_refusals} refused", style="yellow")
        if tally.num_failed:
            text.append(f" · {tally.num_failed} failed", style="red")
        return text


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed (nearest rank); `values` not empty."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def summarise(tally: Tally) -> dict[str, Any]:
    """Everything measured: times in milliseconds, rates a second, errors by code; null where nothing was measured."""
    good = [sample for sample in tally.samples if sample.error is None]
    wall_s = max(s.ended_s for s in tally.samples) - min(s.started_s for s in tally.samples)
    errors = _by_kind(sample.error for sample in tally.samples if sample.error is not None)
    num_tokens = sum(sample.num_tokens for sample in good)
    return {
        "requests": len(tally.samples),
        "answered": len(good),
        "overloaded": errors.pop(Overloaded.code, {"count": 0})["count"],
        "refusals": tally.num_refusals,
        "retries": sum(sample.num_retries for sample in tally.samples),
        "errors": errors,
        "wall_s": wall_s,
        "requests_per_s": len(good) / wall_s,
        "tokens_per_s": num_tokens / wall_s,
        "prompt_tokens": sum(sample.num_prompt_tokens for sample in good),
        "cached_tokens": sum(sample.num_cached_tokens for sample in good),
        "completion_tokens": num_tokens,
        "latency_ms": _spread(good, lambda s: (s.ended_s - s.started_s) * 1e3),
        "first_token_ms": _spread(good, lambda s: s.first_token_s and (s.first_token_s - s.started_s) * 1e3),
        "stream_tokens_per_s": _spread(good, _stream_rate),
    }


def render(found: dict[str, Any]) -> Iterator[str]:
    """The lines of the report for a person."""
    yield f"answered         {found['answered']} of {found['requests']} requests in {found['wall_s']:.2f} s"
    yield f"requests/s       {found['requests_per_s']:.2f}"
    tokens = f"{found['completion_tokens']} generated; {found['prompt_tokens']} prompt, {found['cached_tokens']} cached"
    yield f"tokens/s         {found['tokens_per_s']:.1f} in all ({tokens})"
    yield f"overloaded       {found['overloaded']} given up; {found['refusals']} refusals, {found['retries']} retries"
    errors = ", ".join(f"{code} {error['count']}" for code, error in sorted(found["errors"].items()))
    yield f"errors           {errors or 'none'}"
    if found["answered"]:
        yield ""
        yield from _table(found)


def compare(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line a run, side by side."""
    rates = f"{'tokens/s':>10}{'requests/s':>12}"
    yield f"{'':<12}{'clients':>8}{rates}{'first token ms p50':>20}{'p95':>8}{'latency ms p50':>16}"
    for run in runs:
        first, latency = run["first_token_ms"] or {}, run["latency_ms"] or {}
        ranks = [
            f"{spread[rank]:.0f}" if spread else "-"
            for spread, rank in ((first, "p50"), (first, "p95"), (latency, "p50"))
        ]
        rates = f"{run['tokens_per_s']:>10.1f}{run['requests_per_s']:>12.2f}"
        yield f"{run['name']:<12}{run['concurrency']:>8}{rates}{ranks[0]:>20}{ranks[1]:>8}{ranks[2]:>16}"


def _table(found: dict[str, Any]) -> Iterator[str]:
    columns = ["min", "mean", *(f"p{percent}" for percent in PERCENTILES), "max"]
    yield " " * 17 + "".join(f"{column:>10}" for column in columns)
    for title, name in (
        ("latency ms", "latency_ms"),
        ("first token ms", "first_token_ms"),
        ("stream tokens/s", "stream_tokens_per_s"),
    ):
        if found[name] is not None:
            yield f"{title:<17}" + "".join(f"{found[name][column]:>10.1f}" for column in columns)


def _by_kind(errors: Iterable[MiniVaultError]) -> dict[str, dict[str, Any]]:
    """How often each code came, with the first one's message."""
    kinds: dict[str, dict[str, Any]] = {}
    for error in errors:
        kinds.setdefault(error.code, {"count": 0, "message": error.message})["count"] += 1
    return kinds


def _spread(samples: Sequence[Sample], measure: Callable[[Sample], float | None]) -> dict[str, float] | None:
    values = [value for sample in samples if (value := measure(sample)) is not None]
    if not values:
        return None
    ranks = {f"p{percent}": percentile(values, percent) for percent in PERCENTILES}
    return {"min": min(values), "mean": sum(values) / len(values), **ranks, "max": max(values)}


def _stream_rate(sample: Sample) -> float | None:
    """Tokens a second from the first piece to the last; None for answers of a single piece."""
    if sample.first_token_s is None or sample.last_token_s is None or sample.last_token_s <= sample.first_token_s:
        return None
    return (sample.num_tokens - 1) / (sample.last_token_s - sample.first_token_s)
