"""The runner alone: decode tokens/s by rows and prefill tokens/s, beside llama.cpp and `transformers.generate`.

    python -m benchmarks.engine [--checkpoint DIR] [--gguf FILE --llama-dir DIR] [--threads 2] [--json]

All on this machine in one run, one after the other, over prompts of 128 tokens: look at the ratios. llama.cpp takes
part where `llama-batched-bench` is found (PATH or --llama-dir) and a GGUF is given; it decodes as many tokens.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from minivault.config import load_settings
from minivault.engine import fused
from minivault.engine.fused.runner import FusedRunner
from minivault.engine.runner import Chunk, Runner
from minivault.models import ModelStore

ROWS = (1, 4, 8, 16, 32)
PROMPT, STEPS = 128, 24
ROUNDS = 3


def checkpoint_directory(given: Path | None) -> Path:
    """The directory asked for, else the served model's as the product resolves it."""
    if given is not None:
        return given
    settings = load_settings()
    return ModelStore(settings.models_dir).resolve(settings.model).directory


def told(name: str, figure: float) -> float:
    """Say a figure as it comes: a run takes a minute or two."""
    print(f"{name} {figure:.1f}", file=sys.stderr, flush=True)
    return figure


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def prompt(row: int, vocabulary: int) -> list[int]:
    return [(row * 7919 + place * 104729) % vocabulary for place in range(PROMPT)]


def prompt_chunks(slot: int, tokens: list[int], size: int) -> list[Chunk]:
    return [Chunk(slot, tokens[at : at + size], at, is_prompt=True) for at in range(0, len(tokens), size)]


def decode(runner: Runner, rows: int) -> float:
    """Tokens/s in all, with `rows` sequences from PROMPT tokens on."""
    slots = range(rows)
    for slot in slots:
        runner.forward(prompt_chunks(slot, prompt(slot, runner.vocabulary_size), runner.chunk_tokens))
    taken = []
    for place in range(PROMPT, PROMPT + STEPS):
        chunks = [Chunk(slot, [slot], place, is_prompt=False) for slot in slots]
        taken.append(seconds(partial(runner.forward, chunks)))
    for slot in slots:
        runner.release(slot)
    return rows / float(statistics.median(taken))


def prefill(runner: Runner) -> float:
    """Tokens/s of one prompt of 256 tokens in one pass."""
    tokens = [prompt(place, runner.vocabulary_size)[0] for place in range(256)]

    def once() -> None:
        runner.forward(prompt_chunks(0, tokens, runner.chunk_tokens))
        runner.release(0)

    return len(tokens) / statistics.median(seconds(once) for _ in range(ROUNDS))


def fused_figures(directory: Path, threads: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "fused.safetensors"
        prepare_s = told("prepare_s", seconds(lambda: fused.prepare(directory, prepared)))
        made: list[FusedRunner] = []
        load = partial(fused.load, prepared, num_slots=max(ROWS), context=512, threads=threads)
        load_s = told("load_s", seconds(lambda: made.append(load())))
    runner = made[0]
    figures = {"prepare_s": prepare_s, "load_s": load_s, "resident_mb_loaded": resident_mb()}
    for rows in ROWS:
        figures[f"decode_{rows}"] = told(f"fused decode_{rows}", decode(runner, rows))
    figures |= {"prefill": told("fused prefill", prefill(runner)), "resident_mb_after": resident_mb()}
    runner.close()
    return figures


def resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


def transformers_figures(directory: Path, num_threads: int) -> dict[str, float]:
    """`generate` in float32, greedy: one stream, and sixteen prompts one after another by as many callers at once."""
    from concurrent.futures import ThreadPoolExecutor

    from transformers import AutoModelForCausalLM

    torch.set_num_threads(num_threads)
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)

    def generate(row: int, count: int) -> None:
        ids = torch.tensor([prompt(row, model.config.vocab_size)[:32]])
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=count,
                       max_new_tokens=count, pad_token_id=0)  # fmt: skip

    generate(0, 2)
    one = (13 - 1) / (seconds(lambda: generate(0, 13)) - seconds(lambda: generate(0, 1)))
    with ThreadPoolExecutor(16) as callers:
        many = seconds(lambda: list(callers.map(lambda row: generate(row, 4), range(16))))
    return {"decode_1": one, "decode_16": 16 * 4 / many}


def llama_figures(bench: str, gguf: Path, threads: int) -> dict[str, float]:
    """What llama-batched-bench prints: decode tokens/s by rows, and prefill tokens/s for one prompt."""
    options = ["-m", gguf, "-t", threads, "-tb", threads, "-c", (PROMPT + STEPS) * max(ROWS) + 512]
    sizes = ["-npp", PROMPT, "-ntg", STEPS, "-npl", ",".join(map(str, ROWS)), "--output-format", "jsonl"]
    done = subprocess.run([bench, *map(str, options + sizes)], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {f"decode_{line['pl']}": line["speed_tg"] for line in lines} | {"prefill": lines[0]["speed_pp"]}


def found_bench(directory: Path | None) -> str | None:
    return shutil.which("llama-batched-bench", path=str(directory) if directory else None)


def table(figures: dict[str, dict[str, float]]) -> str:
    """Tokens/s by way, with our ratio to each of the others."""
    ours = figures["fused"]
    others = [name for name in figures if name != "fused"]
    lines = ["tokens/s".ljust(12) + "fused".rjust(9) + "".join(f"{name:>14}{'ratio':>8}" for name in others)]
    for key in [*(f"decode_{rows}" for rows in ROWS), "prefill"]:
        cells = [figures[name].get(key) for name in others]
        shown = ["".rjust(22) if cell is None else f"{cell:14.1f}{ours[key] / cell:8.2f}" for cell in cells]
        lines.append(key.ljust(12) + f"{ours[key]:9.1f}" + "".join(shown))
    lines.append(", ".join(f"{key} {ours[key]:.1f}" for key in ours if not key.startswith(("decode", "prefill"))))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint directory (default: the served model's)")
    parser.add_argument("--gguf", type=Path, help="the same model for llama.cpp")
    parser.add_argument("--llama-dir", type=Path, help="where llama-batched-bench is (default: PATH)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without-transformers", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    directory, bench = checkpoint_directory(given.checkpoint), found_bench(given.llama_dir)
    figures: dict[str, Any] = {"fused": fused_figures(directory, given.threads)}
    if bench and given.gguf:
        figures["llama.cpp"] = llama_figures(bench, given.gguf, given.threads)
    if not given.without_transformers:
        figures["transformers"] = transformers_figures(directory, given.threads)
    print(json.dumps(figures, indent=1) if given.json else table(figures))


if __name__ == "__main__":
    main()
