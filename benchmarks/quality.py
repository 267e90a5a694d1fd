"""What int8 costs: mean KL divergence from float32 logits, and how often both name the same next token.

    python -m benchmarks.quality [--checkpoint DIR] [--text FILE] [--tokens 1024] [--without-vnni] [--json]

Float32 is our own forward pass unquantised, which the tests hold to transformers' within 1e-4. The text was written for
this purpose (quality.txt).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from benchmarks.engine import checkpoint_directory
from minivault.engine import fused
from minivault.engine.fused.runner import FusedRunner
from minivault.engine.host import Machine

TEXT = Path(__file__).with_name("quality.txt")


@torch.inference_mode()
def log_probabilities(directory: Path, quantization: str, tokens: list[int], machine: Machine) -> torch.Tensor:
    """The model's predictions after every token [tokens, vocabulary]."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "model.safetensors"
        fused.prepare(directory, prepared, quantization=quantization)
        runner = FusedRunner.load(prepared, num_slots=1, context=len(tokens), machine=machine)
    return runner.every_logit(tokens).log_softmax(-1)


def text_tokens(directory: Path, text: Path = TEXT) -> list[int]:
    return Tokenizer.from_file(str(directory / "tokenizer.json")).encode(text.read_text()).ids


def figures(exact: torch.Tensor, found: torch.Tensor) -> dict[str, float]:
    divergence = (exact.exp() * (exact - found)).sum(-1)
    agreement = (exact.argmax(-1) == found.argmax(-1)).float().mean()
    return {
        "tokens": len(exact),
        "mean_kl": round(divergence.mean().item(), 5),
        "largest_kl": round(divergence.max().item(), 4),
        "top1_agreement": round(agreement.item(), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint directory (default: the served model's)")
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--without-vnni", action="store_true", help="with as few levels as a CPU without it gets")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    directory = checkpoint_directory(given.checkpoint)
    machine = Machine.here()
    if given.without_vnni:
        machine = replace(machine, flags=machine.flags - {"avx512_vnni"})
    tokens = text_tokens(directory, given.text)[: given.tokens]
    measured = figures(*(log_probabilities(directory, kind, tokens, machine) for kind in ("fp32", "int8")))
    print(json.dumps(measured) if given.json else "\n".join(f"{name:16}{value}" for name, value in measured.items()))


if __name__ == "__main__":
    main()
