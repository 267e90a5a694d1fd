"""The exact engine alone: decode tokens/s by rows and prefill tokens/s, beside llama.cpp and `transformers.generate`.

    python -m benchmarks.engine [--gguf FILE | --checkpoint DIR] [--bits 8] [--kind Avx2 …] [--llama-dir DIR]
                                [--threads 2] [--without-transformers] [--json]

All on this machine in one run, one after the other, over prompts of 128 tokens: look at the ratios. A kind of kernels
that is slower than the CPU's best can be forced, so that one machine tells of others; digests of the logits are the
same for every kind, number of threads and machine. llama.cpp takes part where `llama-batched-bench` is found (PATH or
--llama-dir) and a GGUF is given; it decodes as many tokens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from minivault.config import load_settings
from minivault.engine.exact import kinds, prepare_checkpoint
from minivault.engine.exact.runner import ExactRunner
from minivault.engine.exact.weights import WeightsFile
from minivault.engine.host import Machine
from minivault.engine.runner import Chunk, Runner
from minivault.models import ModelFiles, ModelStore
from minivault.models.gguf import convert
from minivault.models.layout import PACKED
from minivault.models.loader import load_transformers_model
from minivault.service.weights import ExactPacker, float_weights, weights_file

ROWS = (1, 4, 8, 16, 32)
PROMPT, STEPS = 128, 24
ROUNDS = 3


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


def resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


def cpu() -> str:
    listed = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in listed if "model name" in line), platform.processor())


def multiplications(path: Path) -> int:
    """Of linear maps for one token; the embedding's only where it is the head too."""
    found = dict(WeightsFile(path).matrices)
    if "head" in found:
        del found["embedding"]
    return sum(matrix.rows * matrix.inputs for matrix in found.values())


def digest(runner: ExactRunner) -> str:
    tokens = [(place * 7919) % runner.vocabulary_size for place in range(40)]
    return hashlib.sha256(runner.every_logit(tokens).astype("<f4").tobytes()).hexdigest()[:16]


def figures(path: Path, kind: type[kinds.Kind], threads: int, cache_dir: Path) -> dict[str, Any]:
    started = time.perf_counter()
    sizes = {"num_slots": max(ROWS), "context": 512}
    runner = ExactRunner(path, num_threads=threads, cache_dir=cache_dir, kind=kind, **sizes)  # type: ignore[arg-type]
    name = kind.__name__
    found: dict[str, Any] = {"load_s": told(f"{name} load_s", time.perf_counter() - started), "digest": digest(runner)}
    for rows in ROWS:
        found[f"decode_{rows}"] = told(f"{name} decode_{rows}", decode(runner, rows))
    found["prefill"] = told(f"{name} prefill", prefill(runner))
    found["gmac_s_at_16"] = found["decode_16"] * multiplications(path) / 1e9
    found["resident_mb"] = resident_mb()
    runner.close()
    return found


def weights(gguf: Path | None, checkpoint: Path | None, bits: int, folder: Path) -> Path:
    """A weights file of what is given, made in `folder`; or the served model's, as the product makes it."""
    if gguf is not None:
        told("prepare_s", seconds(lambda: convert(gguf, folder, packer=ExactPacker())))
        return folder / PACKED
    if checkpoint is None:
        settings = replace(load_settings(), weight_bits=str(bits))
        return weights_file(settings, ModelStore(settings.models_dir).resolve(settings.model))
    path = folder / "model.exact"
    told("prepare_s", seconds(lambda: prepare_checkpoint(checkpoint, path, bits=bits)))
    return path


def transformers_figures(num_threads: int) -> dict[str, float]:
    """The served model by `generate` in float32, greedy: one stream, and sixteen prompts one after another by as many
    callers at once."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    torch.set_num_threads(num_threads)
    settings = load_settings()
    files: ModelFiles = ModelStore(settings.models_dir).resolve(settings.model)
    model: Any = load_transformers_model(files, weights=float_weights(settings, files))

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


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Figures by way; the first kind's ratio to each of the others behind theirs."""
    ours, others = next(iter(figures.values())), list(figures)[1:]
    lines = [
        "tokens/s".ljust(16) + next(iter(figures)).rjust(18) + "".join(f"{name:>18}{'ratio':>8}" for name in others)
    ]
    for key, own in ours.items():
        shown = [_cell(own, figures[name].get(key)) for name in others]
        lines.append(key.ljust(16) + _number(own).rjust(18) + "".join(shown))
    return "\n".join(lines)


def _cell(own: Any, other: Any) -> str:
    ratio = f"{own / other:8.2f}" if isinstance(own, float) and isinstance(other, float) else "".rjust(8)
    return _number(other).rjust(18) + ratio


def _number(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value or "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, help="serve this file on its own grid, and give it to llama.cpp")
    parser.add_argument("--checkpoint", type=Path, help="prepare this directory (default: what is served)")
    parser.add_argument("--bits", type=int, default=8, choices=(4, 8), help="of a checkpoint's weights")
    parser.add_argument("--kind", nargs="*", help="kinds of kernels (default: all that this CPU runs quickly)")
    parser.add_argument("--llama-dir", type=Path, help="where llama-batched-bench is (default: PATH)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without-transformers", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    able = [kind for kind in kinds.kinds(Machine.here().flags) if kind is not kinds.Plain]
    chosen = [kind for kind in able if not given.kind or kind.__name__ in given.kind]
    bench = found_bench(given.llama_dir)
    with tempfile.TemporaryDirectory() as folder:
        path = weights(given.gguf, given.checkpoint, given.bits, Path(folder))
        measured = {kind.__name__: figures(path, kind, given.threads, Path(folder)) for kind in chosen}
        size_mb = path.stat().st_size / 1e6
    if bench and given.gguf:
        measured["llama.cpp"] = llama_figures(bench, given.gguf, given.threads)
    if not given.without_transformers:
        measured["transformers"] = transformers_figures(given.threads)
    print(f"{cpu()}, {given.threads} threads, weights file {size_mb:.0f} MB", file=sys.stderr)
    print(json.dumps(measured, indent=1) if given.json else table(measured))


if __name__ == "__main__":
    main()
