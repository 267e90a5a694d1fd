"""The exact engine alone: decode and prefill tokens/s, and its kernels' multiplications a second.

    python -m benchmarks.exact [--gguf FILE | --checkpoint DIR] [--bits 8] [--threads 2] [--kind Avx2 …] [--json]

A kind that is slower than the CPU's best can be forced, so that one machine tells of others. Medians, all in one run.
Digests of the logits are printed beside: they are the same for every kind, number of threads and machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.engine import ROWS, decode, prefill, resident_mb, seconds, told
from minivault.config import load_settings
from minivault.engine.exact import kinds, prepare_checkpoint
from minivault.engine.exact.runner import ExactRunner
from minivault.engine.exact.weights import WeightsFile
from minivault.engine.host import Machine
from minivault.models import ModelStore
from minivault.models.gguf import convert
from minivault.models.layout import PACKED
from minivault.service.weights import ExactPacker, weights_file


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
        settings = load_settings().model_copy(update={"weight_bits": str(bits)})
        return weights_file(settings, ModelStore(settings.models_dir).resolve(settings.model))
    path = folder / "model.exact"
    told("prepare_s", seconds(lambda: prepare_checkpoint(checkpoint, path, bits=bits)))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gguf", type=Path, help="serve this file on its own grid")
    parser.add_argument("--checkpoint", type=Path, help="prepare this directory (default: what is served)")
    parser.add_argument("--bits", type=int, default=8, choices=(4, 8), help="of a checkpoint's weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kind", nargs="*", help="kinds of kernels (default: all that this CPU runs quickly)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    able = [kind for kind in kinds.kinds(Machine.here().flags) if kind is not kinds.Plain]
    chosen = [kind for kind in able if not given.kind or kind.__name__ in given.kind]
    with tempfile.TemporaryDirectory() as folder:
        path = weights(given.gguf, given.checkpoint, given.bits, Path(folder))
        all_figures = {kind.__name__: figures(path, kind, given.threads, Path(folder)) for kind in chosen}
        all_figures["machine"] = {"cpu": cpu(), "threads": given.threads, "file_mb": path.stat().st_size / 1e6}
    print(json.dumps(all_figures, indent=1) if given.json else table(all_figures))


def table(figures: dict[str, Any]) -> str:
    machine = figures.pop("machine")
    lines = [f"{machine['cpu']}, {machine['threads']} threads, file {machine['file_mb']:.0f} MB"]
    lines.append("".ljust(14) + "".join(f"{name:>18}" for name in figures))
    for key in next(iter(figures.values())):
        cells = [column[key] for column in figures.values()]
        shown = [f"{cell:18.1f}" if isinstance(cell, float) else f"{cell:>18}" for cell in cells]
        lines.append(key.ljust(14) + "".join(shown))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
