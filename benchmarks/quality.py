"""What the exact engine's arithmetic costs: mean KL divergence from float32 logits, and how often both name the same
next token.

    python -m benchmarks.quality [--model NAME] [--bits 8] [--text FILE] [--tokens 1024] [--json]

NAME is a model as `models pull` takes it; a `.gguf` file is compared with its own numbers in float32, a checkpoint with
its floats. Float32 is transformers' forward pass. The text was written for this purpose (quality.txt).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from minivault.config import Settings, load_settings
from minivault.engine import exact
from minivault.models import ModelFiles, ModelStore, load_transformers_model
from minivault.service.weights import ExactPacker, float_weights, weights_file

TEXT = Path(__file__).with_name("quality.txt")


def text_tokens(files: ModelFiles, text: Path = TEXT) -> list[int]:
    return Tokenizer.from_file(str(files.directory / "tokenizer.json")).encode(text.read_text()).ids


@torch.inference_mode()
def in_floats(settings: Settings, files: ModelFiles, tokens: list[int]) -> torch.Tensor:
    """The model's predictions after every token [tokens, vocabulary]."""
    model = load_transformers_model(files, weights=float_weights(settings, files))
    logits: torch.Tensor = model(torch.tensor([tokens])).logits[0]
    return logits.log_softmax(-1)


def as_served(settings: Settings, files: ModelFiles, tokens: list[int]) -> torch.Tensor:
    """The same by the exact engine."""
    size = {"num_slots": 1, "context": len(tokens)}
    runner = exact.load(weights_file(settings, files), cache_dir=settings.kernels_dir, **size)
    logits = torch.from_numpy(runner.every_logit(tokens))
    runner.close()
    return logits.log_softmax(-1)


def figures(settings: Settings, num_tokens: int = 1024, text: Path = TEXT) -> dict[str, float]:
    """Of the model in the settings, which is pulled where it is a file. Raises ModelError where it is not here."""
    with tempfile.TemporaryDirectory() as folder:
        if settings.model.endswith(".gguf"):
            floats = ModelStore(Path(folder) / "floats").pull(settings.model)
            files = ModelStore(Path(folder) / "packed").pull(settings.model, packer=ExactPacker())
        else:
            floats = files = ModelStore(settings.models_dir).resolve(settings.model)
        tokens = text_tokens(files, text)[:num_tokens]
        exactly, found = in_floats(settings, floats, tokens), as_served(settings, files, tokens)
    divergence = (exactly.exp() * (exactly - found)).sum(-1)
    agreement = (exactly.argmax(-1) == found.argmax(-1)).float().mean()
    return {
        "tokens": len(tokens),
        "mean_kl": round(divergence.mean().item(), 5),
        "largest_kl": round(divergence.max().item(), 4),
        "top1_agreement": round(agreement.item(), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model's name, directory or .gguf file (default: the served one)")
    parser.add_argument("--bits", choices=("8", "4"), help="of a weight where a checkpoint has floats")
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    changed = {"model": given.model, "weight_bits": given.bits}
    settings = replace(load_settings(), **{name: value for name, value in changed.items() if value})
    measured = figures(settings, given.tokens, given.text)
    print(json.dumps(measured) if given.json else "\n".join(f"{name:16}{value}" for name, value in measured.items()))


if __name__ == "__main__":
    main()
