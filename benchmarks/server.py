"""The server under concurrent streaming clients, next to the bare engine and a plain `transformers.generate` loop.

    python -m benchmarks.server [--clients 1,4,16] [--transformers] [--json]

Everything runs on this machine, one after the other, with the same prompts (about 35 tokens, 24 of
them the chat template's beginning) and answer lengths; look at the ratios. The vault is on (`synced`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.stream_client import Stream, ask_all
from minivault.config import Settings, load_settings
from minivault.service import Loaded
from minivault.types import Delta, Finished, Job, SamplingParams
from tests.live import live_server

NUM_TOKENS = 96
LINES = (150, 640)
"""Of the long prompts that arrive: about 1,700 and 7,600 tokens."""
TOPICS = ("rivers", "bridges", "bread", "clocks", "foxes", "glass", "islands", "kites", "lamps", "maps", "nets", "owls",
          "paper", "rain", "salt", "trees")  # fmt: skip


ASKS = (
    "Tell me about {}.",
    "What is known of {}?",
    "Write a poem on {}.",
    "Why do people like {}?",
    "Explain {} to me.",
)


def prompt(index: int) -> str:
    """One of 80 different prompts; beyond the chat template's beginning they share a few words at most."""
    return ASKS[(index // 16 + index) % 5].format(TOPICS[index % 16])


def body(index: int, num_tokens: int = NUM_TOKENS) -> dict[str, Any]:
    return {"prompt": prompt(index), "seed": index, "max_tokens": num_tokens, "temperature": 0.7}


def percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def tokens_per_s(streams: list[Stream]) -> float:
    start = min(stream.started for stream in streams)
    end = max(stream.arrivals[-1] for stream in streams)
    return sum(stream.num_tokens for stream in streams) / (end - start)


def over_http(port: int, num_clients: int) -> dict[str, float]:
    rounds = [ask_all(port, [body(r * num_clients + i) for i in range(num_clients)]) for r in range(3)]
    streams = [stream for one in rounds for stream in one]
    gaps = [gap for stream in streams for gap in stream.gaps_s]
    first = [stream.first_token_s for stream in streams]
    return {
        "tokens_per_s": statistics.median(tokens_per_s(one) for one in rounds),
        "first_token_p50_ms": percentile(first, 50) * 1e3,
        "first_token_p95_ms": percentile(first, 95) * 1e3,
        "gap_p50_ms": percentile(gaps, 50) * 1e3,
        "gap_p99_ms": percentile(gaps, 99) * 1e3,
    }


def long_prompt_arriving(port: int, num_clients: int, num_lines: int) -> dict[str, float]:
    """The longest gap that anybody sees while a prompt of so many lines, of 12 tokens each, arrives in the middle."""
    story = " ".join(f"Line {n}: the {TOPICS[n % 16]} are counted again." for n in range(num_lines))
    long = {"prompt": story, "seed": 1, "max_tokens": 16, "raw": True}
    bodies = [body(i, NUM_TOKENS * num_lines // LINES[0]) for i in range(num_clients)]
    streams = ask_all(port, [*bodies, long], [*([0.0] * num_clients), 1.5])
    return {
        "prompt_tokens": streams[-1].last["usage"]["prompt_tokens"],
        "longest_gap_ms": max(gap for stream in streams[:-1] for gap in stream.gaps_s) * 1e3,
        "long_first_token_ms": streams[-1].first_token_s * 1e3,
    }


def bare_engine(served: Loaded, settings: Settings, num_rows: int) -> float:
    """Tokens/s of the engine alone: the same prompts and prefix cache, no HTTP, no vault, no threads."""
    from minivault.engine import Engine

    engine = Engine(
        served.runner, served.tokenizer, max_running=settings.max_running,
        prefix_cache_bytes=settings.prefix_cache_mb << 20,
    )  # fmt: skip
    rates = []
    for attempt in range(3):
        started, num_tokens = time.perf_counter(), 0
        for row in range(num_rows):
            index = attempt * num_rows + row
            engine.submit(
                Job(str(index), tuple(_tokens(served, index)), SamplingParams(max_tokens=NUM_TOKENS, seed=index))
            )
        while engine.has_work:
            for _, event in engine.step():
                num_tokens += len(event.token_ids) if isinstance(event, Delta) else 0
                assert not isinstance(event, Finished) or event.usage.completion_tokens
        rates.append(num_tokens / (time.perf_counter() - started))
    return statistics.median(rates)


def _tokens(served: Loaded, index: int) -> list[int]:
    from minivault.types import Message

    return list(served.tokenizer.read_chat([Message("user", prompt(index))]).tokens)


def plain_transformers(settings: Settings, served: Loaded, num_clients: int, num_tokens: int = 24) -> float:
    """Tokens/s of a plain loop: one `generate` after the other, fp32, for as many clients."""
    import torch

    from minivault.models import ModelStore, load_transformers_model

    files = ModelStore(settings.models_dir).resolve(settings.model)
    model: Any = load_transformers_model(files, "cpu", torch.float32)
    started, total = time.perf_counter(), 0
    for index in range(num_clients):
        ids = torch.tensor([_tokens(served, index)])
        out = model.generate(ids, max_new_tokens=num_tokens, do_sample=False, pad_token_id=0)
        total += out.shape[1] - ids.shape[1]
    return total / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--transformers", action="store_true", help="also time a plain transformers.generate loop")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.clients.split(",")]
    result = measure(counts, with_transformers=arguments.transformers)
    print(json.dumps(result, indent=2) if arguments.json else table(result))


def measure(counts: list[int], *, with_transformers: bool) -> dict[str, Any]:
    settings = load_settings()
    result: dict[str, Any] = {"model": settings.model, "answer_tokens": NUM_TOKENS, "http": {}, "engine": {}}
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        started = time.perf_counter()
        with live_server(
            place, backend="local", home=settings.home, model=settings.model, max_running=max(*counts, 16),
            runner=settings.runner, rate_limit="", cpu_threads=settings.cpu_threads,
        ) as server:  # fmt: skip
            server.wait_ready()
            result["ready_s"] = time.perf_counter() - started
            port = int(server.url.rpartition(":")[2])
            ask_all(port, [body(0, 8)])
            for count in counts:
                result["http"][count] = over_http(port, count)
            result["rss_mb"] = _rss_mb(server.workers()[0])
            result["long_prompts"] = [long_prompt_arriving(port, min(15, max(counts)), lines) for lines in LINES]
    from minivault.service.backends import resolve_backend

    served = resolve_backend(settings)(settings)
    bare_engine(served, settings, 1)
    for count in counts:
        result["engine"][count] = bare_engine(served, settings, count)
    if with_transformers:
        result["transformers"] = {count: plain_transformers(settings, served, count) for count in (1, 8)}
    return result


def _rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def table(result: dict[str, Any]) -> str:
    rows = [
        f"{result['model']}: ready after {result['ready_s']:.1f} s, {result['rss_mb']:.0f} MB resident",
        "clients   tokens/s   of engine   first token p50/p95 ms   gap p50/p99 ms",
    ]
    for count, http in result["http"].items():
        engine = result["engine"][count]
        rows.append(
            f"{count:7d} {http['tokens_per_s']:10.0f} {http['tokens_per_s'] / engine:10.0%} "
            f"{http['first_token_p50_ms']:14.0f} / {http['first_token_p95_ms']:5.0f} "
            f"{http['gap_p50_ms']:13.1f} / {http['gap_p99_ms']:5.1f}"
        )
    rows += [
        f"a {long['prompt_tokens']}-token prompt arrives: first token after {long['long_first_token_ms']:.0f} ms, "
        f"nobody waits longer than {long['longest_gap_ms']:.0f} ms"
        for long in result["long_prompts"]
    ]
    for count, rate in result.get("transformers", {}).items():
        ours = result["http"].get(count, {}).get("tokens_per_s")
        ratio = f"   ours over HTTP: {ours / rate:.1f} x" if ours else ""
        rows.append(f"plain transformers.generate, {count} clients in turn: {rate:.0f} tokens/s{ratio}")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
